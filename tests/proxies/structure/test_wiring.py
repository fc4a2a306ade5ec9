"""The graph of channels, channel by channel."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archrank


def test_nasgraph_channel_by_channel() -> None:
    """The graph of channels of a network with a shortcut and with groups, edge by edge."""

    class Wired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.grouped = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1, groups=2)
            self.back, self.head = nn.Conv2d(6, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = self.back(torch.relu(self.grouped(x)))
            return self.head((x + y).mean((2, 3)))

    net = nx.DiGraph()

    def join(source: str, target: str, pairs) -> None:
        net.add_edges_from(((source, a), (target, b)) for a, b in pairs)

    join("input", "stem", itertools.product(range(3), range(4)))
    join("stem", "grouped", [(a, b) for a in range(4) for b in range(6) if a // 2 == b // 3])
    join("grouped", "relu", [(c, c) for c in range(6)])
    join("relu", "back", itertools.product(range(6), range(4)))
    join("stem", "add", [(c, c) for c in range(4)])
    join("back", "add", [(c, c) for c in range(4)])
    join("add", "mean", [(c, c) for c in range(4)])
    join("mean", "head", itertools.product(range(4), range(2)))
    join("head", "output", [(c, c) for c in range(2)])
    scores = archrank.score(Wired(), (3, 5, 5), proxies="nasgraph,nasgraph_density")
    degrees = [degree for _, degree in net.degree()]
    assert scores["nasgraph"].value == pytest.approx(np.mean(degrees))
    assert scores["nasgraph_density"].value == pytest.approx(
        net.number_of_edges() / net.number_of_nodes() ** 2
    )
