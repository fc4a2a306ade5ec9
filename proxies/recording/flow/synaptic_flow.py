"""The pass of synaptic flow: a network of absolute weights and one sample of ones."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ....errors import NotApplicable
from ...spectra import is_finite
from ..attempts import Recorded, attempt
from ..differentiation import gradients
from ..model_runner import ModelRunner
from ..modes import SingleSample, WithoutDropout, WithoutNorm
from ..samples.norms_by_hand import NoBatchNormByHand
from ..signals import SynapticFlow
from .wide_range import WideRange

_LISTED = (
    "the tensors of a list differ in shape, or one alone has no output of its own, so that one "
    "sample cannot be run alone; pass tensors of one shape"
)
_LEAST = 1e-200  # output of which the gradients of layers may be below what double precision holds


def record_flow(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one all-ones sample through the network of absolute weights, in double precision."""
    recorded: Recorded = {}
    for name, mode in (("flow", WithoutNorm), ("flow_with_norm", SingleSample)):
        if name in wanted:
            with attempt(recorded, name):
                recorded[name] = _flow(runner, mode)
    return recorded


def _ones(tensor: Tensor) -> Tensor:
    """Return ones; tokens and other whole numbers, which cannot be scaled, stay as they are."""
    if tensor.is_floating_point():
        return torch.ones_like(tensor, dtype=torch.float64)
    return tensor


def _flow(runner: ModelRunner, mode: type[WithoutDropout]) -> dict[str, SynapticFlow]:
    """Return the flow; in a wide range of numbers where double precision is left.

    Raises:
        NotApplicable: batch norm is to be left out, and is written by hand; or no sample can be
            taken out of a list.
    """
    runner.require_weights()
    if runner.first.together and runner.first.entries:
        raise NotApplicable(_LISTED)
    ones = runner.some(1).map(_ones)
    leaving_out: Any = NoBatchNormByHand(len(ones)) if mode is WithoutNorm else nullcontext()
    with runner.substituted(dtype=torch.float64, change=lambda n, p: p.abs()) as leaves:
        with leaving_out, mode():
            output = runner.real_output(runner.run(ones)).sum()
        found = gradients(output, leaves)
        within = (
            all(map(is_finite, (output, *found.values()))) and abs(float(output.detach())) > _LEAST
        )
        # Weights that are not numbers give none in any range.
        if within or not all(map(is_finite, leaves.values())):
            return {n: SynapticFlow(w.detach(), found[n]) for n, w in leaves.items()}
    del output, found
    with runner.substituted(dtype=torch.float64, change=lambda n, p: p.abs()) as leaves:
        with sdpa_kernel(SDPBackend.MATH), WideRange() as wide:
            with mode():
                output = runner.real_output(runner.run(ones)).sum()
            found = gradients(output, leaves)
        return {
            n: SynapticFlow.within_range(w.detach(), found[n], wide.power_of(found[n]))
            for n, w in leaves.items()
        }
