"""The predictors of a search, one for each quantity that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.base import clone

from ...basics import Array
from ...errors import InputError
from ...predictors.contract import Predictor
from ...predictors.features.rank_transform import normal_scores
from ...predictors.tabular.surrogate import Surrogate
from .goals import Constraint
from .knowledge import Knowledge


class Models:
    """Predictors of everything measured, fitted to the same trials.

    Args:
        knowledge: what is known of the space's architectures.
        predictor: the predictor to clone and fit; None for ``Surrogate``.

    Attributes:
        described: the predictor with its settings, as text.
    """

    def __init__(self, knowledge: Knowledge, predictor: Any):
        self._knowledge = knowledge
        self._predictor = Surrogate() if predictor is None else predictor
        for method in ("fit", "predict"):
            if not callable(getattr(self._predictor, method, None)):
                raise InputError(
                    f"predictor: got {predictor!r}, expected something with fit and predict"
                )
        self.described = " ".join(repr(self._predictor).split())
        self._reads_samples = isinstance(self._predictor, Predictor)
        if self._reads_samples:
            knowledge.read_for(self._predictor)
        self._fitted: dict[str, Any] = {}
        self._results: list[Mapping[str, float] | None] = []
        self._directions: dict[str, float] = {}
        self._scales: dict[str, tuple[Array, Array]] = {}
        self._known: dict[str, dict[str, tuple[float, float | None]]] = {}

    @property
    def fitted(self) -> bool:
        """Whether a predictor has been fitted."""
        return bool(self._fitted)

    def fit(
        self,
        keys: Sequence[str],
        results: Sequence[Mapping[str, float] | None],
        wanted: Mapping[str, float],
    ) -> None:
        """Fit the predictors to results, unless the latest fit was to the same results.

        Args:
            keys: architectures, which may repeat.
            results: the values of each architecture by name; None if its evaluation failed.
            wanted: name -> 1, or -1 if less is better; failed evaluations count as the worst value
                seen.
        """
        if len(results) == len(self._results) and self._fitted:
            return
        built = [i for i, key in enumerate(keys) if self._knowledge.can_be_built(key)]
        if not built:
            raise InputError(f"tell: none of {len(keys)} networks told of can be built")
        samples = self._given([keys[i] for i in built])
        for name, direction in wanted.items():
            found = [results[i] for i in built]
            values = np.array([direction * r[name] if r else -np.inf for r in found])
            scores = normal_scores(values)
            finite = np.isfinite(values)
            self._scales[name] = (values[finite], scores[finite])
            self._fitted[name] = clone(self._predictor).fit(samples, scores)
        self._known = {name: {} for name in wanted}
        self._directions = dict(wanted)
        self._results = list(results)

    def predict(self, name: str, keys: Sequence[str]) -> tuple[Array, Array | None]:
        """Return means and standard deviations (n,) of normal scores; larger is better.

        The deviations are None if the predictor gives none."""
        known = self._known[name]
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new:
            model = self._fitted[name]
            gives_std = self._reads_samples and model.gives_std
            mean, std = _predicted(model, self._given(new), gives_std)
            deviations = [None] * len(new) if std is None else std.tolist()
            known.update(zip(new, zip(mean.tolist(), deviations, strict=True), strict=True))
        found = [known[key] for key in keys]
        mean = np.array([one for one, _ in found], dtype=np.float64)
        if any(one is None for _, one in found):
            return mean, None
        return mean, np.array([one for _, one in found], dtype=np.float64)

    def correlate(
        self, name: str, keys: Sequence[str]
    ) -> Callable[[npt.NDArray[np.intp]], Array] | None:
        """Return the function that correlates prediction errors, if the predictor has one."""
        correlation = getattr(self._fitted[name], "correlation", None)
        if correlation is None:
            return None
        return lambda some: correlation(self._given([keys[i] for i in some.tolist()]))

    def chance(self, constraint: Constraint, keys: Sequence[str]) -> Array:
        """Return the chance (n,) that architectures meet a measured constraint.

        The bound becomes a normal score as labels do. The predictor's deviation is used without the
        noise of labels. Predictions without deviations count as exact.
        """
        values, scores = self._scales[constraint.name]
        mean, std = self.predict(constraint.name, keys)
        sign = self._directions[constraint.name]
        bound = _score_of(sign * constraint.bound, values, scores)
        ahead = sign * constraint.direction * (bound - mean)
        if std is None:
            return (ahead >= 0).astype(np.float64)
        made: Array = stats.norm.cdf(ahead / np.maximum(std, 1e-9))
        return made

    def _given(self, keys: Sequence[str]) -> Any:
        return self._knowledge.samples(keys) if self._reads_samples else list(keys)


def _score_of(value: float, values: Array, scores: Array) -> float:
    """Return the normal score of a value, interpolated between others or extrapolated linearly."""
    order = np.argsort(values)
    values, scores = values[order], scores[order]
    slope = float(scores.std()) / max(float(values.std()), 1e-12)
    beyond = min(value - values[0], 0.0) + max(value - values[-1], 0.0)
    return float(np.interp(value, values, scores) + slope * beyond)


def _predicted(model: Any, given: Any, gives_std: bool) -> tuple[Array, Array | None]:
    if gives_std:
        mean, std = model.predict(given, return_std=True)
        return np.asarray(mean), np.asarray(std)
    return np.asarray(model.predict(given), dtype=np.float64), None
