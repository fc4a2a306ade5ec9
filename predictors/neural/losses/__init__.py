"""Losses that teach a predictor to order: predictions and targets in, a scalar to minimise out.

All take two tensors ``(items,)``, larger being better in both, and share these rules:

- Targets are constants: no gradient flows into them.
- Pairs tied in the targets say nothing about the order and contribute zero to every ranking loss.
  Where that leaves nothing (no items, one item, constant targets) the loss is zero, with a gradient
  of zeros. ``mse`` and ``huber`` are zero for no items.
- Values that are not finite, tensors of another number of dimensions and lengths that differ raise
  ``InputError``.
- Half precision is computed in, and returned as, float32.

Losses over pairs hold a few rows of the table of pairs at a time, forward and backward, so memory
grows with the items and not with the pairs. They can be differentiated once.
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
