"""Bayesian linear regression on groups of columns, each believed as far as the labels say.

    y = b + sum over groups g of x_g w_g + noise,    w_g ~ N(0, s^2 a_g I),    noise ~ N(0, s^2 v)

with a flat prior of s and a wide one of b. How much each group counts (a) and the noise (v) are not
fitted but averaged over: weights are the mean of the posterior means under many a and v, each in
proportion to the probability of the labels under it. So ten labels do not choose between groups,
and a thousand do. Source: Rasmussen and Williams 2006, chapters 2 and 5 (linear kernels, marginal
likelihood).

Notes:
    The prior of a and v (log-normal) and its draws are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, special, stats

from ..basics import Array

_DRAWS = 128  # of how much groups count, in each of two rounds
_SPREAD = 2.5  # standard deviation of their logarithms
_NOISE = -2.0  # mean of the logarithm of the noise
_JUDGED_BY = 128  # labels; more judge no better how much groups count, only longer
_JITTER = 1e-10  # of the largest variance: keeps covariances positive
_KEPT = 64  # draws that weights are a mean of


@dataclass(frozen=True)
class Regression:
    """What was learnt from columns (p,): mean b + x w, variance s^2 (v + x S x').

    Attributes:
        weights, intercept: w (p,) and b.
        prior: (p,) variance of each weight before labels were seen, in units of s^2.
        directions, known: (r, p) and (r,): S = P - P^1/2 V' diag(known) V P^1/2, P = diag(prior).
        noise, scale: v and s.
        evidence: log probability of the labels.
    """

    weights: Array
    intercept: float
    prior: Array
    directions: Array
    known: Array
    noise: float
    scale: float
    evidence: float

    def mean(self, columns: Array) -> Array:
        """Return the means (n,) of columns (n, p)."""
        made: Array = columns @ self.weights + self.intercept
        return made

    def predict(self, columns: Array) -> tuple[Array, Array]:
        """Return the means and standard deviations (n,) of columns (n, p)."""
        mean = self.mean(columns)
        scaled = columns * np.sqrt(self.prior)
        unknown = (scaled**2).sum(axis=1) - ((scaled @ self.directions.T) ** 2 @ self.known)
        return mean, self.scale * np.sqrt(self.noise + np.maximum(unknown, 0.0))


def regression(
    groups: Sequence[Array], labels: Array, beliefs: Sequence[float] | None = None
) -> Regression:
    """Learn from groups of columns (n, p_g), each of about unit length per row, and labels (n,).

    Args:
        groups: the columns.
        labels: what to learn, at least one.
        beliefs: mean of the logarithm of a for each group before labels are seen; default 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> told, noise = rng.normal(size=(30, 2)), rng.normal(size=(30, 8))
        >>> learnt = regression([told, noise], 3 + told @ np.array([1.0, -2.0]))
        >>> learnt.weights[:2].round(1).tolist(), round(learnt.intercept)
        ([1.0, -2.0], 3)
    """
    offset, spread = float(labels.mean()), float(labels.std()) or 1.0
    target = (labels - offset) / spread
    sizes = [group.shape[1] for group in groups]
    table = np.concatenate([*groups, np.zeros((len(labels), 0))], axis=1)
    centre = np.array([*(beliefs or [0.0] * len(groups)), _NOISE])
    some = np.linspace(0, len(labels) - 1, min(len(labels), _JUDGED_BY)).astype(int)
    draws, evidences = _judged([group[some] for group in groups], target[some], centre)
    shares = np.exp(evidences - special.logsumexp(evidences))
    best = np.argsort(-shares, kind="stable")[:_KEPT]
    best = best[shares[best] > 1e-3 * shares[best[0]]]
    means = _PosteriorMeans(table, target)
    mean = np.zeros(table.shape[1] + 1)
    for draw in best.tolist():
        prior, noise = np.repeat(draws[draw, :-1], sizes), float(draws[draw, -1])
        mean += shares[draw] / shares[best].sum() * means.under(prior, noise)
    # What is known of variances is the likeliest draw's.
    prior, noise = np.repeat(draws[best[0], :-1], sizes), float(draws[best[0], -1])
    scaled = _scaled(table, prior)
    directions, squares = _directions(scaled)
    residual = target - means.columns @ means.under(prior, noise)
    quadratic = max(float(target @ residual) / noise, 1e-12)
    # The mean over draws, and the Jacobian of the standardised labels.
    log_mean = special.logsumexp(evidences) - np.log(len(evidences))
    return Regression(
        mean[:-1] * spread,
        float(mean[-1]) * spread + offset,
        prior,
        directions[:, :-1],
        squares / (squares + noise),
        noise,
        float(np.sqrt(quadratic / max(len(target) - 2, 1))) * spread,  # of b and s: two fewer
        float(log_mean - len(some) * np.log(spread)) * len(labels) / len(some),
    )


def _judged(groups: Sequence[Array], target: Array, centre: Array) -> tuple[Array, Array]:
    """Return draws (m, groups + 1) of a and v, and the log evidence of each: first of the prior,
    then of what the first ones make likely, with the odds of the prior."""
    kernels = np.array([group @ group.T for group in groups]).reshape(-1, len(target) ** 2)
    uniform = stats.qmc.Sobol(len(centre), seed=0)
    normal = stats.norm.ppf(np.clip(uniform.random(2 * _DRAWS), 1e-6, 1 - 1e-6))
    first = centre + _SPREAD * normal[:_DRAWS]
    evidence = _evidences(kernels, target, first)
    share = np.exp(evidence - special.logsumexp(evidence))
    middle = share @ first
    narrow = np.sqrt(share @ (first - middle) ** 2 + 0.25)
    second = middle + narrow * normal[_DRAWS:]
    odds = np.asarray(
        stats.norm.logpdf(second, centre, _SPREAD) - stats.norm.logpdf(second, middle, narrow)
    )
    second_evidence = _evidences(kernels, target, second) + odds.sum(axis=1)
    return np.exp(np.concatenate([first, second])), np.concatenate([evidence, second_evidence])


def _evidences(kernels: Array, target: Array, logs: Array) -> Array:
    """Log probability of the labels under each draw, s and b integrated out."""
    count, draws = len(target), np.exp(logs)
    covariance = (draws[:, :-1] @ kernels).reshape(-1, count, count) + 1.0  # 1: of the intercept
    diagonal = np.arange(count)
    largest = covariance[:, diagonal, diagonal].max(axis=1, keepdims=True)
    covariance[:, diagonal, diagonal] += draws[:, -1:] + _JITTER * largest
    factors = np.linalg.cholesky(covariance)
    half = np.linalg.solve(factors, np.broadcast_to(target[:, None], (len(draws), count, 1)))
    quadratic = np.maximum((half[:, :, 0] ** 2).sum(axis=1), 1e-12)
    halves: Array = np.log(factors[:, diagonal, diagonal]).sum(axis=1)
    values: Array = -halves - 0.5 * count * np.log(quadratic / count)
    return values


def _root(prior: Array) -> Array:
    """Return the prior deviations of the weights and, 1, of the intercept."""
    root: Array = np.sqrt(np.append(prior, 1.0))
    return root


def _scaled(table: Array, prior: Array) -> Array:
    """Columns, and one of ones for the intercept, times the prior deviations of their weights."""
    return np.concatenate([table, np.ones((len(table), 1))], axis=1) * _root(prior)


class _PosteriorMeans:
    """Weights of columns and of the intercept under any prior, from products made once."""

    def __init__(self, table: Array, target: Array):
        self.columns = _scaled(table, np.ones(table.shape[1]))
        self.target = target
        rows, columns = self.columns.shape
        self.square = self.columns.T @ self.columns if rows >= columns else None
        self.moment = self.columns.T @ target

    def under(self, prior: Array, noise: float) -> Array:
        """Return the posterior means, given a prior variance of each weight, and of the noise:
        (columns + 1,)."""
        root = _root(prior)
        if self.square is not None:
            square = self.square * np.outer(root, root) + noise * np.eye(len(root))
            scaled = linalg.solve(square, root * self.moment, assume_a="pos")
            return root * np.asarray(scaled)
        covariance = (self.columns * root**2) @ self.columns.T
        covariance[np.diag_indices(len(covariance))] += noise
        dual = np.asarray(linalg.solve(covariance, self.target, assume_a="pos"))
        weights: Array = root**2 * (self.columns.T @ dual)
        return weights


def _directions(scaled: Array) -> tuple[Array, Array]:
    """Return orthonormal directions (r, columns) in which rows differ, and how much (squares)."""
    rows, columns = scaled.shape
    if rows >= columns:
        squares, vectors = linalg.eigh(scaled.T @ scaled)
        return np.ascontiguousarray(vectors.T), np.maximum(squares, 0.0)
    squares, vectors = linalg.eigh(scaled @ scaled.T)
    kept = squares > 1e-10 * squares[-1]
    return (vectors[:, kept] / np.sqrt(squares[kept])).T @ scaled, squares[kept]
