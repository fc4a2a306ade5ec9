"""Losses of single items, which measure the distance of predictions from targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from .checks import checked, positive, zero


def mse(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error, ``mean (x - y)^2``.

    Raises:
        InputError: see the rules of the package.

    Example:
        >>> import torch
        >>> mse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])).item()
        2.0
    """
    predictions, targets = checked(predictions, targets)
    if not len(predictions):
        return zero(predictions)
    return functional.mse_loss(predictions, targets.to(predictions.dtype))


def huber(predictions: Tensor, targets: Tensor, *, delta: float = 1.0) -> Tensor:
    """Return the mean of errors e: ``e^2 / 2`` up to delta, and linear beyond.

    Args:
        predictions: (items,).
        targets: (items,).
        delta: the error from which the loss is linear, in units of the targets; above 0.

    Raises:
        InputError: ``delta`` is not positive, or see the rules of the package.

    Source: Huber, "Robust estimation of a location parameter", 1964.

    Example:
        >>> import torch
        >>> huber(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0])).item()
        1.5
    """
    predictions, targets = checked(predictions, targets)
    positive("delta", delta)
    if not len(predictions):
        return zero(predictions)
    return functional.huber_loss(predictions, targets.to(predictions.dtype), delta=delta)
