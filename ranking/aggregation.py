"""Aggregation of ranks: several values of each candidate become one score.

Such scores depend on the whole population: adding a candidate changes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import stats

from ..basics import Array

Combination = Literal["mean_rank", "log_rank", "vote"]
COMBINATIONS = get_args(Combination)


@dataclass(frozen=True)
class Population:
    """A published score of whole populations.

    Attributes:
        name: its name in ``by``.
        proxies: the proxies that it combines.
        combine: how it combines them, one of ``COMBINATIONS``.
        missing_last: whether a candidate without a value ranks last; otherwise it is judged by the
            values that it has.
        summary, formula, reference: its description.
    """

    name: str
    proxies: tuple[str, ...]
    combine: str
    missing_last: bool
    summary: str
    formula: str
    reference: str

    def score(self, oriented: Array) -> Array:
        """Return scores (candidates,) of oriented values (candidates, proxies), larger is better.

        Example:
            >>> table = np.array([[1.0, 2.0, np.nan, 3.0], [2.0, 3.0, 0.5, 4.0]])
            >>> POPULATION["az_nas"].score(table).round(3).tolist()
            [-0.693, 0.0]
        """
        if self.missing_last:
            oriented = _filled_with_last(oriented)
        return combined(oriented, self.combine)


_ALL = (
    Population(
        "az_nas",
        ("az_expressivity", "az_progressivity", "az_trainability", "az_complexity"),
        "log_rank",
        True,
        "AZ-NAS: four views of the blocks, ranked together.",
        "mean over the four of log(rank / m), best = m",
        "Lee and Ham, AZ-NAS, CVPR 2024",
    ),
    Population(
        "te_nas",
        ("ntk_condition", "linear_regions"),
        "mean_rank",
        True,
        "TE-NAS: trainability and expressivity, ranked together.",
        "rank(-condition of the tangent kernel) + rank(linear regions)",
        "Chen et al., TE-NAS, ICLR 2021",
    ),
    Population(
        "vote",
        ("synflow", "jacob_cov", "snip"),
        "vote",
        False,
        "Share of other candidates that a majority of three proxies prefers this one to.",
        "wins / (m - 1), a contest won by two of synflow, jacob_cov, snip",
        "Abdelfattah et al., ICLR 2021",
    ),
)
POPULATION: Mapping[str, Population] = {population.name: population for population in _ALL}
"""Name -> population score."""


def _filled_with_last(values: Array) -> Array:
    """Replace missing values by less than the smallest, where a row has any value."""
    filled = values.copy()
    lowest = np.where(np.isfinite(values), values, np.inf).min(axis=0)
    lowest = np.where(np.isfinite(lowest), lowest, 0.0)
    some = np.isfinite(values).any(axis=1, keepdims=True)
    missing = ~np.isfinite(values) & some
    filled[missing] = np.broadcast_to(lowest - np.abs(lowest) - 1.0, values.shape)[missing]
    return filled


def relative_ranks(values: Array) -> Array:
    """Return the ranks scaled to [0, 1], best (largest) = 1, ties averaged; NaN stays NaN.

    Example:
        >>> relative_ranks(np.array([3.0, 9.0, np.nan, 3.0])).tolist()
        [0.25, 1.0, nan, 0.25]
    """
    present = np.isfinite(values)
    ranks = np.full(len(values), np.nan)
    count = int(present.sum())
    if count == 1:
        ranks[present] = 1.0
    elif count > 1:
        ranks[present] = (stats.rankdata(values[present]) - 1) / (count - 1)
    return ranks


def combined(values: Array, combine: str) -> Array:
    """Return one score per candidate from oriented values (candidates, terms); larger is better.

    Each candidate is judged by the terms that it has; one without any gets NaN.

    Example:
        >>> table = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 6.0]])
        >>> combined(table, "mean_rank").tolist()
        [0.25, 0.25, 1.0]
        >>> combined(table, "vote").tolist()
        [0.25, 0.25, 1.0]
    """
    if values.shape[1] == 1:
        return values[:, 0].copy()
    missing = np.isnan(values).all(axis=1)
    if combine == "vote":
        score = np.full(len(values), np.nan)
        score[~missing] = _votes(values[~missing])  # no contests with what has no value at all
    else:
        columns = []
        for column in values.T:
            relative = relative_ranks(column)
            if combine == "log_rank":
                count = max(int(np.isfinite(column).sum()), 1)
                relative = np.log((relative * (count - 1) + 1) / count)
            columns.append(relative)
        stacked = np.column_stack(columns)
        present = np.isfinite(stacked)
        score = np.where(present, stacked, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    score[missing] = np.nan
    return score


def _votes(values: Array) -> Array:
    """Share of pairwise contests won by majority; a tied contest counts half."""
    sign = np.nan_to_num(np.sign(values[:, None, :] - values[None, :, :]))
    outcome = np.sign(sign.sum(axis=2))
    wins = (outcome > 0).sum(axis=1) + 0.5 * ((outcome == 0).sum(axis=1) - 1)
    share: Array = wins / max(len(values) - 1, 1)
    return share


def mean_over_seeds(values: Array) -> Array:
    """Return means over the last axis of what is there; NaN where nothing is."""
    present = np.isfinite(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def deviation(values: Array) -> Array:
    """Return sample standard deviations over the last axis; NaN for fewer than two values."""
    present = np.isfinite(values)
    count = present.sum(axis=-1)
    mean = np.where(present, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
    square = np.where(present, (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    # Of equal values a mean differs in its last bits, which would pass for a deviation.
    low = np.where(present, values, np.inf).min(axis=-1, initial=np.inf)
    square[low == np.where(present, values, -np.inf).max(axis=-1, initial=-np.inf)] = 0.0
    found: Array = np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)
    return found


def chances(score: Array, error: Array) -> Array:
    """Return the chance that the one above is better, of each but the first.

    Args:
        score: in order, larger is better.
        error: the scores' standard errors, NaN where they are not known.
    """
    apart = np.hypot(error[1:], error[:-1])
    step = score[:-1] - score[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(step == 0, 0.0 * apart, step / apart)  # without any error, surely
    return np.append(np.nan, stats.norm.cdf(steps))
