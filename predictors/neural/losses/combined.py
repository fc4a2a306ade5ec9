"""Combinations of losses, as a sum or one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....errors import InputError
from .checks import positive
from .modules import loss


class Mixed(nn.Module):
    """A weighted sum of losses, ``sum_k w_k L_k``.

    Args:
        parts: (loss or its name, weight above 0), at least one.

    Raises:
        InputError: there are no parts, a name is unknown, or a weight is not positive.

    Source: ParZC trains with the sum of its pairwise loss and DiffKendall on some spaces.

    Example:
        >>> both = Mixed([("pairwise_logistic", 1.0), ("diff_kendall", 0.5)])
        >>> round(both(torch.zeros(2), torch.tensor([0.0, 1.0])).item(), 4)
        0.6931
    """

    def __init__(self, parts: Sequence[tuple[str | nn.Module, float]]):
        super().__init__()
        _some("parts", parts)
        self.losses = nn.ModuleList([loss(part) for part, _ in parts])
        self.weights = [positive("weight", weight) for _, weight in parts]

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of predictions (items,) for targets (items,): a scalar."""
        terms = [
            weight * part(predictions, targets)
            for part, weight in zip(self.losses, self.weights, strict=True)
        ]
        return torch.stack(terms).sum()

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


class Scheduled(nn.Module):
    """A sequence of losses, each for its epochs, and the last one for all later epochs.

    Trainings set ``epoch``, counted from 0, by ``tell_epoch``, even inside other losses.

    Args:
        parts: (loss or its name, epochs), at least one.

    Attributes:
        epoch: the current epoch.

    Raises:
        InputError: there are no parts, a name is unknown, or a number of epochs is not a whole
            number of at least 1.

    Example:
        >>> first_fit_then_rank = Scheduled([("mse", 10), ("list_mle", 20)])
        >>> first_fit_then_rank.epoch = 10
        >>> first_fit_then_rank.at(first_fit_then_rank.epoch)
        ListMLE()
    """

    def __init__(self, parts: Sequence[tuple[str | nn.Module, int]]):
        super().__init__()
        _some("parts", parts)
        for _, epochs in parts:
            if not isinstance(epochs, int) or epochs < 1:
                raise InputError(f"epochs: got {epochs!r}, expected a whole number of at least 1")
        self.losses = nn.ModuleList([loss(part) for part, _ in parts])
        self.epochs = [epochs for _, epochs in parts]
        self.epoch = 0

    def at(self, epoch: int) -> nn.Module:
        """Return the loss of an epoch, counted from 0."""
        if epoch < 0:
            raise InputError(f"epoch: got {epoch}, expected at least 0")
        for part, epochs in zip(self.losses, self.epochs, strict=True):
            if epoch < epochs:
                return part
            epoch -= epochs
        return self.losses[-1]

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of predictions (items,) for targets (items,): a scalar."""
        value: Tensor = self.at(self.epoch)(predictions, targets)
        return value

    def extra_repr(self) -> str:
        return f"epochs={self.epochs}"


def tell_epoch(given: nn.Module, epoch: int) -> None:
    """Set the current epoch, counted from 0, in a loss and in all its parts.

    Example:
        >>> both = Mixed([(Scheduled([("mse", 1), ("list_mle", 1)]), 1.0)])
        >>> tell_epoch(both, 1)
        >>> both.losses[0].at(both.losses[0].epoch)
        ListMLE()
    """
    for part in given.modules():
        if isinstance(part, Scheduled):
            part.epoch = epoch


def _some(name: str, parts: Sequence[object]) -> None:
    if not parts:
        raise InputError(f"{name}: got none, expected at least one (loss, number)")
