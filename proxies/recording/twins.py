"""The pass of CRoZe: the network beside a twin whose weights and inputs are perturbed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ...errors import NotApplicable, ScoreError
from .attempts import Recorded, attempt
from .batches import Batch, as_real
from .differentiation import Gradients, check_differentiable, checked_backward, gradients
from .model_runner import ModelRunner
from .modes import WithoutDropout
from .samples.survey import CountedLayouts
from .signals import Twin
from .weights.applying import APPLYING, others_of, weight_of
from .weights.effective import name_of, names_by_weight
from .weights.hidden import refuse_learning_unseen

_INPUT_STEP = 0.01  # of the fast gradient sign method
_WEIGHT_STEP = 0.01  # of the twin's weights, relative to their norm
_LEAST = 1e-8  # length that a cosine is divided by


class FirstOutputs(WithoutDropout):
    """A mode that passes the output of each layer's first call to a function."""

    def __init__(
        self,
        leaves: dict[str, Tensor],
        take: Callable[[str, Tensor], None],
        layouts: CountedLayouts | None = None,
    ):
        super().__init__()
        self._names = names_by_weight(leaves)
        self._take = take
        self._layouts = layouts
        self._taken: set[str] = set()

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func in APPLYING:
            name = name_of(self._names, weight_of(func, args, kwargs))
            if self._layouts is not None:
                self._layouts.see_layer(name or "", result, ordered=False)
            others = (name_of(self._names, weight) for weight in others_of(func, args))
            for one in (name, *others):
                if one is not None and one not in self._taken:
                    self._taken.add(one)
                    if not is_functorch_wrapped_tensor(result):  # vmap hides samples
                        self._take(one, as_real(result.detach()))
        return result


def record_twins(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run three forwards and backwards: the network, the attack on its twin, the attacked twin."""
    recorded: Recorded = {}
    with attempt(recorded, "twins"):
        batch = runner.first
        batch.check_floating()
        weights = runner.weights()
        features: dict[str, Tensor] = {}
        agreements: dict[str, float] = {}

        def keep(name: str, output: Tensor) -> None:
            features[name] = output.clone()  # in place it may be overwritten

        def compare(name: str, output: Tensor) -> None:
            if name in features:
                _check_alike(name, features[name], output)
                agreements[name] = _cosine(features.pop(name), output)

        first_gradients = _of_loss(runner, batch, None, keep)
        shifts = {
            name: _WEIGHT_STEP * _unit(gradient) * weights[name].norm()
            for name, gradient in first_gradients.items()
        }
        attacked = _attacked(runner, batch, shifts)
        second_gradients = _of_loss(runner, attacked, shifts, compare)
        refuse_learning_unseen(runner.graph, first_gradients, agreements)
        found = []
        for name, agreement in agreements.items():
            first, second = first_gradients[name], second_gradients[name]
            stepped = weights[name] - first
            twin_stepped = weights[name] + shifts[name] - second
            found.append(Twin(_cosine(stepped, twin_stepped), _cosine(first, second), agreement))
        if not found:
            raise NotApplicable("no layer of the model could be compared with its twin")
        recorded["twins"] = found
    return recorded


def _check_alike(name: str, one: Tensor, other: Tensor) -> None:
    """Refuse outputs of a layer that are of other sizes in the twin.

    Raises:
        ScoreError: they are.
    """
    if one.shape != other.shape:
        layer = name.rpartition(".")[0] or name
        raise ScoreError(
            f"module {layer!r} gives {tuple(one.shape)}, and {tuple(other.shape)} in the network's "
            "twin: how much it reads depends on values, so its outputs cannot be compared"
        )


def _unit(gradient: Tensor) -> Tensor:
    unit: Tensor = gradient / gradient.norm().clamp_min(1e-12)
    return unit


def _cosine(first: Tensor, second: Tensor) -> float:
    lengths = first.norm().clamp_min(_LEAST) * second.norm().clamp_min(_LEAST)
    return float((first * second).sum() / lengths)


def _of_loss(
    runner: ModelRunner,
    batch: Batch,
    shifts: dict[str, Tensor] | None,
    take: Callable[[str, Tensor], None],
) -> Gradients:
    """Return the gradients of the weights, shifted or not; ``take`` gets the layers' outputs."""
    with runner.substituted(change=_shifted(shifts)) as leaves:
        layouts = runner.layouts().counted(batch.samples, any_order=True)
        with FirstOutputs(leaves, take, layouts):
            loss = runner.batch_loss(runner.run_soundly(batch), batch)
        layouts.refuse_parts()
        return gradients(loss, leaves)


def _attacked(runner: ModelRunner, batch: Batch, shifts: dict[str, Tensor]) -> Batch:
    """Return the batch after one step along the sign of the twin's input gradient."""
    moving = batch.map(lambda t: t.clone().requires_grad_() if t.is_floating_point() else t)
    with runner.substituted(change=_shifted(shifts)):
        with WithoutDropout():
            loss = runner.batch_loss(runner.run(moving), moving)
        check_differentiable(loss)
        sources = [t for t in moving.tensors if t.requires_grad]
        with checked_backward():
            found = iter(torch.autograd.grad(loss, sources, allow_unused=True))

    def attacked(tensor: Tensor) -> Tensor:
        gradient = next(found) if tensor.is_floating_point() else None
        return tensor if gradient is None else tensor + _INPUT_STEP * gradient.sign()

    return batch.map(attacked)


def _shifted(shifts: dict[str, Tensor] | None) -> Any:
    if shifts is None:
        return None
    return lambda name, parameter: parameter + shifts[name] if name in shifts else parameter
