"""How long a forward holds its tensors, against tensors counted one by one."""

from __future__ import annotations

import math

import pytest
from torch import Tensor, nn

import archrank
from archrank.costs.memory import inference_memory
from archrank.data import space
from archrank.graphs import Graph


def counted(graph: Graph) -> tuple[int, int]:
    """Return the most elements alive, step by step: outputs from their making to the last reader;
    so much at least and, if callers hold everything that a module is given, at most."""
    readers: dict[int, list[int]] = {}
    for source, target in graph.edges.tolist():
        readers.setdefault(source, []).append(target)
    nodes = list(graph.nodes)
    most = 0
    for now in range(len(nodes)):
        alive = [
            i
            for i, node in enumerate(nodes)
            if i <= now <= max([i, *readers.get(i, [])]) and node.operator != "output"
        ]
        most = max(most, sum(math.prod(nodes[i].out_shape) for i in alive))
    return most, sum(math.prod(node.out_shape) for node in nodes)


@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "two_path"])
def test_between_what_is_read_later_and_all(name: str) -> None:
    for arch in space(name).sample(2, seed=0):
        graph = space(name).graph(arch)
        least, most = counted(graph)
        in_place = any(node.aten.endswith("_") for node in graph.nodes)
        found = inference_memory(graph)
        assert found.weights == 4 * graph.params
        assert found.rest < 4 * most
        assert in_place or found.rest >= 4 * least
        half = inference_memory(graph, precision="half")
        assert half.peak * 2 == found.peak


def test_a_branch_is_held_until_it_is_added() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept = x.exp()
            for _ in range(3):
                x = x.cos()
            return x + kept

    # The input, which the caller holds, its exponential, one step and the next.
    assert inference_memory(archrank.trace(Net(), (10,))).peak == 4 * 4 * 10


def test_a_module_holds_what_it_is_given_until_it_returns() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = nn.ModuleList([nn.Sigmoid() for _ in range(3)])

        def forward(self, x: Tensor) -> Tensor:
            for step in self.steps:
                x = step(x)
            return x

    # The input, the first part's output, which the second is given, and two steps of the second.
    graph = archrank.trace(nn.Sequential(nn.Tanh(), Chain()), (10,))
    assert inference_memory(graph).peak == 4 * 4 * 10


def test_wider_networks_hold_more() -> None:
    nets = [nn.Sequential(nn.Conv2d(3, w, 3), nn.ReLU(), nn.Conv2d(w, 3, 3)) for w in (4, 8, 16)]
    found = [inference_memory(archrank.trace(net, (3, 16, 16))).peak for net in nets]
    assert found == sorted(set(found))
    assert inference_memory(archrank.trace(nn.Identity(), (5,))).peak == 4 * 5
