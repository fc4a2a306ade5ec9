"""The contract of predictors that learn from tables of features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...errors import InputError
from ..contract import Predictor
from ..features.columns import Features, read_columns
from ..reading import Sample

PARTS = ("statistics", "paths", "scores")


class TabularPredictor(Predictor):
    """A predictor that reads a matrix of features, so subclasses learn from arrays (X, y).

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
        """Learn the error of means, if that needs further fits; means do not depend on it."""

    @abstractmethod
    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        """Return means and standard deviations, both (samples,), of standardised labels."""

    def fit_among(self, X: Any, labelled: npt.ArrayLike, y: Any) -> Self:
        """Learn from a labelled subset of the architectures to judge.

        Features are scaled by all architectures. A few labelled ones may have equal values in
        features where others differ, so these features would be dropped.

        Args:
            X: all architectures.
            labelled: (k,), the positions of the labelled ones.
            y: (k,), their labels, where larger is better.

        Raises:
            InputError: a position is not one of ``X``, or see ``fit``.

        Example:
            >>> from archrank.predictors import Ridge
            >>> from archrank.predictors.checks import small_graphs
            >>> graphs = small_graphs()
            >>> ridge = Ridge(("statistics",)).fit_among(graphs, [0, 4, 8], [0.1, 0.2, 0.4])
            >>> ridge.predict(graphs).shape
            (16,)
        """
        samples, known = self._read(X), np.asarray(labelled, dtype=np.intp)
        outside = known[(known < 0) | (known >= len(samples))]
        if len(outside):
            raise InputError(
                f"labelled: got {outside[0]}, expected positions of the {len(samples)} "
                "architectures, from 0"
            )
        _, labels = self._read_to_fit([samples[i] for i in known.tolist()], y)
        if self.label_std_:
            self._fit_scaled(samples, known, labels)
        return self

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        self._fit_scaled(samples, np.arange(len(samples)), labels)

    def _fit_scaled(
        self, samples: list[Sample], labelled: npt.NDArray[np.intp], labels: Array
    ) -> None:
        columns = read_columns(samples, self.read_parts)
        self.features_ = Features(self.read_parts).fit(columns)
        matrix = self.features_.transform(columns)[labelled]
        self.fit_matrix(matrix, labels)
        self.calibrate_matrix(matrix, labels)

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        columns = read_columns(samples, self.read_parts, self.features_.score_names_)
        return self.predict_matrix(self.features_.transform(columns))


def filled(matrix: Array) -> Array:
    """Return the matrix, or a column of zeros if it has no column, since learners need one."""
    return matrix if matrix.shape[1] else np.zeros((len(matrix), 1))
