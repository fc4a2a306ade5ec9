"""Sums over pairs of items, in memory that grows with the items and not with the pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ....errors import InputError
from .checks import zero

PAIRS_AT_ONCE = 2**16  # a few such tensors fit a core's cache; larger ones are slower

_GAPS_OF = 512  # the most items whose pairs give the median

PairTerm = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""Maps differences prediction_i - prediction_j to the values of pairs (i, j) and their derivatives.

The differences are those for some rows i and all j. Swapping i and j must not change the value.
"""


class _PairSum(torch.autograd.Function):
    """A sum of a term over unordered pairs, from row sums of the table of ordered pairs."""

    @staticmethod
    def forward(ctx: Any, predictions: Tensor, term: PairTerm, rows_at_once: int) -> Tensor:
        # Filled in place: small results kept between large temporaries would keep these from being
        # reused, and the heap would grow to the size of the whole table.
        worths, slopes = torch.empty_like(predictions), torch.empty_like(predictions)
        for start in range(0, len(predictions), rows_at_once):
            rows = slice(start, start + rows_at_once)
            worth, slope = term(predictions[rows, None] - predictions, rows)
            worths[rows], slopes[rows] = worth.sum(1), slope.sum(1)
        # The derivative changes sign with a pair's order, so a row's sum is the whole gradient.
        ctx.save_for_backward(slopes)
        return worths.sum() / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradient * slopes, None, None


def over_pairs(
    predictions: Tensor, term: PairTerm, denominator: float, chunk: int | None
) -> Tensor:
    """Return the sum of a term over unordered pairs, divided; it is zero if the divisor is 0."""
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk: got {chunk!r}, expected a number of rows of at least 1, or None")
    if not denominator:
        return zero(predictions)
    rows_at_once = chunk or max(1, PAIRS_AT_ONCE // len(predictions))
    total: Tensor = _PairSum.apply(predictions, term, rows_at_once)
    return total / denominator


def places_of(values: Tensor) -> Tensor:
    """Return dense ranks from 0, which keep the order and the ties of values of any precision."""
    places: Tensor = values.unique(return_inverse=True)[1]
    return places


def pairs_among(items: int) -> int:
    """Return the number of unordered pairs."""
    return items * (items - 1) // 2


def untied(values: Tensor) -> int:
    """Return the number of unordered pairs that differ."""
    counts = values.unique(return_counts=True)[1]
    return (len(values) ** 2 - int(counts.square().sum())) // 2


def median_gap(values: Tensor) -> float:
    """Return the median absolute difference of the pairs that differ; 1 if no pair differs.

    More than 512 values are represented by 512 that are evenly spaced in sorted order.

    Example:
        >>> median_gap(torch.tensor([0.0, 1.0, 3.0]))
        2.0
    """
    if len(values) > _GAPS_OF:
        places = torch.linspace(0, len(values) - 1, _GAPS_OF, device=values.device).round().long()
        values = values.sort().values[places]
    gaps = torch.nn.functional.pdist(values[:, None].double(), p=1)
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return 1.0
    # A lower bound keeps quotients finite in single precision.
    return max(float(gaps.median()), 1e-12 * float(gaps.max()), 1e-20)
