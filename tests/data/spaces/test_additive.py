"""Sizes that are added up choice by choice, against graphs that are assembled or traced."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from archrank.data import space, spaces
from archrank.data.spaces.additive_sizes import ADDED, DeferredGraph
from archrank.data.spaces.contract import ChoiceSpace
from archrank.graphs import Graph, assemble, trace

ADDITIVE = [
    name for name in spaces() if isinstance(space(name), ChoiceSpace) and space(name).additive
]


def looked_at(graph: Graph) -> bool:
    return type(graph) is Graph


def test_cells_and_chains_of_fixed_widths_are_additive() -> None:
    assert {"nasbench201", "transnas101_micro", "nasbench_macro", "fbnet"} <= set(ADDITIVE)


@pytest.mark.parametrize("name", ADDITIVE)
def test_sizes_and_inputs_equal_those_of_the_whole_graph(name: str) -> None:
    own = space(name)
    for task in own.tasks:
        for arch in own.sample(4, seed=5):
            deferred = own.graph(arch, task)
            whole = assemble(lambda a=arch, t=task: own.build(a, t), own.inputs(task, arch))
            for size in ADDED:
                assert getattr(deferred, size) == getattr(whole, size), (task, arch, size)
            assert deferred.input_shapes == whole.input_shapes
            assert not looked_at(deferred)
            assert deferred == whole
            assert looked_at(deferred)


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro"])
def test_sizes_equal_those_of_the_traced_network(name: str) -> None:
    own = space(name)
    arch = own.sample(1, seed=9)[0]
    traced = trace(own.build(arch), own.inputs())
    graph = own.graph(arch)
    assert [getattr(graph, size) for size in ADDED] == [getattr(traced, size) for size in ADDED]


@pytest.fixture
def deferred() -> Graph:
    own = space("nasbench201")
    graph = own.graph(own.sample(1, seed=2)[0])
    assert isinstance(graph, DeferredGraph)
    return graph


def test_a_deferred_graph_becomes_an_ordinary_one(deferred: Graph, tmp_path: Path) -> None:
    params, flops = deferred.params, deferred.flops
    deferred.save(tmp_path / "one.graph")
    assert looked_at(deferred)
    assert (deferred.params, deferred.flops) == (params, flops)
    assert Graph.load(tmp_path / "one.graph") == deferred
    deferred.check()
    assert set(vars(deferred)) >= {field.name for field in fields(Graph)}
    assert not set(vars(deferred)) & {"make", "sizes", "inputs"}
    with pytest.raises(AttributeError, match="nothing"):
        deferred.nothing  # noqa: B018


def test_copies_and_pickles_are_ordinary_graphs(deferred: Graph) -> None:
    for other in (copy.copy(deferred), copy.deepcopy(deferred)):
        assert looked_at(other)
        assert other == deferred
    assert pickle.loads(pickle.dumps(deferred)) == deferred
    assert np.array_equal(replace(deferred, exact=False).edges, deferred.edges)


def test_a_deferred_graph_can_be_replaced_and_pickled_before_anything_else() -> None:
    own = space("nasbench_macro")
    arch = own.sample(1, seed=4)[0]
    assert replace(own.graph(arch), exact=False).params == own.graph(arch).params
    assert pickle.loads(pickle.dumps(own.graph(arch))) == own.graph(arch)
    assert "FLOPs" in repr(own.graph(arch))
    assert hash(own.graph(arch)) == hash(own.graph(arch))


def test_threads_that_look_at_once_see_one_graph() -> None:
    own = space("nasbench201")
    graphs = [own.graph(arch) for arch in own.sample(20, seed=6)]
    whole = [own.graph(arch).hash for arch in own.sample(20, seed=6)]
    with ThreadPoolExecutor(8) as pool:
        found = [list(pool.map(lambda _, g=graph: g.hash, range(8))) for graph in graphs]
    assert found == [[one] * 8 for one in whole]


def test_an_architecture_is_checked_before_its_graph_is_made() -> None:
    with pytest.raises(ValueError, match="arch"):
        space("nasbench201").graph("|conv~0|")
    with pytest.raises(ValueError, match="task"):
        space("nasbench201").graph(space("nasbench201").sample(1, seed=0)[0], "imagenet")
