"""The pass of CRoZe: the network beside a twin whose weights and inputs are perturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ScoreError
from .attempts import Recorded, attempt
from .model_runner import Batch, ModelRunner, WithoutDropout
from .recorders import PRODUCTS, weight_of
from .signals import Twin

_INPUT_STEP = 0.01  # of the fast gradient sign method
_WEIGHT_STEP = 0.01  # of the twin's weights, relative to their norm


class FirstOutputs(WithoutDropout):
    """Hands the output of each layer's first call to a function."""

    def __init__(self, leaves: dict[str, Tensor], take: Callable[[str, Tensor], None]):
        super().__init__()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._take = take

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func in PRODUCTS:
            name = self._names.pop(id(weight_of(args, kwargs)), None)
            if name is not None:
                self._take(name, result.detach())
        return result


def record_twins(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Three forwards and backwards: the network, the attack on its twin, the attacked twin."""
    recorded: Recorded = {}
    with attempt(recorded, "twins"):
        batch = runner.batches[0]
        if not all(t.is_floating_point() for t in batch.tensors):
            raise ScoreError("needs a floating-point input to perturb; this one is integer")
        weights = runner.weights()
        if not weights:
            raise ScoreError("the model has no weight of a convolution, linear or recurrent layer")
        features: dict[str, Tensor] = {}
        agreements: dict[str, float] = {}

        def keep(name: str, output: Tensor) -> None:
            features[name] = output.clone()  # in place it may be overwritten

        def compare(name: str, output: Tensor) -> None:
            if name in features:
                agreements[name] = _cosine(features.pop(name), output)

        gradients = _gradients(runner, batch, None, keep)
        shifts = {
            name: _WEIGHT_STEP * _unit(gradient) * weights[name].norm()
            for name, gradient in gradients.items()
        }
        attacked = _attacked(runner, batch, shifts)
        twin_gradients = _gradients(runner, attacked, shifts, compare)
        found = []
        for name, agreement in agreements.items():
            first, second = gradients[name], twin_gradients[name]
            stepped = weights[name] - first
            twin_stepped = weights[name] + shifts[name] - second
            found.append(Twin(_cosine(stepped, twin_stepped), _cosine(first, second), agreement))
        if not found:
            raise ScoreError("no layer of the model could be compared with its twin")
        recorded["twins"] = found
    return recorded


def _unit(gradient: Tensor) -> Tensor:
    unit: Tensor = gradient / gradient.norm().clamp_min(1e-12)
    return unit


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(F.cosine_similarity(first.flatten(), second.flatten(), dim=0))


def _gradients(
    runner: ModelRunner,
    batch: Batch,
    shifts: dict[str, Tensor] | None,
    take: Callable[[str, Tensor], None],
) -> dict[str, Tensor]:
    """Gradient of every weight, shifted if there are shifts; ``take`` gets the layers' outputs."""
    with runner.substituted(change=_shifted(shifts)) as leaves:
        with FirstOutputs(leaves, take):
            loss = runner.batch_loss(runner.run_soundly(batch), batch)
        _differentiable(loss)
        found = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }


def _differentiable(loss: Tensor) -> None:
    if not loss.requires_grad:
        raise ScoreError("the loss does not depend on any weight differentiably")


def _attacked(runner: ModelRunner, batch: Batch, shifts: dict[str, Tensor]) -> Batch:
    """The batch moved by a step along the sign of the twin's input gradient."""
    moving = batch.map(lambda t: t.clone().requires_grad_())
    with runner.substituted(change=_shifted(shifts)):
        with WithoutDropout():
            loss = runner.batch_loss(runner.run(moving), moving)
        _differentiable(loss)
        found = iter(torch.autograd.grad(loss, moving.tensors, allow_unused=True))
    return batch.map(
        lambda t: t if (gradient := next(found)) is None else t + _INPUT_STEP * gradient.sign()
    )


def _shifted(shifts: dict[str, Tensor] | None) -> Any:
    if shifts is None:
        return None
    return lambda name, parameter: parameter + shifts[name] if name in shifts else parameter
