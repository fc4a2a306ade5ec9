"""Repeated blocks are represented once, whatever they are called and in whatever order they ran."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archrank
from archrank.data import space
from archrank.predictors.features.repeats import bottlenecks, representatives
from archrank.predictors.neural.batches import GraphBatch, GraphTensors, fold
from archrank.predictors.neural.encoders import encoder

SPACES = ("nasbench201", "nasbench101", "transnas101_micro", "hiaml")


def chain(n: int) -> np.ndarray:
    return np.column_stack([np.arange(n - 1), np.arange(1, n)])


def sets(tensors: GraphTensors) -> list[tuple[float, ...]]:
    """Return the nodes as a sorted list, without their relative position."""
    rows = torch.cat(
        [tensors.operator[:, None], tensors.multiplicity[:, None], tensors.x[:, :-2]], 1
    )
    return sorted(map(tuple, rows.tolist()))


def test_nasbench201_keeps_one_cell_of_five() -> None:
    for arch in space("nasbench201").sample(5, 0):
        graph = space("nasbench201").graph(arch)
        folded = fold(graph)
        counts = dict(zip(*np.unique(folded.multiplicity, return_counts=True), strict=True))
        cells = sum(round(times * count) for times, count in counts.items() if times > 1)
        kept = sum(count for times, count in counts.items() if times > 1)
        # Three stages of five equal cells; what repeats inside a cell folds further.
        assert cells == len(graph) - counts[1.0]
        assert kept <= cells / 5
        assert len(folded) < 0.4 * len(graph)


@pytest.mark.parametrize("name", SPACES)
def test_multiplicities_count_all_nodes(name: str) -> None:
    one = space(name)
    for arch in one.sample(5, 1):
        graph = one.graph(arch)
        folded = fold(graph)
        assert folded.multiplicity.sum() == len(graph)
        assert (folded.multiplicity >= 1).all()
        assert (folded.edges[0] < folded.edges[1]).all()
        assert len(set(folded.edges[1].tolist())) == len(folded) - 1  # only the input has none


@pytest.mark.parametrize("name", SPACES)
def test_weighted_sums_of_what_blocks_share_are_those_of_the_network(name: str) -> None:
    one = space(name)
    for arch in one.sample(3, 2):
        whole, folded = GraphTensors.of(one.graph(arch)), fold(one.graph(arch))
        torch.testing.assert_close(
            (folded.x * folded.multiplicity[:, None]).sum(0), whole.x.sum(0), rtol=1e-4, atol=1e-3
        )


class Branches(nn.Module):
    """Two branches of two layers, added; which one runs first is a matter of writing."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.a, self.b = (nn.Sequential(nn.Linear(4, 4), f()) for f in (nn.ReLU, nn.Tanh))

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            a, b = self.a(x), self.b(x)
        else:
            b, a = self.b(x), self.a(x)
        return a + b


def test_equal_architectures_fold_equally() -> None:
    graphs = [
        archrank.trace(nn.Sequential(*(Branches(first) for first in order)), (4,))
        for order in ([True] * 4, [False] * 4, [False, True, False, True])
    ]
    assert graphs[0] == graphs[1] == graphs[2]
    assert graphs[0].operators != graphs[1].operators
    folded = [fold(graph) for graph in graphs]
    assert folded[0].multiplicity.tolist() == [1, 4, 4, 4, 4, 4, 1]
    assert sets(folded[0]) == sets(folded[1]) == sets(folded[2])
    torch.manual_seed(0)
    model = encoder("kgnn")
    first, *others = (model(GraphBatch.of([one])) for one in folded)
    for other in others:
        torch.testing.assert_close(first, other)


def test_names_do_not_count() -> None:
    def network(names: list[str]) -> nn.Module:
        net = nn.Sequential()
        for name in names:
            net.add_module(name, nn.Linear(4, 4))
        return net

    def folded(names: list[str]) -> GraphTensors:
        return fold(archrank.trace(network(names), (4,)))

    assert sets(folded(["a", "b", "c"])) == sets(folded(["x", "last", "y"]))


def test_without_repetition_nothing_changes() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 2))
    graph = archrank.trace(net, (4,))
    whole, folded = GraphTensors.of(graph), fold(graph)
    for name in ("operator", "x", "edges", "multiplicity", "resolution"):
        assert torch.equal(getattr(whole, name), getattr(folded, name))


def test_residual_blocks_fold_and_their_skips_stay() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.two(torch.relu(self.one(x)))

    graph = archrank.trace(nn.Sequential(*(Block() for _ in range(6))), (4,))
    folded = fold(graph)
    assert folded.multiplicity.tolist() == [1, 6, 6, 6, 6, 1]
    assert sorted(folded.edges.T.tolist()) == [[0, 1], [0, 4], [1, 2], [2, 3], [3, 4], [4, 5]]


def test_shared_weights_are_not_equal_blocks() -> None:
    layer = nn.Linear(4, 4)
    once = fold(archrank.trace(nn.Sequential(layer, layer), (4,)))
    twice = fold(archrank.trace(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), (4,)))
    assert (len(once), len(twice)) == (4, 3)


def test_dense_connections_do_not_fold() -> None:
    everything = np.array([(s, t) for t in range(8) for s in range(t)])
    assert representatives([0, *[1] * 6, 2], everything).tolist() == list(range(8))


def test_blocks_in_blocks() -> None:
    labels = [0, *[1, 1, 1, 2] * 3, 3]
    stand = representatives(labels, chain(len(labels)))
    assert stand.tolist() == [0, *[1, 1, 1, 4] * 3, 13]


def test_the_run_that_saves_most_comes_first() -> None:
    labels = [1, 1, 2, 1, 2, 1, 2]
    assert representatives(labels, chain(7)).tolist() == [0, 1, 2, 1, 2, 1, 2]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=24), st.integers(1, 6))
def test_any_chain(block: list[int], times: int) -> None:
    labels = [9, *block * times, 8]
    stand = representatives(labels, chain(len(labels)))
    assert [labels[i] for i in stand] == labels  # only equals stand for each other
    assert (stand <= np.arange(len(labels))).all()
    assert (stand[stand] == stand).all()
    assert len(set(stand.tolist())) <= 2 + len(block)


def brute_force_bottlenecks(n: int, edges: np.ndarray) -> list[int]:
    return [v for v in range(n) if not any(s < v < t for s, t in edges.tolist())]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.data())
def test_bottlenecks_are_jumped_by_no_edge(n: int, data: st.DataObject) -> None:
    pairs = [(s, t) for t in range(n) for s in range(t)]
    edges = data.draw(st.lists(st.sampled_from(pairs), max_size=15)) if pairs else []
    array = np.array(edges, dtype=np.int64).reshape(-1, 2)
    assert bottlenecks(n, array).tolist() == brute_force_bottlenecks(n, array)


@pytest.mark.parametrize("repeat", [1, 2])
def test_thousands_of_nodes_take_little_time(repeat: int) -> None:
    labels = [-1, *(i // repeat for i in range(2000))]
    start = time.perf_counter()
    stand = representatives(labels, chain(len(labels)))
    assert time.perf_counter() - start < 5
    assert stand.tolist() == [0, *(1 + i - i % repeat for i in range(2000))]
