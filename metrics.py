"""Agreement of rankings: a leaf module that every room may import."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from .basics import Array
from .errors import InputError

Places = npt.NDArray[np.intp]

_NOTHING = 1e-12  # what rounding leaves where a control explains all


def kendall(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return Kendall's tau-b of two sequences; NaN if either is constant.

    Raises:
        InputError: lengths differ, fewer than two values, or a value that is not finite.

    Example:
        >>> kendall([1, 2, 3, 4], [1, 3, 2, 4])
        0.6666666666666669
    """
    return float(stats.kendalltau(*_pair(scores, truth)).statistic)


def kendall_deviation(n: int) -> float:
    """Return the standard deviation of tau between two orders of n that are unrelated.

        s^2 = 2 (2n + 5) / (9n (n - 1))

    Source: Kendall, "A new measure of rank correlation", Biometrika 1938.

    Example:
        >>> round(kendall_deviation(50), 3)
        0.098
    """
    return float(np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))


def spearman(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Return Spearman's rho of two sequences, ties averaged; NaN if either is constant.

    Raises:
        InputError: as ``kendall``.

    Example:
        >>> spearman([1, 2, 3, 4], [1, 3, 2, 4])
        0.8
    """
    first, second = (stats.rankdata(values) for values in _pair(scores, truth))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.round(np.corrcoef(first, second)[0, 1], 15))


def residual_rank(scores: npt.ArrayLike, control: npt.ArrayLike) -> Array:
    """Return the part of the ranks of the scores that the control does not explain.

    ``rank(scores) - (a + b rank(control))`` with least-squares a, b: correlating it with the
    residual of the truth gives the partial Spearman correlation.

    Raises:
        InputError: as ``kendall``.

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


def partial_kendall(scores: npt.ArrayLike, truth: npt.ArrayLike, control: npt.ArrayLike) -> float:
    """Return Kendall's partial tau: the agreement of scores and truth, controlled for a third
    column.

    ``(t_st - t_sc t_tc) / sqrt((1 - t_sc^2) (1 - t_tc^2))`` of the three tau-b. NaN if a column is
    constant, or if the control orders as one of the others does (nothing is left).

    Source: Kendall, "Partial rank correlation", Biometrika 1942.

    Raises:
        InputError: as ``kendall``.

    Example:
        >>> size = [1, 2, 3, 4, 5, 6]
        >>> round(partial_kendall([2, 1, 3, 4, 6, 5], [1, 2, 4, 3, 6, 5], size), 3)
        0.423
    """
    return _partial(kendall, scores, truth, control)


def partial_spearman(scores: npt.ArrayLike, truth: npt.ArrayLike, control: npt.ArrayLike) -> float:
    """Return Spearman's partial rho: the correlation of scores and truth, controlled for a third
    column.

    As ``partial_kendall``, of the three rho; equal to the correlation of the two
    ``residual_rank``.

    Raises:
        InputError: as ``kendall``.

    Example:
        >>> size = [1, 2, 3, 4, 5, 6]
        >>> round(partial_spearman([2, 1, 3, 4, 6, 5], [1, 2, 4, 3, 6, 5], size), 3)
        0.47
    """
    return _partial(spearman, scores, truth, control)


def ndcg(scores: npt.ArrayLike, truth: npt.ArrayLike, k: int = 10) -> float:
    """Return the normalised discounted cumulative gain of the k best-scored; 1 is the ideal order.

    ``DCG / ideal DCG`` with ``DCG = sum over ranks i <= k of gain_i / log2(i + 1)``. The gain is
    linear: the truth scaled to [0, 1] by its smallest and largest value, as GENNAPE's code does
    (its factor of 20 cancels), so that figures compare with its tables. Being scaled, it says
    how near the chosen are to the best relative to the whole spread, also where all accuracies lie
    within a percent. Tied scores share the mean gain of their tie, the expectation over all ways
    to break it. NaN if the truth is constant.

    Args:
        scores: larger is better.
        truth: larger is better.
        k: how many ranks count; all, if there are fewer.

    Source: Jarvelin and Kekalainen, TOIS 2002; ties as McSherry and Najork, ECIR 2008; gain as
    Mills et al. (GENNAPE), AAAI 2023.

    Raises:
        InputError: as ``kendall``, or k is not a whole number of at least 1.

    Example:
        >>> round(ndcg([3, 2, 1], [90.0, 92.0, 91.0], k=2), 3)
        0.48
    """
    a, b = _pair(scores, truth)
    spread = float(np.ptp(b))
    if spread == 0:
        return float("nan")
    gain = (b - b.min()) / spread
    discount = 1 / np.log2(np.arange(2, min(_whole("k", k), len(a)) + 2))
    best = np.sort(gain)[::-1][: len(discount)] @ discount
    # The cumulative discount turns a tie's range of places into its share of the sum.
    until = np.concatenate(([0.0], np.cumsum(discount)))
    start, end = _places(a)
    share = until[np.minimum(end, len(discount))] - until[np.minimum(start, len(discount))]
    weight = share / (end - start)
    return float(weight @ gain / best)


def precision_at(scores: npt.ArrayLike, truth: npt.ArrayLike, share: float = 0.05) -> float:
    """Return the share of the best by score that are also among the best by truth.

    ``|top m by score and top m by truth| / m`` with ``m = max(1, round(share n))``. Ties across
    the border count as their expectation: each of the tied is in with equal chance. A random order
    reaches m / n.

    Source: "top 5 % / top 5 %" of Abdelfattah et al., "Zero-cost proxies for lightweight NAS",
    ICLR 2021.

    Raises:
        InputError: as ``kendall``, or ``share`` is not in (0, 1].

    Example:
        >>> precision_at([4, 3, 2, 1], [90, 91, 92, 93], share=0.75)
        0.6666666666666666
    """
    a, b = _pair(scores, truth)
    if not 0 < share <= 1:
        raise InputError(f"share: got {share!r}, expected a share above 0 and at most 1")
    count = max(1, round(share * len(a)))
    return float(_chance(a, count) @ _chance(b, count) / count)


def regret(scores: npt.ArrayLike, truth: npt.ArrayLike, k: int = 10) -> float:
    """Return the loss from training only the k best-scored: best of all minus best of those.

    In units of the truth; 0 if the best one is among them. A tie across the border counts as its
    expectation over all ways to break it.

    Raises:
        InputError: as ``kendall``, or k is not a whole number of at least 1.

    Example:
        >>> regret([4, 3, 2, 1], [90.0, 91.0, 93.0, 92.0], k=2)
        2.0
    """
    a, b = _pair(scores, truth)
    start, end = _places(a)
    k = min(_whole("k", k), len(a))
    sure, border = end <= k, (start < k) & (end > k)
    fixed = float(b[sure].max(initial=-np.inf))
    if not border.any():
        return float(b.max() - fixed)
    tied = np.sort(b[border])[::-1]
    free = k - int(start[border][0])
    out = _left_out(len(tied), free)
    lost = b.max() - np.maximum(tied, fixed)
    return float(lost @ (out[:-1] - out[1:]))


def relative_improvement(scores: npt.ArrayLike, truth: npt.ArrayLike, k: int = 10) -> float:
    """Return by how many percent the k best-scored are better, on average, than a random choice.

    ``RI = 100 (mean truth of the k best-scored - mean truth of all) / |mean truth of all|``; ties
    across the border count as their expectation. The absolute value lets it hold for labels below
    zero (negative losses), too.

    Source: Yang, Esperanca and Carlucci, "NAS evaluation is frustratingly hard", ICLR 2020, where
    random means the mean of architectures sampled from the same space.

    Raises:
        InputError: as ``kendall``, or k is not a whole number of at least 1.

    Example:
        >>> relative_improvement([4, 3, 2, 1], [96.0, 94.0, 81.0, 89.0], k=2)
        5.555555555555555
    """
    a, b = _pair(scores, truth)
    k = min(_whole("k", k), len(a))
    mean = float(b.mean())
    if mean == 0:
        return float("nan")
    return float(100 * (_chance(a, k) @ b / k - mean) / abs(mean))


def bootstrap(
    statistic: Callable[..., float],
    *columns: npt.ArrayLike,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a percentile interval of a statistic over resampled rows.

    Resamples for which the statistic is NaN (a constant column) are left out; the interval is NaN
    if all are.

    Args:
        statistic: takes the columns, gives a number: ``kendall``, ``spearman``, ...
        columns: sequences of equal length; rows are drawn together, with replacement.
        seed: same seed, same interval.
        resamples: the number of resamples.
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


def _partial(
    correlation: Callable[[npt.ArrayLike, npt.ArrayLike], float],
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    control: npt.ArrayLike,
) -> float:
    with_truth = correlation(scores, truth)
    of_scores, of_truth = correlation(scores, control), correlation(truth, control)
    left = (1 - of_scores**2) * (1 - of_truth**2)
    if not left > _NOTHING:
        return float("nan")
    return float((with_truth - of_scores * of_truth) / np.sqrt(left))


def _places(scores: Array) -> tuple[Places, Places]:
    """Return how many values are above each value, and how many above or equal: its range of
    places."""
    ascending = np.sort(scores)
    above = len(scores) - np.searchsorted(ascending, scores, side="right")
    return above, len(scores) - np.searchsorted(ascending, scores, side="left")


def _chance(scores: Array, count: int) -> Array:
    """Return the chance of each to be among the ``count`` best, ties broken at random."""
    start, end = _places(scores)
    chance: Array = np.clip((count - start) / (end - start), 0.0, 1.0)
    return chance


def _left_out(size: int, drawn: int) -> Array:
    """Return, for i = 0 ... size, the chance that none of the i best is among ``drawn`` of
    ``size``."""
    rest = size - np.arange(size + 1)
    out = np.zeros(size + 1)
    possible = rest >= drawn
    rest = rest[possible]
    # C(rest, drawn) / C(size, drawn), by logarithms, since the numbers can be huge.
    log = special.gammaln(rest + 1) - special.gammaln(rest - drawn + 1)
    out[possible] = np.exp(log - log[0])
    return out


def _whole(name: str, number: int) -> int:
    if not isinstance(number, int) or number < 1:
        raise InputError(f"{name}: got {number!r}, expected a whole number of at least 1")
    return number


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
