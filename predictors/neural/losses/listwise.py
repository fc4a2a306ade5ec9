"""Losses of the whole order of items."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import checked, zero
from .pairs import places_of


def list_mle(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return minus the log-likelihood of the true order if a softmax draws the items, best first.

    ``mean over i of log(exp(x_i) + sum over {j: y_j < y_i} of exp(x_j)) - x_i`` compares each item
    with itself and all items that are truly worse. Without ties, this is ListMLE divided by the
    number of items, so it does not grow with the list.

    Notes:
        Tied targets do not compete with each other (our choice), so that neither the order of the
        items nor chance breaks ties.

    Args:
        predictions: (items,).
        targets: (items,).

    Raises:
        InputError: see the rules of the package.

    Source: Xia et al., "Listwise approach to learning to rank", ICML 2008, eq. 8.

    Example:
        >>> truth = torch.tensor([1.0, 2.0])
        >>> round(2 * list_mle(torch.zeros(2), truth).item(), 4)  # log 2: one choice of two
        0.6931
    """
    predictions, targets = checked(predictions, targets)
    if not len(predictions):
        return zero(predictions)
    ascending, order = places_of(targets).sort()
    scores = predictions[order]
    nothing = scores.new_full((1,), -math.inf)
    of_lowest = torch.cat([nothing, scores.logcumsumexp(0)])
    worse = torch.searchsorted(ascending, ascending)
    return (torch.logaddexp(scores, of_lowest[worse]) - scores).mean()
