"""Zen-score: expressivity of a Gaussian network."""

from __future__ import annotations

import math

from ...errors import NotApplicable
from ..recording.signals import Perturbation
from ..registry import Measure, register


@register(
    "zen",
    version=4,
    summary="How much features before pooling move when a Gaussian network's input does.",
    formula="log E||f(x + gamma eps) - f(x)||_1 + sum_BN log sqrt(mean variance), gamma = 1e-2",
    reference="Lin et al., ICCV 2021",
    initialisation="weights N(0, 1), norm scales 1, biases 0",
    deterministic=False,
    cost="2 forwards",
)
def zen(perturbation: Perturbation) -> Measure:
    """Add the logarithms of the features' distance and of the batch norms' deviations.

    Notes:
        The seed determines one pair of Gaussian batches. The variance is that of the batch, as in
        the paper; the released code reads the running average, which still has its initial value of
        1. Features are the input of the last global pooling, or else of the last linear layer (our
        choice). The authors designed it for plain networks without shortcuts.
    """
    if perturbation.distance <= 0:
        raise NotApplicable("the features do not move with the input")
    variances = perturbation.variances
    if any(v <= 0 for v in variances):
        raise NotApplicable("a batch norm sees a constant")
    return Measure(math.log(perturbation.distance) + sum(0.5 * math.log(v) for v in variances))
