"""Agreement of rankings: a leaf module that every room may import."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from .errors import InputError

Array = npt.NDArray[np.float64]


def kendall(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Kendall's tau-b of two sequences; NaN if either is constant.

    Raises:
        InputError: lengths differ, fewer than two values, or a value that is not finite.

    Example:
        >>> kendall([1, 2, 3, 4], [1, 3, 2, 4])
        0.6666666666666669
    """
    return float(stats.kendalltau(*_pair(scores, truth)).statistic)


def spearman(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Spearman's rho of two sequences, ties averaged; NaN if either is constant.

    Raises:
        InputError: as :func:`kendall`.

    Example:
        >>> spearman([1, 2, 3, 4], [1, 3, 2, 4])
        0.8
    """
    first, second = (stats.rankdata(values) for values in _pair(scores, truth))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.round(np.corrcoef(first, second)[0, 1], 15))


def residual_rank(scores: npt.ArrayLike, control: npt.ArrayLike) -> Array:
    """What of the scores' ranks their control does not explain.

    ``rank(scores) - (a + b rank(control))`` with least-squares a, b: correlating it with the
    residual of the truth gives the partial Spearman correlation.

    Raises:
        InputError: as :func:`kendall`.

    Example:
        >>> residual_rank([10, 30, 20, 40], [1, 2, 3, 4]).round(2).tolist()
        [-0.3, 0.9, -0.9, 0.3]
    """
    first, second = (stats.rankdata(values) for values in _pair(scores, control))
    second = second - second.mean()
    variance = float(second @ second)
    slope = float(second @ (first - first.mean())) / variance if variance > 0 else 0.0
    residual: Array = first - first.mean() - slope * second
    return residual


def bootstrap(
    statistic: Callable[..., float],
    *columns: npt.ArrayLike,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic over resampled rows.

    Resamples for which the statistic is NaN (a constant column) are left out; the interval is NaN
    if all are.

    Args:
        statistic: takes the columns, gives a number: :func:`kendall`, :func:`spearman`, ...
        columns: sequences of equal length; rows are drawn together, with replacement.
        seed: same seed, same interval.
        resamples: how many.
        level: share of resamples inside the interval.

    Raises:
        InputError: lengths differ, or ``level`` is not between 0 and 1.

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.

    Example:
        >>> low, high = bootstrap(kendall, range(30), [*range(28), 0, 1], seed=0)
        >>> low < kendall(range(30), [*range(28), 0, 1]) < high
        True
    """
    arrays = [np.asarray(column) for column in columns]
    if len({array.shape[:1] for array in arrays}) != 1 or not len(arrays[0]):
        raise InputError(
            f"columns: got lengths {[array.shape[:1] for array in arrays]}, expected equal ones"
        )
    if not 0 < level < 1:
        raise InputError(f"level: got {level}, expected a share between 0 and 1")
    rng = np.random.default_rng(seed)
    n = len(arrays[0])
    values = np.array(
        [
            statistic(*(array[rows] for array in arrays))
            for rows in rng.integers(0, n, (resamples, n))
        ]
    )
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InputError(
            f"scores: got shapes {a.shape} and {b.shape}, expected two sequences of the same "
            "length, at least 2"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("scores: got values that are not finite; drop those candidates first")
    return a, b
