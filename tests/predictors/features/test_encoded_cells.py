"""Cells as a network with random weights encodes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archrank.data import space
from archrank.predictors.features.cells import Arc, arcs_of, cells
from archrank.predictors.features.encoded_cells import (
    _described,
    _weights,
    embedding,
    encoded_cells,
    encoded_reductions,
)

PATHS = ("conv3", "conv1 depthwise3/", "skip", "wiring", "max_pool~")


@st.composite
def wirings(draw: st.DrawFn) -> tuple[list[Arc], int]:
    """Draw arcs into each of a few junctions, from entries and earlier ones, and the end."""
    count = draw(st.integers(1, 6))
    arcs = []
    for target in range(count):
        for _ in range(draw(st.integers(1, 3))):
            source = draw(st.integers(-2, target - 1))
            arcs.append(Arc(draw(st.sampled_from(PATHS)), source, target))
    return arcs, count - 1


def by_loops(arcs: list[Arc], end: int) -> np.ndarray:
    """Compute the formula of ``encoded_cells``, one node and one arc at a time."""
    weights = _weights()
    nodes = {end} | {arc.source for arc in arcs} | {arc.target for arc in arcs}
    state = {node: weights.roles[{-1: 2, -2: 1}.get(node, 0)] for node in nodes}
    operators = [np.tanh(row @ weights.paths) for row in _described(arcs)]
    for layer in range(len(weights.bias)):
        new = {}
        for node in nodes:
            u = state[node] @ weights.own[layer] + weights.bias[layer]
            ahead = [
                np.tanh(state[arc.source] @ weights.forward[layer] + operator)
                for arc, operator in zip(arcs, operators, strict=True)
                if arc.target == node
            ]
            behind = [
                np.tanh(state[arc.target] @ weights.backward[layer] + operator)
                for arc, operator in zip(arcs, operators, strict=True)
                if arc.source == node
            ]
            for messages in filter(None, (ahead, behind)):
                u = u + np.mean(messages, axis=0)
            new[node] = np.tanh(u / np.sqrt(np.mean(u**2)))
        state = new
    return np.concatenate([state[end], np.mean(list(state.values()), axis=0)])


@given(wirings())
@settings(max_examples=30, deadline=None)
def test_it_is_the_formula(wiring: tuple[list[Arc], int]) -> None:
    assert np.allclose(embedding(*wiring), by_loops(*wiring), atol=1e-10)


@given(wirings(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_nodes_and_arcs_does_not_matter(wiring, random) -> None:
    arcs, end = wiring
    names = list(range(end + 1))
    random.shuffle(names)
    name = {-2: -2, -1: -1, **dict(enumerate(names))}
    moved = [Arc(arc.path, name[arc.source], name[arc.target]) for arc in arcs]
    random.shuffle(moved)
    assert np.allclose(embedding(moved, name[end]), embedding(arcs, end), atol=1e-10)


@given(wirings(), st.data())
@settings(max_examples=30, deadline=None)
def test_another_operator_is_another_embedding(wiring, data) -> None:
    arcs, end = wiring
    at = data.draw(st.integers(0, len(arcs) - 1))
    path = data.draw(st.sampled_from([one for one in PATHS if one != arcs[at].path]))
    changed = [*arcs[:at], arcs[at]._replace(path=path), *arcs[at + 1 :]]
    same = sorted(changed) == sorted(arcs)
    assert np.allclose(embedding(changed, end), embedding(arcs, end)) == same


def test_a_network_is_the_mean_of_its_cells() -> None:
    graph = space("nasbench301").graph(space("nasbench301").sample(1, seed=0)[0])
    kept = [cell for cell in cells(graph) if not cell.reduces]
    expected = np.mean([embedding(arcs_of(cell), len(cell.classes) - 1) for cell in kept], axis=0)
    row = encoded_cells(graph)
    assert np.allclose(row[:-1], expected)
    assert np.expm1(row[-1]) == pytest.approx(len(kept))
    assert np.expm1(encoded_reductions(graph)[-1]) == pytest.approx(len(cells(graph)) - len(kept))


def test_without_cells_there_are_zeros() -> None:
    import torch

    import archrank

    graph = archrank.trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), (4,))
    assert not encoded_cells(graph).any()
    assert not encoded_reductions(graph).any()


def test_weights_are_the_same_everywhere() -> None:
    """As saved predictors need, whose processes remember embeddings."""
    row = embedding([Arc("conv3", -1, 0), Arc("skip", -2, 0)], 0)
    assert row[:3] == pytest.approx([-0.742095110656, -0.549903121086, -0.735356494646], abs=1e-9)
