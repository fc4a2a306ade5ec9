"""Distances of graphs against brute force, and points that keep them."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from torch import Tensor, nn

import archrank
from archrank.data import space
from archrank.errors import InputError
from archrank.graphs import Graph
from archrank.predictors import GraphEmbedding, edit_distance, spectral_distance
from archrank.predictors.checks import small_graphs
from archrank.predictors.features import distances
from archrank.predictors.features.distances import (
    _bounds,
    _Outline,
    _outline,
    _searched,
    _substitutions,
)

GRAPHS = small_graphs()


def outline(seed: int, nodes: int) -> _Outline:
    """Return a random directed acyclic graph of few operators and facts."""
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in itertools.combinations(range(nodes), 2) if rng.random() < 0.5]
    return _Outline(rng.integers(0, 3, (nodes, 3)), np.array(pairs, np.int64).reshape(-1, 2))


def by_brute_force(one: _Outline, other: _Outline) -> float:
    """Return the least cost over all ways to pair nodes, each counted from its definition."""
    nodes = _substitutions(one, other)
    n, m = nodes.shape
    edges, others = ({tuple(edge) for edge in o.edges.tolist()} for o in (one, other))
    least = np.inf
    for size in range(min(n, m) + 1):
        for kept in itertools.combinations(range(n), size):
            for partners in itertools.permutations(range(m), size):
                to = dict(zip(kept, partners, strict=True))
                both = sum((to.get(s), to.get(t)) in others for s, t in edges)
                cost = n + m - 2 * size + len(edges) + len(others) - 2 * both
                least = min(least, cost + sum(nodes[pair] for pair in to.items()))
    return float(least)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_the_search_finds_the_least_and_bounds_hold(seed: int, n: int, m: int) -> None:
    one, other = outline(seed, n), outline(seed + 1, m)
    expected = by_brute_force(one, other)
    bounds = _bounds(one, other)
    assert bounds.low - 1e-9 <= expected <= bounds.high + 1e-9
    found = _searched(one, other, bounds, 60.0)
    assert found.exact
    assert found.high == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 12), min_size=2, max_size=2))
def test_bounds_know_equals_and_no_order(seed: int, sizes: list[int]) -> None:
    one, other = outline(seed, sizes[0]), outline(seed + 1, sizes[1])
    assert _bounds(one, other) == _bounds(other, one)
    assert _bounds(one, one) == (0.0, 0.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_costs_of_nodes_are_a_metric(seed: int) -> None:
    a, b, c = (outline(seed + i, 4) for i in range(3))
    through = _substitutions(a, b)[:, :, None] + _substitutions(b, c)[None]
    assert (_substitutions(a, c) <= through.min(axis=1) + 1e-12).all()
    assert (np.diag(_substitutions(a, a)) == 0).all()


def test_what_edits_cost() -> None:
    def traced(*layers: nn.Module) -> Graph:
        return archrank.trace(nn.Sequential(*layers), (4, 8, 8))

    conv, relu = nn.Conv2d(4, 4, 1), nn.ReLU()
    plain = traced(conv, relu)
    assert edit_distance(plain, plain) == (0.0, 0.0)
    assert edit_distance(plain, traced(conv, nn.GELU())).high == 1.0  # another operator
    # The output becomes the sigmoid, and a node and an edge come: less than to put one between.
    assert edit_distance(plain, traced(conv, relu, nn.Sigmoid())) == (3.0, 3.0)
    wider = edit_distance(plain, traced(nn.Conv2d(4, 4, 3, padding=1), relu))
    assert wider.exact
    assert 0 < wider.high < 0.5


def test_time_that_runs_out_leaves_bounds() -> None:
    shallow, deep = GRAPHS[0], GRAPHS[3]
    start = time.perf_counter()
    found = edit_distance(shallow, deep, timeout=0.2)
    assert time.perf_counter() - start < 5
    at_once = edit_distance(shallow, deep, timeout=0)
    assert not found.exact
    assert at_once.low <= found.low < found.high <= at_once.high


def test_what_cannot_be_measured_is_told() -> None:
    with pytest.raises(InputError, match="timeout"):
        edit_distance(GRAPHS[0], GRAPHS[1], timeout=-1)
    with pytest.raises(InputError, match="timeout"):
        edit_distance(GRAPHS[0], GRAPHS[1], timeout=float("nan"))
    long = archrank.trace(nn.Sequential(*[nn.ReLU()] * distances.LARGEST), (3,))
    with pytest.raises(InputError, match="'spectral'"):
        edit_distance(long, long)
    assert spectral_distance(long, long) == 0
    for options in ({"distance": "hamming"}, {"dimensions": 0}, {"landmarks": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            GraphEmbedding(**options).fit(GRAPHS)
    with pytest.raises(InputError, match="graphs"):
        GraphEmbedding().fit([])


def test_repeated_edges_count_once() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    assert len(_outline(archrank.trace(Twice(), (3,))).edges) == 2


class TestSpectral:
    def test_topology_alone(self) -> None:
        narrow, wide = GRAPHS[0], GRAPHS[4]
        assert spectral_distance(narrow, wide) == 0
        assert edit_distance(narrow, wide).low > 0
        assert spectral_distance(narrow, GRAPHS[1]) > 0.1

    def test_euclidean_distances_are_kept_exactly(self) -> None:
        graphs = GRAPHS[:4]
        points = GraphEmbedding("spectral").fit_transform(graphs)
        for (i, a), (j, b) in itertools.combinations(enumerate(graphs), 2):
            apart = float(np.linalg.norm(points[i] - points[j]))
            assert apart == pytest.approx(spectral_distance(a, b), abs=1e-6)


class TestEmbedding:
    def test_is_classical_scaling(self) -> None:
        """Of Euclidean distances: the points themselves, turned; new ones in between, too."""
        rng = np.random.default_rng(0)
        where = rng.normal(size=(30, 3))
        made = GraphEmbedding("spectral", landmarks=20)
        made._form = lambda graph: (graph,)  # type: ignore[method-assign]  # points are their own form
        placed = made.fit(where[:20]).transform(where)
        assert placed.shape == (30, 3)
        assert made.kept_ == pytest.approx(1.0)
        apart = np.linalg.norm(where[:, None] - where[None], axis=2)
        assert np.linalg.norm(placed[:, None] - placed[None], axis=2) == pytest.approx(apart)

    def test_edit_distances_are_kept_nearly(self) -> None:
        networks = space("nasbench_macro")
        graphs = [networks.graph(arch) for arch in networks.sample(24, seed=0)]
        made = GraphEmbedding(landmarks=16).fit(graphs[:16])
        points = made.transform(graphs)
        pairs = list(itertools.combinations(range(24), 2))
        apart = [np.linalg.norm(points[i] - points[j]) for i, j in pairs]
        true = [edit_distance(graphs[i], graphs[j], timeout=0).high for i, j in pairs]
        assert np.corrcoef(apart, true)[0, 1] > 0.8

    def test_exact_distances_where_time_is_given(self) -> None:
        """Two points are as far apart as their graphs."""
        graphs = [GRAPHS[0], GRAPHS[5]]
        for timeout in (0.0, 30.0):
            there, here = GraphEmbedding(timeout=timeout).fit_transform(graphs)
            expected = edit_distance(*graphs, timeout=timeout)
            assert expected.exact == (timeout > 0)
            assert np.linalg.norm(there - here) == pytest.approx(expected.high)

    def test_like_graphs_lie_together_and_new_ones_alone(self) -> None:
        made = GraphEmbedding(dimensions=3).fit(GRAPHS[::2])
        points = made.transform(GRAPHS)
        assert np.allclose(made.transform([GRAPHS[5]])[0], points[5])
        assert made.transform([]).shape == (0, 3)
        one = GraphEmbedding().fit([GRAPHS[0], GRAPHS[0]])
        assert np.allclose(one.transform(GRAPHS[:2]), one.transform(GRAPHS[:2]))
        assert one.transform(GRAPHS[:2]).shape == (2, 1)

    def test_clones_are_equal(self) -> None:
        made = GraphEmbedding(landmarks=5, random_state=3).fit(GRAPHS)
        again = clone(made).fit(GRAPHS)
        assert (made.axes_ == again.axes_).all()
        assert len(made.landmarks_) == 5
