"""GradSign: how far the samples' gradients agree in sign (Zhang and Jia, ICLR 2022).

For a weight k and n samples, ``S_k = sum_i sign(g_ik)``. All forms are read from the same sums.
"""

from __future__ import annotations

import math

from ..errors import ScoreError
from .registry import Measure, register, total_of
from .signals import SignSums

_REFERENCE = "Zhang and Jia, ICLR 2022"
_COST = "1 forward + 1 per-sample backward"


def _totals(sign_sums: SignSums) -> dict[str, float]:
    return {n: float(s.abs().sum(dtype=s.double().dtype)) for n, s in sign_sums.sums.items()}


def _weights(sign_sums: SignSums) -> int:
    count = sum(s.numel() for s in sign_sums.sums.values())
    if count == 0:
        raise ScoreError("the model has no weight of a convolution, linear or recurrent layer")
    return count


@register(
    "gradsign",
    summary="Agreement of per-sample gradient signs, summed over weights (as published).",
    formula="sum_k |sum_i sign(g_ik)|",
    reference=f"{_REFERENCE}, Algorithm 1",
    cost=_COST,
    labels=True,
)
def gradsign(sign_sums: SignSums) -> Measure:
    """Coin-toss signs already give m sqrt(2 n / pi), so size dominates: see the other forms.

    Each sample is its own batch, in training mode, as in the published code.
    """
    return total_of(_totals(sign_sums))


@register(
    "gradsign_mean",
    summary="GradSign per weight.",
    formula="1/m sum_k |S_k|",
    reference=f"{_REFERENCE}, released code",
    cost=_COST,
    labels=True,
)
def gradsign_mean(sign_sums: SignSums) -> Measure:
    """The mean over all m weights; parts add up to it."""
    m = _weights(sign_sums)
    return total_of({n: t / m for n, t in _totals(sign_sums).items()})


@register(
    "gradsign_excess",
    summary="GradSign per weight above what coin tosses give.",
    formula="1/m sum_k |S_k| - sqrt(2 n / pi)",
    reference="our choice",
    cost=_COST,
    labels=True,
)
def gradsign_excess(sign_sums: SignSums) -> Measure:
    """0 for independent random signs (n large), sqrt-free maximum n - sqrt(2 n / pi)."""
    m, chance = _weights(sign_sums), math.sqrt(2 * sign_sums.samples / math.pi)
    totals = _totals(sign_sums)
    return total_of(
        {n: (totals[n] - s.numel() * chance) / m for n, s in sign_sums.sums.items()}
    )


@register(
    "gradsign_z",
    summary="GradSign in deviations from coin tosses: the size-controlled form.",
    formula="(sum_k |S_k| - m sqrt(2 n / pi)) / sqrt(m n (1 - 2 / pi))",
    reference="our choice",
    cost=_COST,
    labels=True,
)
def gradsign_z(sign_sums: SignSums) -> Measure:
    """A network whose signs are coin tosses scores 0 with deviation 1, whatever its size."""
    m, n = _weights(sign_sums), sign_sums.samples
    chance = math.sqrt(2 * n / math.pi)
    scale = math.sqrt(m * n * (1 - 2 / math.pi))
    totals = _totals(sign_sums)
    return total_of(
        {name: (totals[name] - s.numel() * chance) / scale for name, s in sign_sums.sums.items()}
    )
