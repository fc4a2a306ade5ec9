"""The pass of CRoZe: the network beside a twin whose weights and inputs are perturbed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ScoreError
from .attempts import Recorded, attempt
from .signals import Twin
from .subject import Batch, Subject, WithoutDropout
from .taps import PRODUCTS, weight_of

_INPUT_STEP = 0.01  # of the fast gradient sign method
_WEIGHT_STEP = 0.01  # of the twin's weights, relative to their norm


class FeatureKeeper(WithoutDropout):
    """Keeps the output of each layer's first call."""

    def __init__(self, leaves: dict[str, Tensor]):
        super().__init__()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self.features: dict[str, Tensor] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func in PRODUCTS:
            name = self._names.get(id(weight_of(args, kwargs)))
            if name is not None and name not in self.features:
                self.features[name] = result.detach().clone()  # in place it may be overwritten
        return result


def record_twins(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """Three forwards and backwards: the network, the attack on its twin, the attacked twin."""
    recorded: Recorded = {}
    with attempt(recorded, "twins"):
        batch = subject.batches[0]
        if not all(t.is_floating_point() for t in batch.tensors):
            raise ScoreError("needs a floating-point input to perturb; this one is integer")
        gradients, features = _layers(subject, batch, None)
        shifts = {
            name: _WEIGHT_STEP * _unit(gradient) * subject.weights()[name].norm()
            for name, gradient in gradients.items()
        }
        attacked = _attacked(subject, batch, shifts)
        twin_gradients, twin_features = _layers(subject, attacked, shifts)
        found = []
        for name, weight in subject.weights().items():
            if name not in features or name not in twin_features:
                continue
            first, second = gradients[name], twin_gradients[name]
            stepped = weight - first
            twin_stepped = weight + shifts[name] - second
            found.append(
                Twin(
                    _cosine(stepped, twin_stepped),
                    _cosine(first, second),
                    _cosine(features[name], twin_features[name]),
                )
            )
        if not found:
            raise ScoreError("no layer of the model could be compared with its twin")
        recorded["twins"] = found
    return recorded


def _unit(gradient: Tensor) -> Tensor:
    unit: Tensor = gradient / gradient.norm().clamp_min(1e-12)
    return unit


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(F.cosine_similarity(first.flatten(), second.flatten(), dim=0))


def _layers(
    subject: Subject, batch: Batch, shifts: dict[str, Tensor] | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradient and output of every layer, with shifted weights if there are shifts."""
    with subject.substituted(change=_shifted(shifts)) as leaves:
        keeper = FeatureKeeper(leaves)
        with keeper:
            loss = subject.batch_loss(subject.run(batch), batch)
        found = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
        gradients = {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }
    return {n: g.detach() for n, g in gradients.items()}, keeper.features


def _attacked(subject: Subject, batch: Batch, shifts: dict[str, Tensor]) -> Batch:
    """The batch moved by a step along the sign of the twin's input gradient."""
    moving = batch.map(lambda t: t.clone().requires_grad_())
    with subject.substituted(change=_shifted(shifts)):
        with WithoutDropout():
            loss = subject.batch_loss(subject.run(moving), moving)
        found = iter(torch.autograd.grad(loss, moving.tensors, allow_unused=True))
    return batch.map(
        lambda t: t if (gradient := next(found)) is None else t + _INPUT_STEP * gradient.sign()
    )


def _shifted(shifts: dict[str, Tensor] | None) -> Any:
    if shifts is None:
        return None
    return lambda name, parameter: parameter + shifts[name] if name in shifts else parameter
