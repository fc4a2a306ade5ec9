"""The contract of predictors that learn from tables of features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from ...basics import Array
from ..contract import Predictor
from ..features.columns import Features, read_columns
from ..reading import Sample

PARTS = ("statistics", "paths", "scores")


class TabularPredictor(Predictor):
    """A predictor that reads a matrix of features; subclasses learn from arrays (X, y).

    Attributes:
        features_: the ``Features`` that make the matrix.
    """

    parts: Sequence[str]
    features_: Features

    @property
    def read_parts(self) -> tuple[str, ...]:
        """Return the parts that the matrix is made of."""
        return tuple(self.parts)

    @abstractmethod
    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        """Learn from features (samples, columns) and standardised labels."""

    def calibrate_matrix(self, matrix: Array, labels: Array) -> None:
        """Learn how far means err, if that takes fits of its own; means do not need it."""

    @abstractmethod
    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        """Return means and standard deviations, both (samples,), of standardised labels."""

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        columns = read_columns(samples, self.read_parts)
        self.features_ = Features(self.read_parts).fit(columns)
        matrix = self.features_.transform(columns)
        self.fit_matrix(matrix, labels)
        self.calibrate_matrix(matrix, labels)

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        columns = read_columns(samples, self.read_parts, self.features_.score_names_)
        return self.predict_matrix(self.features_.transform(columns))


def filled(matrix: Array) -> Array:
    """Return a matrix with one column of zeros if it has none, which no learner can do without."""
    return matrix if matrix.shape[1] else np.zeros((len(matrix), 1))
