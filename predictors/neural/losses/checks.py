"""Checks of the tensors and options that all losses take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ....errors import InputError


def checked(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions in at least single precision, and targets detached from gradients."""
    for name, values in (("predictions", predictions), ("targets", targets)):
        if not isinstance(values, Tensor):
            raise InputError(f"{name}: got {type(values).__name__}, expected a tensor (items,)")
        if values.dim() != 1:
            raise InputError(
                f"{name}: got shape {tuple(values.shape)}, expected one dimension, (items,); "
                "flatten it first"
            )
        if not values.isfinite().all():
            raise InputError(f"{name}: got values that are not finite, expected finite ones")
    if len(predictions) != len(targets):
        raise InputError(
            f"targets: got {len(targets)}, expected {len(predictions)}, one for each prediction"
        )
    at_least_single = torch.promote_types(predictions.dtype, torch.float32)
    return predictions.to(at_least_single), targets.detach()


def one_of(name: str, value: str, choices: Mapping[str, object] | Sequence[str]) -> None:
    """Raise an InputError unless the value is one of the choices."""
    if value not in choices:
        raise InputError(f"{name}: got {value!r}, expected one of: {', '.join(choices)}")


def positive(name: str, value: float) -> float:
    """Return the number; raise an InputError unless it is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
    return float(value)


def zero(predictions: Tensor) -> Tensor:
    """Return zero, connected to the predictions so that their gradient is zeros instead of
    missing."""
    return (predictions * 0).sum()
