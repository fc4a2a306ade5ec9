"""Architectures as arrays of numbers and back, for tools that know nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone

from ...basics import Array
from ...data.spaces.contract import ChoiceSpace, Space, Values
from ...errors import InputError
from ...predictors.features.columns import Features, read_columns
from ...predictors.reading import Reader
from ..scoring import space_named

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choices:
    """Architectures of a space as positions of the options chosen, one integer for each choice.

    A choice without effect may have any position; :meth:`positions` gives it 0. Every array of
    positions within bounds is an architecture.

    Args:
        space: a name or a space whose architectures are a list of choices.

    Raises:
        InputError: the space is of another kind.

    Example:
        >>> choices = Choices("nats_sss")
        >>> choices.positions("8:64:8:8:16").tolist(), choices.arch([0, 7, 0, 0, 1])
        ([0, 7, 0, 0, 1], '8:64:8:8:16')
    """

    space: ChoiceSpace

    def __init__(self, space: str | Space):
        found = space_named(space)
        if not isinstance(found, ChoiceSpace):
            raise InputError(
                f"space: {found.name} is no list of choices, which this needs; RandomSearch, "
                "RegularisedEvolution, LocalSearch and Searcher take any space"
            )
        object.__setattr__(self, "space", found)

    @property
    def names(self) -> list[str]:
        """The names of the choices."""
        return [choice.name for choice in self.space.choices]

    @property
    def counts(self) -> IntArray:
        """How many options each choice has."""
        return np.array([len(choice.options) for choice in self.space.choices])

    def positions(self, arch: str) -> IntArray:
        """The position of each choice's option (choices,); 0 where a choice has no effect."""
        return np.maximum(self.active_positions(arch), 0)

    def active_positions(self, arch: str) -> IntArray:
        """The same with -1 where a choice has no effect."""
        pairs = zip(self.space.choices, self.space.values(arch), strict=True)
        return np.array([-1 if v is None else choice.options.index(v) for choice, v in pairs])

    def arch(self, positions: Any) -> str:
        """The architecture of positions.

        Raises:
            InputError: there are not as many as choices, or one is no position of an option.
        """
        row = np.asarray(positions)
        if row.shape != (len(self.space.choices),):
            raise InputError(
                f"positions: got shape {row.shape}, expected {len(self.space.choices)} numbers"
            )
        whole = row.astype(np.int64)
        wrong = (whole != row) | (whole < 0) | (whole >= self.counts)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"positions: {self.names[at]} is {row[at]}, expected a whole number from 0 to "
                f"{self.counts[at] - 1}"
            )
        options = zip(self.space.choices, whole.tolist(), strict=True)
        return self.of_values(tuple(choice.options[i] for choice, i in options))

    def of_values(self, values: Values) -> str:
        """The architecture of an option for every choice; those without effect do not matter."""
        return self.space.format(self.space.masked(values))


class ChoiceRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A predictor of architectures as a scikit-learn regressor over arrays of positions.

    For tools that insist on numbers, such as ``StackingRegressor(passthrough=True)`` or
    ``permutation_importance``: rows (n, choices) are those of :class:`Choices`. Predictors that
    take a space read the architectures themselves.

    Args:
        predictor: fitted to architectures by :meth:`fit`; itself it stays as it is.
        space: of the architectures, a space of choices.

    Attributes:
        predictor_: the fitted one.

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
        """Predictions (n,) of rows."""
        return np.asarray(self.predictor_.predict(self._archs(X)), dtype=np.float64)

    def _archs(self, X: Any) -> list[str]:
        choices = Choices(self.space)
        return [choices.arch(row) for row in np.asarray(X)]


class GraphColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What predictors read of architectures, as a scikit-learn transformer into a matrix.

    Makes a predictor of any regressor: ``make_pipeline(GraphColumns(space=...), SVR())``.

    Args:
        parts: of :data:`archrank.predictors.features.columns.PARTS`.
        space, task, inputs: see :class:`~archrank.predictors.Predictor`.

    Attributes:
        features_: the :class:`~archrank.predictors.Features` that scales columns.

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
        """Choose and scale the columns by those of architectures."""
        self.features_ = Features(tuple(self.parts)).fit(self._columns(X))
        return self

    def transform(self, X: Any) -> Array:
        """The matrix (n, columns) of architectures."""
        return self.features_.transform(self._columns(X))

    def _columns(self, X: Any) -> Any:
        return read_columns(Reader(self.space, self.task, self.inputs).read(X), self.parts)
