"""Members on one scale, so that their mean can be taken."""

from __future__ import annotations

import numpy as np

from ....basics import Array
from ..learning.scales import divisor

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
