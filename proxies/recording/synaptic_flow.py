"""The pass of synaptic flow: a network of absolute weights and one sample of ones."""

from __future__ import annotations

import torch
from torch import Tensor

from .attempts import Recorded, attempt
from .differentiation import gradients
from .model_runner import ModelRunner
from .modes import SingleSample, WithoutDropout, WithoutNorm
from .signals import SynapticFlow


def record_flow(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one all-ones sample through the network of absolute weights, in double precision."""
    recorded: Recorded = {}
    for name, mode in (("flow", WithoutNorm), ("flow_with_norm", SingleSample)):
        if name in wanted:
            with attempt(recorded, name):
                recorded[name] = _flow(runner, mode())
    return recorded


def _ones(tensor: Tensor) -> Tensor:
    """Return ones; tokens and other whole numbers, which cannot be scaled, stay as they are."""
    if tensor.is_floating_point():
        return torch.ones_like(tensor, dtype=torch.float64)
    return tensor


def _flow(runner: ModelRunner, mode: WithoutDropout) -> dict[str, SynapticFlow]:
    runner.require_weights()
    ones = runner.some(1).map(_ones)
    with runner.substituted(dtype=torch.float64, change=lambda n, p: p.abs()) as leaves:
        with mode:
            output = runner.run(ones)
        found = gradients(runner.main_output(output).sum(), leaves)
        return {name: SynapticFlow(w.detach(), found[name]) for name, w in leaves.items()}
