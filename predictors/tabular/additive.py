"""A Gaussian process whose kernel is a sum over what is known of an architecture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, optimize

from ...basics import Array
from .baselines import PARTS, TabularPredictor

CONTEXT = "context"
_FAR = 1e6  # a distance at which nothing is alike
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

    With the part ``"context"`` (dataset, recipe, device) every other part has its two kernels
    twice: shared by all samples, and again between samples of one context alone, so that what
    contexts have in common is learnt of all labels, and what they have not of their own.

    Source: Duvenaud et al., "Additive Gaussian processes", NeurIPS 2011; Bonilla et al.,
    "Multi-task Gaussian process prediction", NIPS 2007; Rasmussen and Williams 2006. The parts as
    terms and the priors are our choice.

    Args:
        parts: of :data:`~archrank.predictors.features.columns.PARTS`.
        random_state: seed of the labels that choose scales, where there are more than 1,000.
        space, task, inputs, proxies: see :class:`~archrank.predictors.Predictor`.

    Attributes:
        scales_: logarithms of a, l, b of each term (parts that have columns, then those within
            contexts), and of the noise.

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
        blocks = self._blocks(matrix).values()
        norms = np.array([(block**2).sum() / len(matrix) for block in blocks])
        # The mean squared distance of all pairs, without a matrix of them.
        squares = 2.0 * (norms - [(block.mean(axis=0) ** 2).sum() for block in blocks])
        self.norms_ = np.where(norms > 0, norms, 1.0)
        self.distances_ = np.where(squares > _JITTER, np.sqrt(np.maximum(squares, 0.0)), 1.0)
        some = np.arange(len(matrix))
        if len(some) > _MOST_TUNED:
            shuffled = np.random.default_rng(self.random_state).permutation(some)
            some = np.sort(shuffled[:_MOST_TUNED])
        terms = [term for _, term in self._terms(matrix[some], matrix[some])]
        self.scales_ = _most_probable(terms, self.residuals_[some])
        self._solved: tuple[Array, Array] | None = None

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        factor, solution = self._solution()
        kernel, own = np.zeros((len(matrix), len(self.matrix_))), np.exp(self.scales_[-1])
        for (square, term), smooth, length, linear in zip(
            self._terms(matrix, self.matrix_), *_unpacked(self.scales_), strict=True
        ):
            kernel += term.kernel(smooth, length, linear)
            own = own + smooth + linear * square
        explained = linalg.solve_triangular(factor, kernel.T, lower=True, check_finite=False)
        variance = own - (explained**2).sum(axis=0)
        return kernel @ solution + self.mean_, np.sqrt(np.maximum(variance, _JITTER))

    def _solution(self) -> tuple[Array, Array]:
        """The factor of the kernel matrix and its solution, made of what files hold."""
        if getattr(self, "_solved", None) is None:
            kernel = (np.exp(self.scales_[-1]) + _JITTER) * np.eye(len(self.matrix_))
            for (_, term), *scales in zip(
                self._terms(self.matrix_, self.matrix_), *_unpacked(self.scales_), strict=True
            ):
                kernel += term.kernel(*scales)
            factor = linalg.cholesky(kernel, lower=True)
            self._solved = factor, linalg.cho_solve((factor, True), self.residuals_)
        assert self._solved is not None
        return self._solved

    def _blocks(self, matrix: Array) -> dict[str, Array]:
        """The columns of each part that has some; one of zeros where there are none at all."""
        blocks = zip(self.parts, np.split(matrix, self.features_.ends_, axis=1), strict=True)
        found = {part: block for part, block in blocks if block.shape[1]}
        return found or {"nothing": np.zeros((len(matrix), 1))}

    def _terms(self, first: Array, second: Array) -> Iterator[tuple[Array, _Term]]:
        """All terms between samples, and the squared norms (n,) of the first ones in each."""
        ours, theirs = self._blocks(first), self._blocks(second)
        same = None
        if CONTEXT in ours:
            same = (ours[CONTEXT][:, None] == theirs[CONTEXT]).all(axis=2)
        within = []
        for part, distance, norm in zip(ours, self.distances_, self.norms_, strict=True):
            compared = _compared(ours[part], theirs[part])
            term = _Term(np.sqrt(3.0) / distance * compared.distance, compared.product / norm)
            square = (ours[part] ** 2).sum(axis=1) / norm
            yield square, term
            if same is not None and part != CONTEXT:
                far = np.where(same, term.distance, _FAR)
                within.append((square, _Term(far, np.where(same, term.product, 0.0))))
        yield from within


class _Term(NamedTuple):
    """What the kernels of one part are made of, both (n, m)."""

    distance: Array
    product: Array

    def kernel(self, smooth: float, length: float, linear: float) -> Array:
        """Both kernels, with their variances and length."""
        reach = self.distance / length
        kernel: Array = smooth * (1.0 + reach) * np.exp(-reach) + linear * self.product
        return kernel


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
