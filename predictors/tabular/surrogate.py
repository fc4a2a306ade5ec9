"""The predictor that a search refits all the time: a Gaussian process with a sum of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg, optimize, spatial

from ...basics import Array
from ..contract import Predictor
from ..features.columns import Columns, Features, read_columns
from ..reading import Sample

_NOISE = 0.1  # expected variance of noise, of standardised labels
_WIDTH = 1.5  # standard deviation of the logarithms of variances around what is expected
_BOUNDS = (-9.0, 4.0)  # of those logarithms
_STEPS = 40  # of the search for variances
_JITTER = 1e-8
_NOTHING = 1e-3  # a kernel with less of all variance is left out
_PART = 2048  # predicted at once


class Surrogate(Predictor):
    """A Gaussian process that refits in a fraction of a second and knows what it does not know.

        k(x, x') = sum_p [ a_p <x_p, x'_p> + sum_s b_ps M(|x_p - x'_p| / (s l_p)) ] + noise

    over parts p of the features (each standardised, the linear kernel centred and scaled to a mean
    of 1 on the diagonal), scales s and M the Matern kernel of nu = 5/2; l_p is the median distance
    of training samples. All variances a, b and the noise maximise the marginal likelihood times
    log-normal priors, so that unimportant parts fade. Of more than ``most`` samples the variances
    are found on a random ``most``. Source: Rasmussen and Williams 2006; the sum is our choice, made
    on the problems of ``experiments/search.py settings``.

    Args:
        parts: of :data:`archrank.predictors.features.columns.PARTS` without words; those that
            samples lack are left out, as are scores and contexts where there are none.
        scales: s, as above.
        most: as above.
        random_state: seed of the choice of ``most``.
        space, task, inputs, proxies: see :class:`~archrank.predictors.Predictor`.

    Attributes:
        variances_: kernel -> its variance.

    Example:
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(30, seed=0)
        >>> labels = [space("nasbench201").graph(cell).params for cell in cells]
        >>> surrogate = Surrogate(space="nasbench201").fit(cells[:20], labels[:20])
        >>> surrogate.score(cells[20:], labels[20:]) > 0.5
        True
    """

    def __init__(
        self,
        parts: Sequence[str] = ("code", "statistics", "scores", "context"),
        scales: Sequence[float] = (1.0, 3.0),
        most: int = 300,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.scales = scales
        self.most = most
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    # --- learning -------------------------------------------------------------------------------

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        self.fit_columns(read_columns(samples, self._present(samples)), labels)

    def _present(self, samples: Sequence[Sample]) -> list[str]:
        """The parts that all samples have."""
        lengths = {None if s.code is None else len(s.code) for s in samples}
        has = {
            "code": None not in lengths and len(lengths) == 1,
            "scores": any(sample.scores for sample in samples),
            "context": any(sample.context for sample in samples),
        }
        return [part for part in self.parts if has.get(part, True)]

    def fit_columns(self, columns: Columns, labels: Array) -> None:
        """Learn from columns that were read, and standardised labels."""
        self.features_ = {part: Features((part,)).fit(columns) for part in columns.tables}
        self.score_names_ = list(columns.score_names)
        self.rows_ = self._rows(columns)
        self.lengths_, self.spreads_ = {}, {}
        for part, rows in self.rows_.items():
            distances = spatial.distance.pdist(rows)
            apart = distances[distances > 0]
            self.lengths_[part] = float(np.median(apart)) if len(apart) else 1.0
            self.spreads_[part] = float((rows**2).sum(axis=1).mean()) or 1.0
        some = np.arange(len(labels))
        if len(labels) > self.most:
            rng = np.random.default_rng(self.random_state)
            some = np.sort(rng.permutation(len(labels))[: self.most])
        few = {part: rows[some] for part, rows in self.rows_.items()}
        names = self._names()
        found = _likeliest(
            np.array([kernel for _, kernel in self._kernels(few, few, names)]), labels[some]
        )
        kept = found[:-1] > _NOTHING * found.sum()
        self.variances_ = {
            name: float(value)
            for name, value, keep in zip(names, found[:-1], kept, strict=True)
            if keep
        }
        self.noise_ = float(found[-1])
        covariance = self._covariance(self.rows_, self.rows_)
        covariance += (self.noise_ + _JITTER) * np.eye(len(labels))
        self.triangle_ = np.linalg.cholesky(covariance)
        self.weights_ = linalg.cho_solve((self.triangle_, True), labels)

    def _names(self) -> list[str]:
        """What kernels are called."""
        return [
            name
            for part in self.features_
            for name in (f"{part} linear", *(f"{part} {scale}" for scale in self.scales))
        ]

    def _rows(self, columns: Columns) -> dict[str, Array]:
        return {part: some.transform(columns) for part, some in self.features_.items()}

    def _kernels(
        self, rows: dict[str, Array], others: dict[str, Array], names: Sequence[str]
    ) -> Any:
        """The named kernels (rows, others) without their variances, one at a time."""
        distances: dict[str, Array] = {}
        for name in names:
            part, _, kind = name.rpartition(" ")
            if kind == "linear":
                yield name, rows[part] @ others[part].T / self.spreads_[part]
                continue
            if part not in distances:
                distances[part] = _distances(rows[part], others[part]) / self.lengths_[part]
            yield name, _matern(distances[part] / float(kind))

    def _covariance(self, rows: dict[str, Array], others: dict[str, Array]) -> Array:
        total = np.zeros((len(next(iter(rows.values()))), len(next(iter(others.values())))))
        for name, kernel in self._kernels(rows, others, list(self.variances_)):
            total += self.variances_[name] * kernel
        return total

    # --- predicting -----------------------------------------------------------------------------

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        columns = read_columns(samples, list(self.features_), self.score_names_)
        return self.predict_columns(columns)

    def predict_columns(self, columns: Columns) -> tuple[Array, Array]:
        """Means and standard deviations (n,) of standardised labels, noise left out."""
        mean, variance = np.zeros(columns.length), np.zeros(columns.length)
        everything = self._rows(columns)
        for start in range(0, columns.length, _PART):
            part = slice(start, start + _PART)
            rows = {name: table[part] for name, table in everything.items()}
            with_known = self._covariance(rows, self.rows_)
            mean[part] = with_known @ self.weights_
            explained = linalg.solve_triangular(self.triangle_, with_known.T, lower=True)
            variance[part] = self._prior(rows) - (explained**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, _JITTER))

    def _prior(self, rows: dict[str, Array]) -> Array:
        """The variance of each row before anything was seen."""
        total = np.zeros(len(next(iter(rows.values()))))
        for name, variance in self.variances_.items():
            part, _, kind = name.rpartition(" ")
            spread = (rows[part] ** 2).sum(axis=1) / self.spreads_[part]
            total += variance * (spread if kind == "linear" else 1.0)
        return total

    def correlation(self, X: Any) -> Array:
        """How what is not known of architectures hangs together (n, n), 1 on the diagonal.

        Raises:
            InputError: ``X`` is not as :meth:`fit` takes.
        """
        samples = self._read(X)
        if not self.label_std_:  # nothing was learnt
            return np.eye(len(samples))
        columns = read_columns(samples, list(self.features_), self.score_names_)
        rows = self._rows(columns)
        with_known = self._covariance(rows, self.rows_)
        explained = linalg.solve_triangular(self.triangle_, with_known.T, lower=True)
        covariance = self._covariance(rows, rows) - explained.T @ explained
        deviation = np.sqrt(np.maximum(np.diag(covariance), _JITTER))
        made: Array = covariance / np.outer(deviation, deviation)
        np.fill_diagonal(made, 1.0)
        return made


def _likeliest(kernels: Array, labels: Array) -> Array:
    """Variances (kernels + 1,), the last of noise, of the largest posterior density."""
    n, count = len(labels), len(kernels)
    expected = np.log(np.append(np.full(count, 1.0 / count), _NOISE))
    identity = np.eye(n)

    def loss(logs: Array) -> tuple[float, Array]:
        variances = np.exp(logs)
        covariance = np.tensordot(variances[:-1], kernels, 1)
        triangle = np.linalg.cholesky(covariance + (variances[-1] + _JITTER) * identity)
        inverse = linalg.cho_solve((triangle, True), identity)
        weights = inverse @ labels
        from_prior = (logs - expected) / _WIDTH
        value = (
            0.5 * labels @ weights + np.log(np.diag(triangle)).sum() + 0.5 * from_prior @ from_prior
        )
        outer = inverse - np.outer(weights, weights)
        slopes = np.append(np.tensordot(kernels, outer, 2), np.trace(outer))
        return float(value), 0.5 * variances * slopes + from_prior / _WIDTH

    bounds = [_BOUNDS] * (count + 1)
    found = optimize.minimize(
        loss, expected, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS}
    )
    return np.exp(found.x)


def _distances(rows: Array, others: Array) -> Array:
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * rows @ others.T
    made: Array = np.sqrt(np.maximum(squares, 0.0))
    return made


def _matern(distances: Array) -> Array:
    scaled = 5**0.5 * distances
    made: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return made
