"""SWAP: how many of the rectifiers' units tell the samples apart in different ways."""

from __future__ import annotations

import math

from ...errors import NotApplicable, ScoreError
from ...graphs import Graph
from ..recording.signals import ActivationPatterns, GradientStatistics
from ..registry import Measure, register

_REFERENCE = "Peng et al., SWAP-NAS, ICLR 2024"


@register(
    "swap",
    version=5,
    summary="Number of units that are on for different sets of samples.",
    formula="|{c_u}|, c_u the pattern over the batch in which rectifier unit u is on",
    reference=_REFERENCE,
    cost="1 forward",
)
def swap(activation_patterns: ActivationPatterns) -> Measure:
    """Count the different patterns in which units are on.

    Notes:
        A larger batch can distinguish more units. Every rectifier counts, whatever the shape of its
        input; the released code counts only nn.ReLU modules on images.
    """
    return Measure(float(activation_patterns.total))


@register(
    "swap_regular",
    version=5,
    summary="SWAP, damped away from a number of parameters.",
    formula="swap * exp(-(p - mu)^2 / sigma), p = parameters / 1000",
    reference=f"{_REFERENCE}, equation 7",
    cost="1 forward",
)
def swap_regular(
    activation_patterns: ActivationPatterns,
    graph: Graph,
    *,
    mu: float = 30.0,
    sigma: float = 40.0,
) -> Measure:
    """Count the patterns, damped by the distance from ``mu`` thousand parameters.

    Notes:
        mu and sigma depend on the space; set them as in ``swap_regular[mu=900,sigma=500000]``. The
        defaults are those of the released code, for networks of about 30,000 parameters.
    """
    if not sigma > 0:
        raise ScoreError(f"sigma: got {sigma:g}, expected more than 0")
    exponent = -((graph.params / 1000 - mu) ** 2) / sigma
    if exponent < math.log(1e-300):
        raise NotApplicable(
            f"the model's {graph.params:,} parameters are so far from mu={mu:g} thousand that the "
            "factor vanishes; set mu and sigma for the space"
        )
    return Measure(activation_patterns.total * math.exp(exponent))


@register(
    "l_swag",
    version=6,
    summary="Steady gradients times patterns, layer by layer.",
    formula="sum_l log sum_w 1 / std(g_w) * sum_l swap_l, over layers from percentile low to high",
    reference="Casarin et al., L-SWAG, CVPR 2025",
    cost="2 forwards + 2 backwards",
    labels=True,
)
def l_swag(
    gradient_statistics: dict[str, GradientStatistics],
    activation_patterns: ActivationPatterns,
    *,
    low: float = 0.0,
    high: float = 100.0,
) -> Measure:
    """Multiply the steadiness of gradients by the number of patterns.

    Notes:
        The standard deviation is taken over batches. Weights whose gradient does not vary are left
        out. The paper chooses the percentiles of layers for each space by labels; the default takes
        all layers.
    """
    logs = []
    for statistics in gradient_statistics.values():
        total = statistics.per_deviation(1.0)
        logs.append(math.log(total) if total != 0 else 0.0)
    patterns = activation_patterns.by_rectifier
    return Measure(sum(_between(logs, low, high)) * sum(_between(patterns, low, high)))


def _between(values: list[float] | tuple[int, ...], low: float, high: float) -> list[float]:
    count = len(values)
    return [v for i, v in enumerate(values) if low <= 100 * (i + 0.5) / count <= high]
