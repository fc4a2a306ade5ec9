"""The transform of labels to normal scores of ranks and back, so that failures do not dominate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...basics import Array

ALL = ""
"""The group of labels whose own group is unknown."""


@dataclass(frozen=True)
class RankTransform:
    """The sorted labels of each group that has enough; other groups use the sorted labels of all.

    Attributes:
        orders: group -> its labels, ascending; ``ALL`` is always one of the groups.

    Example:
        >>> labels = np.array([1.0, 70.0, 2.0, 90.0])
        >>> found = RankTransform.of(["a", "b", "a", "b"], labels, fewest=2)
        >>> found.scores(["a", "b", "a", "b"], labels).round(2).tolist()
        [-0.67, -0.67, 0.67, 0.67]
        >>> found.labels(["b", "a"], np.array([0.6744897501960817, 0.0])).tolist()
        [90.0, 1.5]
    """

    orders: dict[str, Array]

    @classmethod
    def of(cls, groups: Sequence[str], labels: Array, fewest: int) -> Self:
        """Learn the labels, by group if each group has at least ``fewest`` labels."""
        member = np.array(groups)
        names, counts = np.unique(member, return_counts=True)
        orders = {ALL: np.sort(labels)}
        if len(names) > 1 and counts.min() >= fewest:
            orders |= {str(name): np.sort(labels[member == name]) for name in names}
        return cls(orders)

    def scores(self, groups: Sequence[str], labels: Array) -> Array:
        """Return normal scores of the labels; equal labels have equal ones."""
        scores = np.zeros(len(labels))
        for rows, order in self._rows(groups):
            scores[rows] = np.interp(labels[rows], *_distinct(order))
        return scores

    def labels(self, groups: Sequence[str], scores: Array) -> Array:
        """Return labels for normal scores by the quantile function, extended linearly."""
        labels = np.zeros(len(scores))
        for rows, order in self._rows(groups):
            known = normal_scores(order)
            slope = float(order.std()) / max(float(known.std()), 1e-12)
            here = scores[rows]
            beyond = np.minimum(here - known[0], 0) + np.maximum(here - known[-1], 0)
            labels[rows] = np.interp(here, known, order) + slope * beyond
        return labels

    def _rows(self, groups: Sequence[str]) -> list[tuple[npt.NDArray[np.intp], Array]]:
        """Return the positions and the sorted labels of each group."""
        member = np.array([group if group in self.orders else ALL for group in groups], dtype=str)
        return [(np.flatnonzero(member == name), order) for name, order in self.orders.items()]


def normal_scores(labels: Array) -> Array:
    """Return normal quantiles of mid-ranks, (rank - 1/2) / n; equal labels get equal scores."""
    ranks = (stats.rankdata(labels) - 0.5) / len(labels)
    scores: Array = stats.norm.ppf(ranks)
    return scores


def _distinct(order: Array) -> tuple[Array, Array]:
    """Return the distinct labels and their scores."""
    labels, first = np.unique(order, return_index=True)
    return labels, normal_scores(order)[first]
