"""A Gaussian process whose kernel is a sum over the parts of the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy import linalg, optimize

from ...basics import Array
from .contract import PARTS, TabularPredictor
from .threads import on_one_thread

CONTEXT = "context"
_FAR = 1e6  # a distance at which the correlation is 0
_MOST_TUNED = 1000  # the most labels that choose scales
_AT_ONCE = 2048  # samples predicted together, so that their kernel stays small
_JITTER = 1e-8
_NOISE = 0.15  # expected unexplained variance, of labels of variance 1
_SMOOTH, _LINEAR = 0.5, 0.3  # expected variance of all Matern and of all linear terms
_REACH = 1.6  # expected length of Matern terms, in root mean square distances
_DEVIATIONS = (1.5, 0.7, 1.5, 1.0)  # of the logarithms of variances, lengths, slopes and noise
_WITHIN = 6.0  # scales are searched within so many prior deviations of the expected values


class AdditiveProcess(TabularPredictor):
    """A Gaussian process with a Matern and a linear kernel for each part of the features.

        k(x, x') = sum_p a_p (1 + r_p) exp(-r_p) + b_p x_p . x'_p / n_p,
        r_p = sqrt(3) |x_p - x'_p| / (l_p d_p)

    where x_p are the standardised columns of part p, d_p is the root mean square distance of
    training samples in them, and n_p their mean squared norm. The labels determine the weight of
    each part, regardless of its number of columns. A single distance over all columns cannot do
    that. Variances a_p and b_p, lengths l_p and the noise maximise the posterior under log-normal
    priors, so that they do not overfit a few labels. With more than 1,000 labels they are fitted to
    a random 1,000.

    With the part ``"context"`` (dataset, recipe, device), every other part has its two kernels
    twice: once between all samples, and once only between samples of the same context. Then the
    common part of contexts is learnt from all labels, and the rest from the labels of each context.

    Source: Duvenaud et al., "Additive Gaussian processes", NeurIPS 2011; Bonilla et al.,
    "Multi-task Gaussian process prediction", NIPS 2007; Rasmussen and Williams 2006.

    Notes:
        The parts as terms and the priors are our choice.

    Args:
        parts: names from ``PARTS``.
        random_state: the seed of the choice of labels for the scales, if there are more than 1,000.
        space, task, inputs, proxies: see ``Predictor``.

    Attributes:
        scales_: the logarithms of a, l and b of each term, and of the noise. Terms are the parts
            that have columns, followed by those within contexts.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> process = AdditiveProcess(("statistics", "edges"))
        >>> process = process.fit(graphs[::2], [graph.flops**0.5 for graph in graphs[::2]])
        >>> process.score(graphs, [graph.flops for graph in graphs]) > 0.8
        True
    """

    steps: ClassVar[int] = 60
    """The largest number of steps in the search for scales."""

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

    # --- overridden by other sums of kernels -----------------------------------------------------

    @property
    def most_tuned(self) -> int:
        """The largest number of labels that choose scales."""
        return _MOST_TUNED

    @property
    def scales_of_a_term(self) -> int:
        """The number of scales of each term."""
        return 3

    def typical_distance(self, block: Array) -> float:
        """Return the root mean square distance of all pairs of rows, without a matrix of them."""
        square = 2.0 * ((block**2).sum() / len(block) - (block.mean(axis=0) ** 2).sum())
        return float(np.sqrt(square)) if square > _JITTER else 1.0

    def terms(self, first: Array, second: Array) -> Iterator[Term]:
        """Yield the terms of the kernel between samples."""
        ours, theirs = self._blocks(first), self._blocks(second)
        same = None
        if CONTEXT in ours:
            same = (ours[CONTEXT][:, None] == theirs[CONTEXT]).all(axis=2)
        within = []
        for part, distance, norm in zip(ours, self.distances_, self.norms_, strict=True):
            term = StretchedTerm(*compared(ours[part], theirs[part], distance, norm))
            yield term
            if same is not None and part != CONTEXT:
                far = np.where(same, term.distance, _FAR)
                within.append(StretchedTerm(far, np.where(same, term.product, 0.0), term.square))
        yield from within

    def prior(self, terms: int) -> Prior:
        """Return the prior of the scales of ``terms`` terms."""
        expected = np.log([_SMOOTH / terms, _REACH, _LINEAR / terms, _NOISE])
        counts = [terms] * 3 + [1]
        mean, deviation = np.repeat(expected, counts), np.repeat(_DEVIATIONS, counts)
        return Prior(mean, deviation, mean - _WITHIN * deviation, mean + _WITHIN * deviation)

    # --- learning and predicting ----------------------------------------------------------------

    @on_one_thread
    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        self.matrix_, self.mean_ = matrix, float(labels.mean())
        self.residuals_ = labels - self.mean_
        blocks = self._blocks(matrix).values()
        norms = np.array([(block**2).sum() / len(matrix) for block in blocks])
        self.norms_ = np.where(norms > 0, norms, 1.0)
        self.distances_ = np.array([self.typical_distance(block) for block in blocks])
        some = np.arange(len(matrix))
        if len(some) > self.most_tuned:
            shuffled = np.random.default_rng(self.random_state).permutation(some)
            some = np.sort(shuffled[: self.most_tuned])
        terms = list(self.terms(matrix[some], matrix[some]))
        prior = self.prior(len(terms))
        self.scales_ = most_probable(terms, self.residuals_[some], prior, self.steps)
        self._solved: tuple[Array, Array] | None = None

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        mean, variance = self.posterior(matrix)
        return mean, np.sqrt(np.maximum(variance + np.exp(self.scales_[-1]), _JITTER))

    def posterior(self, matrix: Array) -> tuple[Array, Array]:
        """Return means and variances (n,) of standardised labels without noise."""
        factor, solution = self._solution()
        mean, variance = np.zeros(len(matrix)), np.zeros(len(matrix))
        for start in range(0, len(matrix), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            with_known, before = self._covariance(matrix[some], self.matrix_)
            explained = _explained(factor, with_known)
            mean[some] = with_known @ solution + self.mean_
            variance[some] = before - (explained**2).sum(axis=0)
        return mean, variance

    def posterior_covariance(self, matrix: Array) -> Array:
        """Return the posterior covariance (n, n) of samples, without noise."""
        explained = _explained(self._solution()[0], self._covariance(matrix, self.matrix_)[0])
        covariance: Array = self._covariance(matrix, matrix)[0] - explained.T @ explained
        return covariance

    def _solution(self) -> tuple[Array, Array]:
        """Return the factor of the kernel matrix and its solution, from fitted attributes."""
        if getattr(self, "_solved", None) is None:
            kernel, _ = self._covariance(self.matrix_, self.matrix_)
            kernel += (np.exp(self.scales_[-1]) + _JITTER) * np.eye(len(kernel))
            factor = linalg.cholesky(kernel, lower=True)
            self._solved = factor, linalg.cho_solve((factor, True), self.residuals_)
        assert self._solved is not None
        return self._solved

    def _covariance(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Return the covariance (n, m) of samples, and the variance (n,) of the first ones."""
        covariance, variance = np.zeros((len(first), len(second))), np.zeros(len(first))
        by_term = np.exp(self.scales_[:-1]).reshape(self.scales_of_a_term, -1).T
        for term, scales in zip(self.terms(first, second), by_term, strict=True):
            covariance += term.kernel(scales)
            variance += term.variance(scales)
        return covariance, variance

    def _blocks(self, matrix: Array) -> dict[str, Array]:
        """Return the columns of each part that has any; a column of zeros if no part has."""
        parts = np.split(matrix, self.features_.ends_, axis=1) if self.read_parts else []
        blocks = zip(self.read_parts, parts, strict=True)
        found = {part: block for part, block in blocks if block.shape[1]}
        return found or {"nothing": np.zeros((len(matrix), 1))}


# --- the sum of kernels and its scales ----------------------------------------------------------


@dataclass(frozen=True)
class Term(ABC):
    """The term of one part, from which its kernels are computed.

    Attributes:
        distance, product: (n, m), distances and dot products between samples.
        square: (n,), the product of each first sample with itself.
    """

    distance: Array
    product: Array
    square: Array

    @abstractmethod
    def kernel(self, scales: Array) -> Array:
        """Return the sum (n, m) of the kernels."""

    @abstractmethod
    def variance(self, scales: Array) -> Array:
        """Return the kernel (n,) of each first sample with itself."""

    @abstractmethod
    def with_slopes(self, scales: Array) -> tuple[Array, list[Array]]:
        """Return the kernel and its derivatives with respect to the logarithm of each scale."""


class StretchedTerm(Term):
    """A term with a Matern kernel (nu = 3/2) of any length and a linear one; scales are a, l and
    b."""

    def kernel(self, scales: Array) -> Array:
        smooth, length, linear = scales
        reach = self.distance * (3**0.5 / length)
        kernel: Array = smooth * (1.0 + reach) * np.exp(-reach) + linear * self.product
        return kernel

    def variance(self, scales: Array) -> Array:
        smooth, _, linear = scales
        variance: Array = smooth + linear * self.square
        return variance

    def with_slopes(self, scales: Array) -> tuple[Array, list[Array]]:
        smooth, length, linear = scales
        reach = self.distance * (3**0.5 / length)
        decay = np.exp(-reach)
        decay *= smooth
        alike, straight = 1.0 + reach, linear * self.product
        alike *= decay
        reach *= reach  # in place, since allocating arrays takes longer than filling them
        reach *= decay
        return alike + straight, [alike, reach, straight]


def compared(
    first: Array, second: Array, distance: float = 1.0, norm: float = 1.0
) -> tuple[Array, Array, Array]:
    """Return distances and products (n, m), and squared norms (n,), in the given units."""
    product = first @ second.T
    square = (first**2).sum(axis=1)
    squares = square[:, None] + (second**2).sum(axis=1) - 2.0 * product
    return np.sqrt(np.maximum(squares, 0.0)) / distance, product / norm, square / norm


class Prior(NamedTuple):
    """The prior mean and deviation of the logarithm of each scale, and the bounds of its search."""

    mean: Array
    deviation: Array
    low: Array
    high: Array


def most_probable(terms: Sequence[Term], labels: Array, prior: Prior, steps: int) -> Array:
    """Return the logarithms of scales that maximise the posterior."""
    found = optimize.minimize(
        improbability,
        prior.mean,
        (terms, labels, prior),
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(prior.low, prior.high),
        options={"maxiter": steps},
    )
    scales: Array = found.x
    return scales


def improbability(
    scales: Array, terms: Sequence[Term], labels: Array, prior: Prior
) -> tuple[float, Array]:
    """Return the negative logarithm of the posterior up to a constant, and its gradient."""
    noise = np.exp(scales[-1])
    kernel = (noise + _JITTER) * np.eye(len(labels))
    by_term = np.exp(scales[:-1]).reshape(-1, len(terms)).T
    slopes_of = []
    for term, own in zip(terms, by_term, strict=True):
        part, slopes = term.with_slopes(own)
        kernel += part
        slopes_of.append(slopes)
    factor = linalg.cholesky(kernel, lower=True, check_finite=False)
    solution = linalg.cho_solve((factor, True), labels, check_finite=False)
    inverse = linalg.cho_solve((factor, True), np.eye(len(labels)), check_finite=False)
    pull = np.outer(solution, solution) - inverse
    gained = np.array([[np.vdot(pull, by) for by in slopes] for slopes in slopes_of]).T
    gained = np.append(gained.ravel(), noise * np.trace(pull))
    off = (scales - prior.mean) / prior.deviation
    value = 0.5 * labels @ solution + np.log(np.diag(factor)).sum() + 0.5 * off @ off
    return float(value), off / prior.deviation - 0.5 * gained


def _explained(factor: Array, with_known: Array) -> Array:
    """Return the part (known, n) of samples' deviations that known samples explain."""
    made: Array = linalg.solve_triangular(factor, with_known.T, lower=True, check_finite=False)
    return made
