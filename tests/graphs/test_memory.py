"""Memory of a forward, against tensors counted one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import archrank
from archrank.data import space
from archrank.graphs import Graph
from archrank.graphs.memory import forward_memory


def counted(graph: Graph) -> int:
    """The most elements alive: step by step, each output from its making to its last reader."""
    readers: dict[int, list[int]] = {}
    for source, target in graph.edges.tolist():
        readers.setdefault(source, []).append(target)
    most = 0
    for now in range(len(graph)):
        alive = [
            i
            for i, node in enumerate(graph.nodes)
            if i <= now <= max([i, *readers.get(i, [])]) and node.operator != "output"
        ]
        most = max(most, sum(math.prod(graph.nodes[i].out_shape) for i in alive))
    return most


@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "two_path"])
def test_against_a_walk_through_the_graph(name: str) -> None:
    for arch in space(name).sample(2, seed=0):
        graph = space(name).graph(arch)
        assert forward_memory(graph) == 4 * (graph.params + counted(graph))
        assert forward_memory(graph, 2) * 2 == forward_memory(graph)


def test_a_branch_is_held_until_it_is_added() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept = x.exp()
            for _ in range(3):
                x = x.cos()
            return x + kept

    # x, its exponential and one step, or one step, the next and the exponential.
    assert forward_memory(archrank.trace(Net(), (10,))) == 4 * 3 * 10


def test_wider_networks_hold_more() -> None:
    nets = [nn.Sequential(nn.Conv2d(3, w, 3), nn.ReLU(), nn.Conv2d(w, 3, 3)) for w in (4, 8, 16)]
    found = [forward_memory(archrank.trace(net, (3, 16, 16))) for net in nets]
    assert found == sorted(set(found))
    assert forward_memory(archrank.trace(nn.Identity(), (5,))) == 4 * 5
    assert torch.is_tensor(nets[0](torch.randn(1, 3, 16, 16)))
