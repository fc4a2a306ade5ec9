"""Losses that teach a predictor to order: functions of predictions and targets to a scalar.

All losses take two tensors ``(items,)``, where larger is better in both, and share these rules:

- Targets are constants: no gradient flows into them.
- Pairs tied in the targets have no order and contribute zero to every ranking loss. If no other
  pairs exist (no items, one item, constant targets), the loss is zero, with a gradient of zeros.
  ``mse`` and ``huber`` are zero for no items.
- Values that are not finite, tensors with another number of dimensions and different lengths raise
  ``InputError``.
- Losses of half-precision tensors are computed and returned in float32.

Losses over pairs hold only a few rows of the table of pairs at a time, forward and backward. So
memory grows with the items and not with the pairs. They can be differentiated once.
"""

from __future__ import annotations

from .combined import Mixed, Scheduled, tell_epoch
from .kendall import DENOMINATORS, FORMS, diff_kendall, smoothed_kendall
from .listwise import list_mle
from .modules import (
    LOSSES,
    MSE,
    SERVED,
    DiffKendall,
    Huber,
    ListMLE,
    Loss,
    PairwiseHinge,
    PairwiseLogistic,
    WeightedRanking,
    loss,
    orders,
)
from .pairwise import pairwise_hinge, pairwise_logistic, weighted_ranking
from .pointwise import huber, mse

__all__ = [
    "DENOMINATORS",
    "DiffKendall",
    "FORMS",
    "Huber",
    "LOSSES",
    "ListMLE",
    "Loss",
    "MSE",
    "Mixed",
    "PairwiseHinge",
    "PairwiseLogistic",
    "SERVED",
    "Scheduled",
    "WeightedRanking",
    "diff_kendall",
    "huber",
    "list_mle",
    "loss",
    "mse",
    "orders",
    "pairwise_hinge",
    "pairwise_logistic",
    "smoothed_kendall",
    "tell_epoch",
    "weighted_ranking",
]
