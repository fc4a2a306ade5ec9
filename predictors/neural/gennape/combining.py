"""The weighted mean of members, brought to one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....basics import Array
from ..learning.scales import divisor

Rows = npt.NDArray[np.int64]
"""Whole numbers, one for each graph."""
COMBINATIONS = ("standardised", "ranked")


def comparable(values: Array, known: Array, combination: str) -> Array:
    """Return a member's outputs (n,) on the scale that all members share.

    Args:
        values: the outputs.
        known: the outputs that set the scale, such as those on the training set.
        combination: one of ``COMBINATIONS``.

    Example:
        >>> known = np.array([0.0, 1.0, 2.0])
        >>> comparable(np.array([1.0, 2.0]), known, "ranked").round(2).tolist()
        [0.5, 0.83]
    """
    spread = divisor(known)
    if combination == "standardised":
        standardised: Array = (values - known.mean()) / spread
        return standardised
    # Values on a grid, so that those that differ only by rounding have equal ranks.
    unit = spread * 1e-4
    places, counts = np.unique(np.round(known / unit), return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(known)
    return np.interp(values / unit, places, ranks)


def centred(values: Array, families: Rows) -> Array:
    """Return values (n,), shifted so that each of the families (n,) has the mean of all.

    Example:
        >>> centred(np.array([1.0, 3.0, 7.0, 9.0]), np.array([0, 0, 1, 1])).tolist()
        [4.0, 6.0, 4.0, 6.0]
    """
    moved = values.copy()
    for family in np.unique(families):
        rows = families == family
        moved[rows] += values.mean() - values[rows].mean()
    return moved


@dataclass(frozen=True)
class Combination:
    """The weighted mean of members, standardised on the training set.

    Attributes:
        kind: one of ``COMBINATIONS``.
        weights: the weights of members by name, which sum to 1.
        ordered: each member's outputs on the training set, in rising order.
        mean, std: the mean and standard deviation of the weighted mean on the training set.

    Example:
        >>> outputs = {"a": np.array([0.0, 2.0]), "b": np.array([5.0, 9.0])}
        >>> families = np.zeros(2, dtype=np.int64)
        >>> both = Combination.of("standardised", {"a": 0.5, "b": 0.5}, outputs, families)
        >>> [values.tolist() for values in both.combine(outputs)]
        [[-1.0, 1.0], [0.0, 0.0]]
    """

    kind: str
    weights: Mapping[str, float]
    ordered: Mapping[str, Array]
    mean: float
    std: float

    @classmethod
    def of(
        cls, kind: str, weights: Mapping[str, float], outputs: Mapping[str, Array], families: Rows
    ) -> Combination:
        """Return the combination that these outputs standardise, within families (n,)."""
        within = {name: centred(outputs[name], families) for name in weights}
        ordered = {name: np.sort(values) for name, values in within.items()}
        scores = [w * comparable(within[name], ordered[name], kind) for name, w in weights.items()]
        mean = np.sum(scores, axis=0)
        spread = float(mean.std())
        # Members have a scale of 1, so a spread below 1e-6 is rounding.
        return cls(kind, weights, ordered, float(mean.mean()), spread if spread > 1e-6 else 1.0)

    def combine(self, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
        """Return the mean (n,) of members' outputs, and their standard deviation around it."""
        scores = np.array(
            [comparable(outputs[name], self.ordered[name], self.kind) for name in self.weights]
        )
        weights = np.array(list(self.weights.values()))
        mean = weights @ scores
        std = np.sqrt(weights @ (scores - mean) ** 2) / self.std
        return (mean - self.mean) / self.std, std
