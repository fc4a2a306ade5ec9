"""Fuzzy C-means, where every point belongs to every cluster with degrees that add up to one."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, xlogy
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ...errors import InputError

if TYPE_CHECKING:
    from ...basics import Array


class _Solution(NamedTuple):
    centers: Array
    log_memberships: Array
    objective: float
    iterations: int
    converged: bool


class FuzzyCMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Fuzzy C-means, as a scikit-learn clusterer whose ``transform`` gives memberships.

    It minimises ``J = sum_i sum_k U_ik^m d_ik^2`` with ``sum_k U_ik = 1`` by alternating

    - ``U_ik = 1 / sum_j (d_ik^2 / d_ij^2)^(1 / (m - 1))``,
    - ``v_k = sum_i U_ik^m x_i / sum_i U_ik^m``,

    where ``d_ik = |x_i - v_k|``, in logarithms, so that no power overflows and m near 1 is k-means.
    A point that lies on centroids belongs only to those, in equal shares.

    In many dimensions, all distances are similar. With m = 2, memberships then tend to 1 / C, and
    all centroids to the mean. ``entropy_`` shows this: 1 means that there are no clusters. A
    smaller m helps.

    Args:
        n_clusters: the number of clusters C.
        m: the fuzzifier, above 1. Memberships become one-hot as it nears 1 and uniform as it grows.
        tolerance: the largest change of a membership at which the updates have converged.
        max_iter: the largest number of updates for an initialisation.
        n_init: the number of initialisations by k-means++, of which the one with the smallest J is
            kept.
        random_state: the seed of the initialisations.

    Attributes:
        cluster_centers_: (clusters, features), the v_k.
        memberships_: (points, clusters), U of the points that it was fitted to.
        labels_: (points,), the cluster of largest membership.
        objective_: J.
        entropy_: mean entropy of the memberships over log C, in [0, 1]; 0 for one cluster.
        n_iter_: the number of updates of the kept initialisation.
        n_features_in_: the number of features of a point.

    Raises:
        InputError: from ``fit``: a parameter is out of range, or there are fewer points than
            clusters.

    Source: Bezdek, "Pattern recognition with fuzzy objective function algorithms", 1981. The
    tolerance is that of GENNAPE (AAAI 2023), which leaves C and m open.

    Notes:
        K-means++, several initialisations and the default values are our choice.

    Example:
        >>> points = np.array([[0.0], [1.0], [9.0], [10.0]])
        >>> fuzzy = FuzzyCMeans(n_clusters=2, random_state=0).fit(points)
        >>> sorted(fuzzy.cluster_centers_.ravel().round(2).tolist())
        [0.5, 9.5]
        >>> fuzzy.transform([[5.0]]).round(3).tolist()
        [[0.5, 0.5]]
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        m: float = 2.0,
        tolerance: float = 1e-9,
        max_iter: int = 1000,
        n_init: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_clusters = n_clusters
        self.m = m
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.n_init = n_init
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: object = None) -> FuzzyCMeans:
        """Find the centroids of points (points, features); y is ignored."""
        self._check_parameters()
        points: Array = validate_data(self, X, dtype=np.float64)
        if len(points) < self.n_clusters:
            raise InputError(
                f"X: got n_samples={len(points)}, expected at least n_clusters={self.n_clusters}; "
                "give more points or ask for fewer clusters"
            )
        random = check_random_state(self.random_state)
        solutions = [self._solve(points, random) for _ in range(self.n_init)]
        best = min(solutions, key=lambda solution: solution.objective)
        if not best.converged:
            warnings.warn(
                f"memberships still change by more than tolerance={self.tolerance} after "
                f"max_iter={self.max_iter} updates; raise either",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.cluster_centers_ = best.centers
        self.memberships_ = np.exp(best.log_memberships)
        self.labels_ = self.memberships_.argmax(1)
        self.objective_ = best.objective
        self.entropy_ = _entropy(self.memberships_)
        self.n_iter_ = best.iterations
        return self

    def transform(self, X: npt.ArrayLike) -> Array:
        """Return memberships (points, clusters) of points (points, features)."""
        return np.exp(_log_memberships(self._squared_distances(X), self.m))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the cluster of largest membership, (points,), of points (points, features)."""
        labels: npt.NDArray[np.intp] = self.transform(X).argmax(1)
        return labels

    def score(self, X: npt.ArrayLike, y: object = None) -> float:
        """Return minus the objective J of points (points, features) for the fixed centroids."""
        squared = self._squared_distances(X)
        return -_objective(_log_memberships(squared, self.m), squared, self.m)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def _squared_distances(self, X: npt.ArrayLike) -> Array:
        check_is_fitted(self)
        points = validate_data(self, X, dtype=np.float64, reset=False)
        return cdist(points, self.cluster_centers_, "sqeuclidean")

    def _solve(self, points: Array, random: np.random.RandomState) -> _Solution:
        """Alternate the two updates from one initialisation until memberships converge."""
        centers, _ = kmeans_plusplus(points, self.n_clusters, random_state=random)
        squared = cdist(points, centers, "sqeuclidean")
        log_memberships = _log_memberships(squared, self.m)
        converged = False
        iterations = 0
        while not converged and iterations < self.max_iter:
            before = np.exp(log_memberships)
            centers = _centers(points, log_memberships, self.m, centers)
            squared = cdist(points, centers, "sqeuclidean")
            log_memberships = _log_memberships(squared, self.m)
            converged = bool(np.abs(np.exp(log_memberships) - before).max() <= self.tolerance)
            iterations += 1
        objective = _objective(log_memberships, squared, self.m)
        return _Solution(centers, log_memberships, objective, iterations, converged)

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "max_iter", "n_init"):
            value: Any = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name}: got {value!r}, expected a whole number of at least 1")
        if not (math.isfinite(self.m) and self.m > 1):
            raise InputError(f"m: got {self.m!r}, expected a finite number above 1")
        if not self.tolerance >= 0:
            raise InputError(f"tolerance: got {self.tolerance!r}, expected a number of at least 0")


def _log_memberships(squared: Array, m: float) -> Array:
    """Return log U from squared distances (points, clusters)."""
    with np.errstate(divide="ignore"):
        logits = -np.log(squared) / (m - 1)
        on_centroid = squared == 0
        met = on_centroid.any(1)
        logits[met] = np.log(on_centroid[met])
    return logits - logsumexp(logits, axis=1, keepdims=True)


def _centers(points: Array, log_memberships: Array, m: float, before: Array) -> Array:
    """Return the means weighted by U^m; a cluster without points keeps its centroid."""
    largest = log_memberships.max(0)
    held = np.isfinite(largest)
    # Weights are relative to the largest, so that those of a far cluster do not all underflow.
    weights = np.exp(m * (log_memberships[:, held] - largest[held]))
    centers = before.copy()
    centers[held] = weights.T @ points / weights.sum(0)[:, None]
    return centers


def _objective(log_memberships: Array, squared: Array, m: float) -> float:
    return float((np.exp(m * log_memberships) * squared).sum())


def _entropy(memberships: Array) -> float:
    clusters = memberships.shape[1]
    if clusters == 1:
        return 0.0
    return float(-xlogy(memberships, memberships).sum(1).mean() / math.log(clusters))
