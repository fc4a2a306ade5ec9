"""CRoZe: how much of a network stays the same when its weights and inputs are perturbed."""

from __future__ import annotations

from ..recording.signals import Twin
from ..registry import Measure, register


@register(
    "croze",
    version=7,
    summary="Agreement of weights, gradients and features with a disturbed twin.",
    formula="sum_l (1 + cos W) |cos g| (1 + cos f), between the network and its twin",
    reference="Ha et al., CRoZe, NeurIPS 2023",
    cost="3 forwards + 3 backwards",
    labels=True,
)
def croze(twins: list[Twin]) -> Measure:
    """Sum the agreements of the layers with those of a perturbed twin.

    Notes:
        The twin's weights move by 1 % of their norm up the loss. Its inputs move by 0.01 along the
        sign of their gradient. W is compared after one gradient step of length 1. The proxy is
        meant for robustness. The released code reads only the features of NAS-Bench-201 and DARTS
        cells; here f is the output of every layer.

        In deep networks the twin's gradients have little to do with the network's. Their cosines
        are then small differences, which rounding changes by about a tenth.
    """
    return Measure(sum((1 + t.weights) * abs(t.gradients) * (1 + t.features) for t in twins))
