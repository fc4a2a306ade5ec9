"""Made-up graphs that graph networks are traced and scored on."""

from __future__ import annotations

import torch
from torch import Tensor

NODES = 64


def made_up_graph(features: int, parts: int = 1) -> tuple[Tensor, Tensor]:
    """Make features and edges of 64 nodes, always the same, on the CPU.

    Each part has a ring and as many random chords as nodes, every edge in both directions, none
    from a node to itself.

    Args:
        features: the number of features of each node, which are normally distributed.
        parts: the number of graphs of equal size, without edges between them.
    """
    side = NODES // parts
    with torch.device("cpu"):
        generator = torch.Generator().manual_seed(0)
        nodes = torch.arange(NODES)
        first, place = nodes - nodes % side, nodes % side
        steps = torch.randint(2, side // 2, (NODES,), generator=generator)
        ring = torch.stack([nodes, first + (place + 1) % side])
        chords = torch.stack([nodes, first + (place + steps) % side])
        edges = torch.cat([ring, chords], 1)
        edges = torch.cat([edges, edges.flip(0)], 1).unique(dim=1)
        return torch.randn(NODES, features, generator=generator), edges
