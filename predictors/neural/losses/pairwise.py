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
    """Return the mean shortfall of pairs from the right order with a margin.

    ``mean over pairs with dy != 0 of max(0, margin - dx sign(dy))``.

    Args:
        predictions: (items,).
        targets: (items,).
        margin: the least difference wanted between predictions of the better and the worse item;
            above 0.
        chunk: as in ``smoothed_kendall``.

    Raises:
        InputError: ``margin`` is not positive, or see the rules of the package.

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
        InputError: see the rules of the package.

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
    """Return ``pairwise_logistic`` with the most weight on pairs that contain one of the best
    items.

    ``sum w_ij log(1 + exp(-dx sign(dy))) / sum w_ij`` over pairs with dy != 0, where ``w_ij = 1 /
    log2(1 + r)`` and r is the rank of the better item by its target. The best item has rank 1, and
    tied items have the smallest rank of their tie.

    Args:
        predictions: (items,).
        targets: (items,).
        chunk: as in ``smoothed_kendall``.

    Raises:
        InputError: see the rules of the package.

    Notes:
        The weights are our choice. They follow the weighted pairs of Weston et al., "WSABIE"
        (WARP), IJCAI 2011, with the discount of Jarvelin and Kekalainen, TOIS 2002, on true ranks
        in place of sampled ranks.

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
        # The better item of a pair has the larger weight, since weights fall with the rank.
        weight = torch.maximum(weights[rows, None], weights)
        return weight * worth, weight * slope

    return over_pairs(predictions, term, float((weights * worse).sum()), chunk)


def _logistic(gap: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``log(1 + exp(-gap order))`` and its derivative in gap; both are 0 if order is 0."""
    lead = order * gap
    return -order.abs() * functional.logsigmoid(lead), -order * torch.sigmoid(-lead)
