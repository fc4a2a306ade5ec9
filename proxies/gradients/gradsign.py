"""GradSign: how well the samples' gradients agree in sign (Zhang and Jia, ICLR 2022).

For a weight k and n samples, ``S_k = sum_i sign(g_ik)``. All forms use the same sums.
"""

from __future__ import annotations

import math

from ...errors import NotApplicable, ScoreError
from ..recording.signals import SignSums
from ..registry import Measure, register, total_of

_REFERENCE = "Zhang and Jia, ICLR 2022"
_COST = "1 forward + 1 per-sample backward"


def _weights(sign_sums: SignSums) -> int:
    count = sum(s.numel() for s in sign_sums.sums.values())
    if count == 0:
        raise NotApplicable("the model has no weight of a convolution, linear or recurrent layer")
    return count


def chance(samples: int) -> tuple[float, float]:
    """Return the mean and standard deviation of ``|sum of n coin tosses|``.

    The mean is n C(n-1, floor(n/2)) / 2^(n-1), which tends to ``sqrt(2 n / pi)``.

    Example:
        >>> chance(2), round(chance(1000)[0] / math.sqrt(2 * 1000 / math.pi), 3)
        ((1.0, 1.0), 1.0)
    """
    n = samples
    mean = n * math.comb(n - 1, n // 2) / 2 ** (n - 1)
    return mean, math.sqrt(n - mean**2)


@register(
    "gradsign",
    version=6,
    summary="Agreement of per-sample gradient signs, summed over weights (as published).",
    formula="sum_k |sum_i sign(g_ik)|",
    reference=f"{_REFERENCE}, Algorithm 1",
    cost=_COST,
    labels=True,
)
def gradsign(sign_sums: SignSums) -> Measure:
    """Sum the magnitudes of the sums of signs.

    Notes:
        Random signs already give about m sqrt(2 n / pi), so the size of the network dominates. The
        other forms correct for it.

        Each sample is its own batch, in training mode, as in the published code.
    """
    return total_of(sign_sums.totals)


@register(
    "gradsign_mean",
    version=6,
    summary="GradSign per weight.",
    formula="1/m sum_k |S_k|",
    reference=f"{_REFERENCE}, released code",
    cost=_COST,
    labels=True,
)
def gradsign_mean(sign_sums: SignSums) -> Measure:
    """Return the mean magnitude of the sums of signs.

    Notes:
        The mean is over all m weights. The values of the nodes add up to it.
    """
    m = _weights(sign_sums)
    return total_of({n: t / m for n, t in sign_sums.totals.items()})


@register(
    "gradsign_excess",
    version=6,
    summary="GradSign per weight above what coin tosses give.",
    formula="1/m sum_k |S_k| - E|S|, E|S| = n C(n-1, floor(n/2)) / 2^(n-1) ~ sqrt(2 n / pi)",
    reference="our choice",
    cost=_COST,
    labels=True,
)
def gradsign_excess(sign_sums: SignSums) -> Measure:
    """Return the mean magnitude of the sums of signs, less that of coin tosses.

    Notes:
        It is 0 for independent random signs, and negative where gradients vanish exactly (dead
        units).
    """
    m, (mean, _) = _weights(sign_sums), chance(sign_sums.samples)
    totals = sign_sums.totals
    return total_of({n: (totals[n] - s.numel() * mean) / m for n, s in sign_sums.sums.items()})


@register(
    "gradsign_z",
    version=6,
    summary="GradSign in deviations from coin tosses: the size-controlled form.",
    formula="(sum_k |S_k| - m E|S|) / sqrt(m (n - E|S|^2))",
    reference="our choice",
    cost=_COST,
    labels=True,
)
def gradsign_z(sign_sums: SignSums) -> Measure:
    """Return the difference from coin tosses in standard deviations.

    Notes:
        A network with random signs scores 0 with a standard deviation of 1, whatever its size.
    """
    m, (mean, deviation) = _weights(sign_sums), chance(sign_sums.samples)
    if deviation == 0:
        raise ScoreError("one or two samples leave nothing to compare; pass a larger batch")
    scale = math.sqrt(m) * deviation
    totals = sign_sums.totals
    return total_of({n: (totals[n] - s.numel() * mean) / scale for n, s in sign_sums.sums.items()})
