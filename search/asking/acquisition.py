"""The worth of measuring candidates next, given predictions and their uncertainty."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...basics import Array
from ...errors import InputError

KINDS = ("mean", "ucb", "thompson", "ei")
BETA = 1.0
"""The number of standard deviations that ``"ucb"`` adds to the mean."""
FEW = 400
"""The largest number of candidates that are considered jointly."""

Correlate = Callable[[npt.NDArray[np.intp]], Array]
"""Maps positions of candidates (n,) to the correlations (n, n) of their prediction errors."""


def checked_kind(kind: str) -> str:
    """Return the kind of acquisition, checked.

    Raises:
        InputError: there is no such acquisition.
    """
    if kind not in KINDS:
        raise InputError(f"acquisition: got {kind!r}, expected one of {', '.join(KINDS)}")
    return kind


def acquire(kind: str, mean: Array, std: Array, best: float) -> Array:
    """Return the worth (n,) of measuring each candidate; larger is better.

        mean: m;   ucb: m + s;   ei: E max(y - best, 0) = s (z Phi(z) + phi(z)), z = (m - best) / s

    ``"thompson"`` draws all candidates jointly, which ``choose`` does; its worth here is that of
    ``"ucb"``. Source: Jones et al., 1998 (expected improvement); Srinivas et al., 2010 (upper
    confidence bound, with a constant weight); Thompson, 1933.

    Example:
        >>> acquire("ei", np.array([0.0, 0.0]), np.array([1.0, 2.0]), 0.0).round(3).tolist()
        [0.399, 0.798]
    """
    if kind == "mean":
        return mean
    if kind != "ei":
        return mean + BETA * std
    safe = np.maximum(std, 1e-12)
    z = (mean - best) / safe
    made: Array = safe * (z * stats.norm.cdf(z) + stats.norm.pdf(z))
    # Far below the best, ei is 0 in floating point; the likelier candidates come first there.
    return np.where(made > 1e-300, made, np.minimum(z, 0.0) * 1e-300)


def choose(
    kind: str,
    mean: Array,
    std: Array,
    best: float,
    n: int,
    rng: np.random.Generator,
    correlate: Correlate | None,
    pending: int = 0,
) -> list[int]:
    """Choose the ``n`` candidates to measure together; return positions, the most valuable first.

    ``"ei"`` and ``"ucb"`` first take the candidate with the largest worth. Then the deviations of
    all others shrink as if its mean had been measured, and the next is taken. ``"thompson"`` makes
    ``n`` joint draws and takes the largest candidate of each. All consider only the few hundred
    candidates with the largest worth on their own. Without ``correlate``, candidates count as
    independent. Source: Desautels et al., "Parallelizing exploration-exploitation tradeoffs", JMLR
    2014.

    Args:
        kind, mean, std, best: the same as in ``acquire``; pending candidates come last.
        n: the number of candidates to choose.
        rng: the generator of draws.
        correlate: a function that returns correlations of candidates.
        pending: the number of candidates that are being measured. Deviations shrink by them first,
            and they are not chosen.
    """
    worth = acquire(kind, mean, std, best)
    free = len(mean) - pending
    order = np.argsort(-worth[:free], kind="stable")
    if kind == "mean" or (kind != "thompson" and n + pending == 1):
        return [int(i) for i in order[:n]]
    few = np.concatenate([order[: max(FEW, n)], np.arange(free, len(mean))])
    together = np.eye(len(few)) if correlate is None else correlate(few)
    if kind == "thompson":
        chosen = _drawn(mean[few], std[few], together, n, rng, pending)
    else:
        chosen = _greedy(kind, mean[few], std[few], together, best, n, pending)
    return [int(few[i]) for i in chosen]


def _greedy(
    kind: str, mean: Array, std: Array, together: Array, best: float, n: int, pending: int
) -> list[int]:
    covariance = together * np.outer(std, std)
    taken = list(range(len(mean) - pending, len(mean)))
    for i in taken:
        covariance = _given(covariance, i)
    chosen: list[int] = []
    while len(chosen) < min(n, len(mean) - pending):
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        worth = acquire(kind, mean, deviation, best)
        worth[taken] = -np.inf
        chosen.append(int(np.argmax(worth)))
        taken.append(chosen[-1])
        covariance = _given(covariance, chosen[-1])
    return chosen


def _given(covariance: Array, i: int) -> Array:
    """Return the covariance of all candidates once candidate ``i`` is known."""
    variance = covariance[i, i]
    if variance <= 1e-12:
        return covariance
    made: Array = covariance - np.outer(covariance[:, i], covariance[i]) / variance
    return made


def _drawn(
    mean: Array, std: Array, together: Array, n: int, rng: np.random.Generator, pending: int
) -> list[int]:
    values, vectors = np.linalg.eigh(together)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    chosen: list[int] = []
    taken = np.arange(len(mean)) >= len(mean) - pending
    while len(chosen) < min(n, len(mean) - pending):
        draw = mean + std * (root @ rng.standard_normal(len(mean)))
        draw[taken] = -np.inf
        chosen.append(int(np.argmax(draw)))
        taken[chosen[-1]] = True
    return chosen
