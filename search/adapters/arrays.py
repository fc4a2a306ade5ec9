"""Predictors and features for tools of scikit-learn that need arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone

from ...basics import Array
from ...data.spaces.contract import Space
from ...predictors.features.columns import Features, read_columns
from ...predictors.reading import Reader
from ..choices import Choices


class ChoiceRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A predictor of architectures as a scikit-learn regressor over arrays of positions.

    It serves tools that need numbers, such as ``StackingRegressor(passthrough=True)`` or
    ``permutation_importance``: rows (n, choices) are those of ``Choices``.
    Predictors that take a space read the architectures themselves.

    Args:
        predictor: a predictor of architectures; ``fit`` fits a clone.
        space: the space of the architectures, which must be a space of choices.

    Attributes:
        predictor_: the fitted predictor.

    Example:
        >>> from archrank.data import space
        >>> from archrank.predictors import Ridge
        >>> cells = space("nasbench201").sample(30, seed=0)
        >>> labels = [space("nasbench201").graph(cell).params for cell in cells]
        >>> rows = [Choices("nasbench201").positions(cell) for cell in cells]
        >>> regressor = ChoiceRegressor(Ridge(("code",), space="nasbench201"), "nasbench201")
        >>> regressor.fit(rows, labels).score(rows, labels) > 0.9
        True
    """

    def __init__(self, predictor: Any, space: str | Space):
        self.predictor = predictor
        self.space = space

    def fit(self, X: Any, y: Any) -> Self:
        """Fit a clone of the predictor to the architectures of rows."""
        archs = self._archs(X)
        self.n_features_in_ = len(Choices(self.space).names)
        self.predictor_ = clone(self.predictor).fit(archs, y)
        return self

    def predict(self, X: Any) -> Array:
        """Predict rows (n,)."""
        return np.asarray(self.predictor_.predict(self._archs(X)), dtype=np.float64)

    def _archs(self, X: Any) -> list[str]:
        choices = Choices(self.space)
        return [choices.arch(row) for row in np.asarray(X)]


class GraphColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A scikit-learn transformer from architectures to the features of predictors.

    It turns any regressor into a predictor: ``make_pipeline(GraphColumns(space=...), SVR())``.

    Args:
        parts: kinds of features, from ``archrank.predictors.features.columns.PARTS``.
        space, task, inputs: see ``Predictor``.

    Attributes:
        features_: the ``Features`` that scales columns.

    Example:
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(5, seed=0)
        >>> GraphColumns(("code",), space="nasbench201").fit_transform(cells).shape[0]
        5
    """

    def __init__(
        self,
        parts: Sequence[str] = ("statistics", "paths"),
        *,
        space: str | Space | None = None,
        task: str | None = None,
        inputs: Any = None,
    ):
        self.parts = parts
        self.space = space
        self.task = task
        self.inputs = inputs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose and scale the features of architectures."""
        self.features_ = Features(tuple(self.parts)).fit(self._columns(X))
        return self

    def transform(self, X: Any) -> Array:
        """Return the matrix (n, columns) of architectures."""
        return self.features_.transform(self._columns(X))

    def _columns(self, X: Any) -> Any:
        return read_columns(Reader(self.space, self.task, self.inputs).read(X), self.parts)
