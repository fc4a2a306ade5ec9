"""Members on one scale, so that their mean can be taken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....basics import Array
from ..learning.scales import divisor

Rows = npt.NDArray[np.int64]
"""Whole numbers, one a graph."""
COMBINATIONS = ("standardised", "ranked")


def comparable(values: Array, known: Array, combination: str) -> Array:
    """Return a member's outputs (n,) on the scale that all members share.

    Args:
        values: the outputs.
        known: the outputs that they are measured against.
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
    # On a grid, so that what differs by rounding has one rank.
    unit = spread * 1e-4
    places, counts = np.unique(np.round(known / unit), return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(known)
    return np.interp(values / unit, places, ranks)


def centred(values: Array, families: Rows) -> Array:
    """Return values (n,) without what sets families (n,) apart: the mean of each is that of all.

    Example:
        >>> centred(np.array([1.0, 3.0, 7.0, 9.0]), np.array([0, 0, 1, 1])).tolist()
        [4.0, 6.0, 4.0, 6.0]
    """
    moved = values.copy()
    for family in np.unique(families):
        rows = families == family
        moved[rows] += values.mean() - values[rows].mean()
    return moved
