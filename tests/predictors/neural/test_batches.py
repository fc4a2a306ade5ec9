"""Graphs as tensors keep what the graph says; batches keep every graph once."""

from __future__ import annotations

import math
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archrank.data import space
from archrank.errors import InputError
from archrank.graphs import Graph
from archrank.predictors.neural.batches import GraphBatch, GraphTensors, batches, fold, unique


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return [
        space(name).graph(space(name).sample(1, 0)[0])
        for name in ("nasbench201", "nasbench101", "transnas101_micro", "hiaml")
    ]


def test_tensors_are_those_of_the_graph(graphs: list[Graph]) -> None:
    for graph in graphs:
        tensors, default, gennape = GraphTensors.of(graph), graph.to_pyg(), graph.to_pyg("gennape")
        assert torch.equal(tensors.operator, default.operator)
        assert torch.equal(tensors.x, default.x)
        assert torch.equal(tensors.edges, default.edge_index)
        assert torch.equal(tensors.gennape_operator, gennape.operator)
        assert torch.equal(tensors.resolution, gennape.x)
        assert torch.equal(tensors.kernel, gennape.kernel)
        assert torch.equal(tensors.bias, gennape.bias)
        assert torch.equal(tensors.weighted, gennape.weighted)
        assert (tensors.multiplicity == 1).all()
        assert tensors.statistics.shape == tensors.positions.shape == (len(graph), 0)


def test_tensors_pickle(graphs: list[Graph]) -> None:
    tensors = GraphTensors.of(graphs[0], positions=3)
    again = pickle.loads(pickle.dumps(tensors))
    for field in fields(GraphTensors):
        one, other = getattr(tensors, field.name), getattr(again, field.name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_missing_statistics_are_masked(graphs: list[Graph]) -> None:
    graph = graphs[0]
    values = np.random.default_rng(0).random((len(graph), 2)).astype(np.float32)
    values[3, 0], values[5, 1] = np.nan, np.inf
    tensors = GraphTensors.of(graph, statistics=values)
    assert tensors.present.sum() == 2 * len(graph) - 2
    assert tensors.statistics[3, 0] == tensors.present[3, 0] == 0
    assert tensors.statistics[5, 1] == tensors.present[5, 1] == 0
    known = tensors.present.bool().numpy()
    np.testing.assert_array_equal(tensors.statistics.numpy()[known], values[known])


def test_folded_statistics_are_means_of_the_known() -> None:
    import archrank

    layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(4)))
    graph = archrank.trace(layers, (4,))  # input, four equal layers, output
    statistics = [[np.nan], [1], [np.nan], [2], [6], [np.nan]]
    folded = fold(graph, statistics=statistics)
    assert folded.statistics[:, 0].tolist() == [0, 3, 0]
    assert folded.present[:, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("shape", [(3, 2), (281,), ()])
def test_statistics_of_another_shape_are_refused(
    graphs: list[Graph], shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"statistics: got shape .* one row per node"):
        GraphTensors.of(graphs[1], statistics=np.zeros(shape))


def test_negative_positions_are_refused(graphs: list[Graph]) -> None:
    with pytest.raises(InputError, match="positions: got -1"):
        GraphTensors.of(graphs[0], positions=-1)


def test_a_batch_is_its_graphs_side_by_side(graphs: list[Graph]) -> None:
    tensors = [GraphTensors.of(graph, positions=2) for graph in graphs]
    context = torch.randn(len(graphs), 3)
    batch = GraphBatch.of(tensors, context).to("cpu")
    assert batch.count == len(graphs)
    assert torch.bincount(batch.graph).tolist() == [len(graph) for graph in graphs]
    assert torch.equal(batch.context, context)
    start = 0
    for i, one in enumerate(tensors):
        rows = slice(start, start + len(one))
        assert torch.equal(batch.x[rows], one.x)
        assert torch.equal(batch.positions[rows], one.positions)
        mine = batch.edges[:, batch.graph[batch.edges[0]] == i]
        assert torch.equal(mine - start, one.edges)
        start += len(one)


def test_batches_that_do_not_fit_are_refused(graphs: list[Graph]) -> None:
    plain, placed = GraphTensors.of(graphs[0]), GraphTensors.of(graphs[0], positions=2)
    with pytest.raises(InputError, match="graphs: got none"):
        GraphBatch.of([])
    with pytest.raises(InputError, match="graphs with 0 and 2 positions"):
        GraphBatch.of([plain, placed])
    with pytest.raises(InputError, match=r"context: got shape \(1, 3\), expected \(2, c\)"):
        GraphBatch.of([plain, plain], torch.zeros(1, 3))


SIZES = st.lists(st.integers(1, 60), max_size=60)


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(1, 9), st.integers(1, 100), st.booleans(), st.sampled_from([0, 0.5, 99]))
def test_batches_hold_each_graph_once(
    sizes: list[int], size: int, max_nodes: int, shuffle: bool, spread: float
) -> None:
    graphs = [range(n) for n in sizes]
    cut = batches(graphs, size, seed=1, shuffle=shuffle, max_nodes=max_nodes, spread=spread)
    assert sorted(i for batch in cut for i in batch) == list(range(len(sizes)))
    for batch in cut:
        assert 0 < len(batch) <= size
        assert len(batch) == 1 or sum(sizes[i] for i in batch) <= max_nodes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 999), min_size=50, max_size=90), st.integers(0, 99))
def test_seeds_decide_the_order(sizes: list[int], seed: int) -> None:
    graphs = [range(n) for n in sizes]
    first, again, other = (batches(graphs, 4, seed=s) for s in (seed, seed, seed + 1))
    assert first == again
    assert first != other
    assert {frozenset(b) for b in first} != {frozenset(b) for b in other}  # other neighbours too


def test_neighbours_are_of_similar_size() -> None:
    rng = np.random.default_rng(0)
    graphs = [range(n) for n in rng.integers(10, 1000, 2000).tolist()]

    def waste(spread: float) -> float:
        cut = batches(graphs, 32, seed=3, max_nodes=10**6, spread=spread)
        padded = sum(len(batch) * max(len(graphs[i]) for i in batch) for batch in cut)
        return padded / sum(map(len, graphs)) - 1

    assert waste(0) < 0.02
    assert waste(0.5) < 0.25
    assert waste(math.inf) > 0.6


def test_equal_sizes_are_shuffled_without_spread() -> None:
    graphs = [range(7)] * 40
    assert batches(graphs, 4, seed=0, spread=0) != batches(graphs, 4, seed=1, spread=0)


@pytest.mark.parametrize("options", [{"size": 0}, {"max_nodes": 0}, {"spread": -1}])
def test_batches_refuse_nonsense(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        batches([range(3)], **options)


def test_unique_finds_equal_graphs(graphs: list[Graph]) -> None:
    several = [graphs[0], graphs[1], graphs[0], graphs[1], graphs[2]]
    firsts, inverse = unique(several)
    assert firsts == [0, 1, 4]
    assert inverse.tolist() == [0, 1, 0, 1, 2]
    assert unique([GraphTensors.of(g) for g in several])[0] == firsts
    assert unique([])[0] == []


def test_keys_tell_statistics_and_forms_apart(graphs: list[Graph]) -> None:
    graph = graphs[0]
    ones, twos = np.ones((len(graph), 1)), 2 * np.ones((len(graph), 1))
    forms = [
        GraphTensors.of(graph),
        GraphTensors.of(graph, statistics=ones),
        GraphTensors.of(graph, statistics=twos),
        GraphTensors.of(graph, positions=2),
        fold(graph),
    ]
    assert len({form.key for form in forms}) == len(forms)
    assert GraphTensors.of(graph, statistics=ones).key == forms[1].key
