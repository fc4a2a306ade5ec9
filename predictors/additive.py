"""A Gaussian process whose kernel is a sum over what is known of an architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, optimize

from .contract import Array
from .tabular import PARTS, TabularPredictor

_MOST_TUNED = 1000  # the most labels that scales are chosen by
_STEPS = 60
_JITTER = 1e-8
_NOISE = 0.15  # expected variance of what features do not explain, of labels of variance 1
_SMOOTH, _LINEAR = 0.5, 0.3  # expected variance of all Matern and of all linear terms
_REACH = 1.6  # expected length of Matern terms, in root mean square distances
_DEVIATIONS = (1.5, 0.7, 1.5, 1.0)  # of the logarithms of variances, lengths, slopes and noise


class AdditiveProcess(TabularPredictor):
    """A Gaussian process with a Matern and a linear kernel for each part of the features.

        k(x, x') = sum_p a_p (1 + r_p) exp(-r_p) + b_p x_p . x'_p / n_p,
        r_p = sqrt(3) |x_p - x'_p| / (l_p d_p)

    x_p are the standardised columns of part p, d_p the root mean square distance and n_p the mean
    squared norm of training samples in them. Each part counts as much as labels say, however many
    columns it has, which one distance over all columns cannot do. Variances a_p and b_p, lengths
    l_p and the noise are the most probable under log-normal priors, so that a few labels do not
    overfit them; of more than 1,000 labels, a random 1,000 choose them.

    Source: Duvenaud et al., "Additive Gaussian processes", NeurIPS 2011, and Rasmussen and
    Williams 2006; the parts as terms and the priors are our choice.

    Args:
        parts: of :data:`~archrank.predictors.features.PARTS`.
        random_state: seed of the labels that choose scales, where there are more than 1,000.
        space, task, inputs, proxies: see :class:`~archrank.predictors.Predictor`.

    Attributes:
        scales_: logarithms of a_p, l_p, b_p of each part that has columns, and of the noise.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> process = AdditiveProcess(("statistics", "edges"))
        >>> process = process.fit(graphs[::2], [graph.flops**0.5 for graph in graphs[::2]])
        >>> process.score(graphs, [graph.flops for graph in graphs]) > 0.8
        True
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        self.matrix_, self.mean_ = matrix, float(labels.mean())
        self.residuals_ = labels - self.mean_
        terms = [_compared(block, block) for block in self._blocks(matrix)]
        self.distances_ = np.array([np.sqrt(np.mean(t.distance**2)) or 1.0 for t in terms])
        self.norms_ = np.array([np.trace(t.product) / len(matrix) or 1.0 for t in terms])
        some = np.arange(len(matrix))
        if len(some) > _MOST_TUNED:
            shuffled = np.random.default_rng(self.random_state).permutation(some)
            some = np.sort(shuffled[:_MOST_TUNED])
        square = np.ix_(some, some)
        tuned = [_Term(t.distance[square], t.product[square]) for t in self._scaled(terms)]
        self.scales_ = _most_probable(tuned, self.residuals_[some])
        self._solved: tuple[Array, Array] | None = None

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        factor, solution = self._solution()
        blocks = self._blocks(matrix)
        kernel = self._kernel(blocks)
        explained = linalg.solve_triangular(factor, kernel.T, lower=True, check_finite=False)
        smooth, _, linear = _unpacked(self.scales_)
        variance = np.full(len(matrix), smooth.sum() + np.exp(self.scales_[-1]))
        for block, slope, norm in zip(blocks, linear, self.norms_, strict=True):
            variance += slope * (block**2).sum(axis=1) / norm
        variance -= (explained**2).sum(axis=0)
        return kernel @ solution + self.mean_, np.sqrt(np.maximum(variance, _JITTER))

    def _solution(self) -> tuple[Array, Array]:
        """The factor of the kernel matrix and its solution, made of what files hold."""
        if getattr(self, "_solved", None) is None:
            kernel = self._kernel(self._blocks(self.matrix_))
            noise = np.exp(self.scales_[-1]) + _JITTER
            factor = linalg.cholesky(kernel + noise * np.eye(len(kernel)), lower=True)
            self._solved = factor, linalg.cho_solve((factor, True), self.residuals_)
        assert self._solved is not None
        return self._solved

    def _kernel(self, blocks: Sequence[Array]) -> Array:
        """The kernel (n, training samples) without noise."""
        known = self._blocks(self.matrix_)
        terms = [_compared(*pair) for pair in zip(blocks, known, strict=True)]
        kernel = np.zeros((len(blocks[0]) if blocks else 0, len(self.matrix_)))
        for term, smooth, length, linear in zip(
            self._scaled(terms), *_unpacked(self.scales_), strict=True
        ):
            reach = term.distance / length
            kernel += smooth * (1.0 + reach) * np.exp(-reach) + linear * term.product
        return kernel

    def _blocks(self, matrix: Array) -> list[Array]:
        """The columns of each part; one of zeros where there are none at all."""
        blocks = np.split(matrix, self.features_.ends_, axis=1)
        return [block for block in blocks if block.shape[1]] or [np.zeros((len(matrix), 1))]

    def _scaled(self, terms: Sequence[_Term]) -> list[_Term]:
        """Distances with unit length, products with unit norm."""
        return [
            _Term(np.sqrt(3.0) / distance * term.distance, term.product / norm)
            for term, distance, norm in zip(terms, self.distances_, self.norms_, strict=True)
        ]


class _Term(NamedTuple):
    """What the kernels of one part are made of, both (n, m)."""

    distance: Array
    product: Array


def _compared(first: Array, second: Array) -> _Term:
    product = first @ second.T
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2.0 * product
    return _Term(np.sqrt(np.maximum(squares, 0.0)), product)


def _unpacked(scales: Array) -> tuple[Array, Array, Array]:
    """Variances, lengths and slopes of all parts."""
    smooth, length, linear = np.exp(scales[:-1]).reshape(3, -1)
    return smooth, length, linear


def _most_probable(terms: Sequence[_Term], labels: Array) -> Array:
    """The scales that maximise the posterior."""
    parts = len(terms)
    expected = np.log([_SMOOTH / parts, _REACH, _LINEAR / parts, _NOISE])
    counts = [parts] * 3 + [1]
    prior = _Prior(np.repeat(expected, counts), np.repeat(_DEVIATIONS, counts))
    found = optimize.minimize(
        _improbability,
        prior.mean,
        (terms, labels, prior),
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(prior.mean - 6 * prior.deviation, prior.mean + 6 * prior.deviation),
        options={"maxiter": _STEPS},
    )
    scales: Array = found.x
    return scales


class _Prior(NamedTuple):
    """Of the logarithm of each scale."""

    mean: Array
    deviation: Array


def _improbability(
    scales: Array, terms: Sequence[_Term], labels: Array, prior: _Prior
) -> tuple[float, Array]:
    """The negative logarithm of the posterior but for a constant, and its gradient."""
    kernel = (np.exp(scales[-1]) + _JITTER) * np.eye(len(labels))
    smooths, stretches, linears = [], [], []  # derivatives by the logarithm of each scale
    for term, smooth, length, linear in zip(terms, *_unpacked(scales), strict=True):
        reach = term.distance / length
        decay = smooth * np.exp(-reach)
        smooths.append((1.0 + reach) * decay)
        stretches.append(reach**2 * decay)
        linears.append(linear * term.product)
        kernel += smooths[-1] + linears[-1]
    factor = linalg.cholesky(kernel, lower=True, check_finite=False)
    solution = linalg.cho_solve((factor, True), labels, check_finite=False)
    inverse = linalg.cho_solve((factor, True), np.eye(len(labels)), check_finite=False)
    pull = np.outer(solution, solution) - inverse
    slopes = [np.vdot(pull, by) for by in (*smooths, *stretches, *linears)]
    slopes.append(np.exp(scales[-1]) * np.trace(pull))
    off = (scales - prior.mean) / prior.deviation
    value = 0.5 * labels @ solution + np.log(np.diag(factor)).sum() + 0.5 * off @ off
    return float(value), off / prior.deviation - 0.5 * np.array(slopes)
