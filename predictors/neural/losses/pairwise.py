"""Losses of pairs that are in the wrong order."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .checks import checked, positive
from .pairs import over_pairs, places_of, untied


def pairwise_hinge(
    predictions: Tensor, targets: Tensor, *, margin: float = 1.0, chunk: int | None = None
) -> Tensor:
    """Return the mean amount by which pairs miss the right order by a margin.

    ``mean over pairs with dy != 0 of max(0, margin - dx sign(dy))``.

    Args:
        predictions: (items,).
        targets: (items,).
        margin: the distance by which the better item should be predicted above the worse; above 0.
        chunk: as in ``smoothed_kendall``.

    Raises:
        InputError: margin is not positive, or as the package says.

    Source: Herbrich et al., "Large margin rank boundaries for ordinal regression", 2000.

    Example:
        >>> truth = torch.tensor([0.0, 1.0])
        >>> pairwise_hinge(torch.tensor([0.0, 0.25]), truth).item()
        0.75
    """
    predictions, targets = checked(predictions, targets)
    positive("margin", margin)
    places = places_of(targets).to(predictions.dtype)

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        order = (places[rows, None] - places).sign()
        lacking = margin - order * gap
        violated = lacking > 0
        return order.abs() * lacking * violated, -order * violated

    return over_pairs(predictions, term, untied(targets), chunk)


def pairwise_logistic(predictions: Tensor, targets: Tensor, *, chunk: int | None = None) -> Tensor:
    """Return the cross-entropy of predicting which of a pair is better.

    ``mean over pairs with dy != 0 of log(1 + exp(-dx sign(dy)))``.

    Args:
        predictions: (items,).
        targets: (items,).
        chunk: as in ``smoothed_kendall``.

    Raises:
        InputError: as the package says.

    Source: Burges et al., "Learning to rank using gradient descent" (RankNet), ICML 2005; the
    "pairwise" loss of ParZC.

    Example:
        >>> truth = torch.tensor([0.0, 1.0, 1.0])
        >>> round(pairwise_logistic(torch.zeros(3), truth).item(), 4)
        0.6931
    """
    predictions, targets = checked(predictions, targets)
    places = places_of(targets).to(predictions.dtype)

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return _logistic(gap, (places[rows, None] - places).sign())

    return over_pairs(predictions, term, untied(targets), chunk)


def weighted_ranking(predictions: Tensor, targets: Tensor, *, chunk: int | None = None) -> Tensor:
    """Return ``pairwise_logistic`` with most weight on pairs that contain one of the best items.

    ``sum w_ij log(1 + exp(-dx sign(dy))) / sum w_ij`` over pairs with dy != 0, where
    ``w_ij = 1 / log2(1 + rank of the better by its target)``; the best has rank 1, tied targets the
    smallest rank of their tie.

    Args:
        predictions: (items,).
        targets: (items,).
        chunk: as in ``smoothed_kendall``.

    Raises:
        InputError: as the package says.

    Notes:
        The weights are our choice, after the weighted pairs of Weston et al., "WSABIE" (WARP),
        IJCAI 2011, with the discount of Jarvelin and Kekalainen, TOIS 2002, on true ranks in place
        of sampled ones.

    Example:
        >>> truth = torch.tensor([3.0, 2.0, 1.0])
        >>> top, bottom = torch.tensor([2.0, 3.0, 1.0]), torch.tensor([3.0, 1.0, 2.0])
        >>> bool(weighted_ranking(top, truth) > weighted_ranking(bottom, truth))
        True
    """
    predictions, targets = checked(predictions, targets)
    ranks = places_of(targets)
    ascending = ranks.sort().values
    worse = torch.searchsorted(ascending, ranks)
    better = len(ranks) - torch.searchsorted(ascending, ranks, right=True)
    places = ranks.to(predictions.dtype)
    weights = 1 / (2 + better).to(predictions.dtype).log2()

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        worth, slope = _logistic(gap, (places[rows, None] - places).sign())
        # The better of two has the larger weight, as weights fall with the rank.
        weight = torch.maximum(weights[rows, None], weights)
        return weight * worth, weight * slope

    return over_pairs(predictions, term, float((weights * worse).sum()), chunk)


def _logistic(gap: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """``log(1 + exp(-gap order))`` and its derivative in gap; zero where order is."""
    lead = order * gap
    return -order.abs() * functional.logsigmoid(lead), -order * torch.sigmoid(-lead)
