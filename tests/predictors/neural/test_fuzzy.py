"""Fuzzy C-means against loops written out, k-means, and scikit-learn's checks."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import clone
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import check_estimator

from archrank.basics import Array
from archrank.errors import InputError
from archrank.predictors.neural.fuzzy import FuzzyCMeans

some_points = arrays.arrays(
    np.float64,
    st.tuples(st.integers(4, 12), st.integers(1, 3)),
    elements=st.integers(-5, 5).map(float),
)


@pytest.fixture
def blobs() -> Array:
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(center, 0.5, (20, 3)) for center in (-4.0, 0.0, 4.0)])


@pytest.fixture
def unconverged_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def ordered(centers: Array) -> Array:
    return centers[np.lexsort(centers.T[::-1])]


def loops(points: Array, centers: Array, m: float, updates: int) -> tuple[Array, Array, float]:
    """Both updates, written out; no point may lie on a centroid."""
    n, features = points.shape
    clusters = len(centers)
    centers = centers.copy()
    memberships = np.zeros((n, clusters))

    def assign() -> float:
        objective = 0.0
        for i in range(n):
            squared = [float(((points[i] - centers[k]) ** 2).sum()) for k in range(clusters)]
            for k in range(clusters):
                share = sum((squared[k] / other) ** (1 / (m - 1)) for other in squared)
                memberships[i, k] = 1 / share
                objective += memberships[i, k] ** m * squared[k]
        return objective

    objective = assign()
    for _ in range(updates):
        for k in range(clusters):
            total = sum(memberships[i, k] ** m for i in range(n))
            for f in range(features):
                weighted = sum(memberships[i, k] ** m * points[i, f] for i in range(n))
                centers[k, f] = weighted / total
        objective = assign()
    return centers, memberships, objective


@pytest.mark.parametrize("m", [1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_equals_the_loops(m: float, clusters: int, unconverged_is_fine: None) -> None:
    points = np.random.default_rng(1).normal(size=(12, 2))
    fuzzy = FuzzyCMeans(clusters, m=m, n_init=1, max_iter=15, tolerance=0, random_state=3)
    fuzzy.fit(points)
    # Initial centroids are points; a hair's breadth away, the quotients of the loops are defined.
    start, _ = kmeans_plusplus(points, clusters, random_state=np.random.RandomState(3))
    centers, memberships, objective = loops(points, start + 1e-12, m, fuzzy.n_iter_)
    np.testing.assert_allclose(fuzzy.cluster_centers_, centers, atol=1e-6)
    np.testing.assert_allclose(fuzzy.memberships_, memberships, atol=1e-6)
    assert fuzzy.objective_ == pytest.approx(objective, rel=1e-6)


@pytest.mark.parametrize("m", [1.3, 2.0, 2.5])
def test_converged_is_a_fixed_point_of_the_loops(m: float, blobs: Array) -> None:
    fuzzy = FuzzyCMeans(3, m=m, random_state=0).fit(blobs)
    centers, memberships, objective = loops(blobs, fuzzy.cluster_centers_, m, 1)
    np.testing.assert_allclose(fuzzy.cluster_centers_, centers, atol=1e-7)
    np.testing.assert_allclose(fuzzy.memberships_, memberships, atol=1e-8)
    assert fuzzy.objective_ == pytest.approx(objective)
    assert 1 < fuzzy.n_iter_ < fuzzy.max_iter


@pytest.mark.parametrize("m", [1.001, 1.0001, 1 + 1e-9])
def test_is_k_means_as_m_nears_one(m: float, blobs: Array) -> None:
    fuzzy = FuzzyCMeans(3, m=m, random_state=0).fit(blobs)
    hard = KMeans(3, n_init=10, random_state=0).fit(blobs)
    np.testing.assert_allclose(
        ordered(fuzzy.cluster_centers_), ordered(hard.cluster_centers_), atol=1e-6
    )
    assert fuzzy.objective_ == pytest.approx(hard.inertia_)
    assert adjusted_rand_score(fuzzy.labels_, hard.labels_) == 1
    assert fuzzy.entropy_ < 1e-6


@given(points=some_points, m=st.floats(1.01, 5), clusters=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_memberships_are_shares(points: Array, m: float, clusters: int) -> None:
    fuzzy = FuzzyCMeans(clusters, m=m, max_iter=20, n_init=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fuzzy.fit(points)
    assert fuzzy.memberships_.shape == (len(points), clusters)
    assert (fuzzy.memberships_ >= 0).all()
    np.testing.assert_allclose(fuzzy.memberships_.sum(1), 1)
    assert np.isfinite(fuzzy.cluster_centers_).all()
    assert 0 <= fuzzy.entropy_ <= 1 + 1e-12
    assert fuzzy.score(points) == -fuzzy.objective_ <= 0
    np.testing.assert_array_equal(fuzzy.transform(points), fuzzy.memberships_)
    np.testing.assert_array_equal(fuzzy.predict(points), fuzzy.labels_)
    low, high = points.min(0) - 1e-9, points.max(0) + 1e-9
    assert ((low <= fuzzy.cluster_centers_) & (fuzzy.cluster_centers_ <= high)).all()


@given(points=some_points, m=st.floats(1.1, 4))
@settings(max_examples=30, deadline=None)
def test_more_updates_never_raise_the_objective(points: Array, m: float) -> None:
    objectives = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for updates in (1, 2, 4, 8):
            fuzzy = FuzzyCMeans(2, m=m, max_iter=updates, n_init=1, random_state=0).fit(points)
            objectives.append(fuzzy.objective_)
    for earlier, later in itertools.pairwise(objectives):
        assert later <= earlier * (1 + 1e-9) + 1e-12


def test_same_whatever_the_order_of_points(blobs: Array) -> None:
    order = np.random.default_rng(2).permutation(len(blobs))
    first = FuzzyCMeans(3, random_state=0).fit(blobs)
    second = FuzzyCMeans(3, random_state=0).fit(blobs[order])
    np.testing.assert_allclose(
        ordered(first.cluster_centers_), ordered(second.cluster_centers_), atol=1e-6
    )
    assert adjusted_rand_score(first.labels_[order], second.labels_) == 1


def test_moves_and_turns_with_the_points(blobs: Array) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    first = FuzzyCMeans(3, random_state=0).fit(blobs)
    second = FuzzyCMeans(3, random_state=0).fit(blobs @ rotation + 7.0)
    np.testing.assert_allclose(
        ordered(first.cluster_centers_ @ rotation + 7.0),
        ordered(second.cluster_centers_),
        atol=1e-6,
    )
    assert second.objective_ == pytest.approx(first.objective_)
    assert second.entropy_ == pytest.approx(first.entropy_)


def test_memberships_do_not_depend_on_the_unit(blobs: Array) -> None:
    first = FuzzyCMeans(3, random_state=0).fit(blobs)
    for scale in (1e-100, 1e100):
        second = clone(first).fit(blobs * scale)
        shares = (np.sort(fuzzy.memberships_, axis=1) for fuzzy in (first, second))
        np.testing.assert_allclose(*shares, atol=1e-6)


def test_one_cluster_is_the_mean(blobs: Array) -> None:
    fuzzy = FuzzyCMeans(1, random_state=0).fit(blobs)
    np.testing.assert_allclose(fuzzy.cluster_centers_, blobs.mean(0, keepdims=True))
    assert (fuzzy.memberships_ == 1).all()
    assert fuzzy.entropy_ == 0


def test_a_point_on_centroids_belongs_to_those_alone() -> None:
    fuzzy = FuzzyCMeans(3, random_state=0).fit([[0.0], [5.0], [10.0]])
    fuzzy.cluster_centers_ = np.array([[0.0], [0.0], [10.0]])
    assert fuzzy.transform([[0.0], [10.0]]).tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    near = fuzzy.transform([[1e-170]])  # squared, it underflows to the centroid
    np.testing.assert_allclose(near, [[0.5, 0.5, 0.0]])


def test_as_many_clusters_as_points() -> None:
    points = np.array([[0.0], [3.0], [7.0]])
    fuzzy = FuzzyCMeans(3, random_state=0).fit(points)
    assert fuzzy.objective_ == pytest.approx(0, abs=1e-12)
    assert fuzzy.entropy_ == pytest.approx(0, abs=1e-6)


def test_fewer_distinct_points_than_clusters() -> None:
    fuzzy = FuzzyCMeans(3, random_state=0).fit([[1.0, 1.0]] * 4 + [[2.0, 2.0]] * 4)
    np.testing.assert_allclose(fuzzy.memberships_.sum(1), 1)
    assert fuzzy.objective_ == pytest.approx(0, abs=1e-12)
    assert FuzzyCMeans(2, random_state=0).fit([[1.0]] * 3).objective_ == 0


def test_duplicates_weigh() -> None:
    points = np.array([[0.0], [1.0], [8.0], [9.0]])
    once = FuzzyCMeans(2, random_state=0).fit(points)
    twice = FuzzyCMeans(2, random_state=0).fit(np.repeat(points, 2, axis=0))
    np.testing.assert_allclose(
        ordered(once.cluster_centers_), ordered(twice.cluster_centers_), atol=1e-6
    )
    more = FuzzyCMeans(2, random_state=0).fit(np.repeat(points, [9, 1, 1, 1], axis=0))
    assert more.cluster_centers_.min() < once.cluster_centers_.min()


def test_many_dimensions_tell_by_the_entropy() -> None:
    points = np.random.default_rng(0).normal(size=(100, 200))
    assert FuzzyCMeans(5, m=2.0, random_state=0).fit(points).entropy_ > 0.999
    hard = FuzzyCMeans(5, m=1.01, random_state=0).fit(points)
    assert hard.entropy_ < 0.5


def test_same_seed_same_clusters(blobs: Array) -> None:
    first, second = (FuzzyCMeans(5, random_state=7).fit(blobs) for _ in range(2))
    np.testing.assert_array_equal(first.cluster_centers_, second.cluster_centers_)
    np.testing.assert_array_equal(first.memberships_, second.memberships_)
    before = np.random.get_state()[1].copy()
    FuzzyCMeans(5, random_state=7).fit(blobs)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_more_initialisations_are_never_worse() -> None:
    points = np.random.default_rng(5).normal(size=(40, 2))
    objectives = [
        FuzzyCMeans(6, m=1.2, n_init=n, random_state=0).fit(points).objective_ for n in (1, 4, 8)
    ]
    assert objectives == sorted(objectives, reverse=True)


def test_says_when_it_has_not_converged(blobs: Array) -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        fuzzy = FuzzyCMeans(3, max_iter=2, random_state=0).fit(blobs)
    assert fuzzy.n_iter_ == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FuzzyCMeans(3, random_state=0).fit(blobs)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"m": 1.0}, "m: got 1.0, expected a finite number above 1"),
        ({"m": float("inf")}, "m: got inf"),
        ({"n_clusters": 0}, "n_clusters: got 0"),
        ({"n_clusters": 2.5}, "n_clusters: got 2.5"),
        ({"n_clusters": 5}, "n_samples=4, expected at least n_clusters=5; give more points or"),
        ({"max_iter": 0}, "max_iter: got 0"),
        ({"n_init": 0}, "n_init: got 0"),
        ({"tolerance": -1.0}, "tolerance: got -1.0"),
        ({"tolerance": float("nan")}, "tolerance: got nan"),
    ],
)
def test_wrong_parameters_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        FuzzyCMeans(**{"n_clusters": 2, **options}).fit([[0.0], [1.0], [2.0], [3.0]])


def test_wrong_points_are_refused(blobs: Array) -> None:
    with pytest.raises(NotFittedError):
        FuzzyCMeans().transform(blobs)
    with pytest.raises(ValueError, match="NaN"):
        FuzzyCMeans(1).fit([[float("nan")]])
    with pytest.raises(ValueError, match="2 features"):
        FuzzyCMeans(2, random_state=0).fit(blobs).transform([[0.0, 0.0]])


def test_names_its_columns(blobs: Array) -> None:
    fuzzy = FuzzyCMeans(2, random_state=0).set_output(transform="pandas")
    assert [*fuzzy.fit_transform(blobs).columns] == ["fuzzycmeans0", "fuzzycmeans1"]


def test_is_a_scikit_learn_estimator() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks that are skipped for want of a package
        check_estimator(FuzzyCMeans(n_clusters=3, max_iter=50, n_init=1))
