"""A linear fit to the evidence, whose residuals predictors learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...basics import Array
from ..features.columns import Columns


@dataclass(frozen=True)
class Line:
    """The line b z that predicts labels from the standardised evidence z of each sample.

    Attributes:
        slope: the slope b.
        variance: the variance of b.
        mean, std: the mean and standard deviation of the evidence of labelled samples.
        share: the factor on the residuals that members predict.

    Example:
        >>> columns = Columns(2, {"evidence": np.array([[1.0], [3.0]])}, {}, ())
        >>> Line(slope=0.5, variance=0.1, mean=1.0, std=2.0).at(columns)
        (array([0. , 0.5]), array([0. , 0.1]))
        >>> Line().at(columns)
        (array([0., 0.]), array([0., 0.]))
    """

    slope: float = 0.0
    variance: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    share: float = 1.0

    def at(self, columns: Columns) -> tuple[Array, Array]:
        """Return the line (n,) and its variance (n,) at samples."""
        z = self.standardised(columns)
        return self.slope * z, self.variance * z**2

    def standardised(self, columns: Columns) -> Array:
        """Return the evidence (n,) in standard deviations; zeros where there is none."""
        if "evidence" not in columns.tables:
            return np.zeros(columns.length)
        z: Array = (columns.tables["evidence"][:, 0] - self.mean) / self.std
        return z
