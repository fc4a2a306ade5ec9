"""How much memory a forward holds, read out of the graph."""

from __future__ import annotations

import numpy as np

from .features import output_elements
from .graph import Graph
from .operators import CANONICAL_ID


def forward_memory(graph: Graph, element_bytes: int = 4) -> int:
    """Bytes of all weights and of the most that is alive at once in one forward.

    An operator's output, and an input, is alive from when it is made until its last reader has run,
    in the order in which the graph was traced. Outputs written in place count as new ones, buffers
    that an operator uses inside itself do not count. Source: our choice.

    Args:
        graph: of one sample, as ``archrank.trace`` makes it.
        element_bytes: of weights and activations, 4 in single precision.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Linear(10, 30), torch.nn.Linear(30, 5))
        >>> graph = archrank.trace(net, (10,))
        >>> forward_memory(graph) // 4 - graph.params  # the first layer's input and output
        40
    """
    elements = output_elements(graph)
    elements[graph.operator == CANONICAL_ID["output"]] = 0  # what it reads is there already
    nodes = np.arange(len(graph))
    last = nodes.copy()
    source, target = graph.edges.astype(np.int64).T
    np.maximum.at(last, source, target)
    change = np.zeros(len(graph) + 1, dtype=np.int64)
    np.add.at(change, nodes, elements)
    np.add.at(change, last + 1, -elements)
    return element_bytes * (graph.params + int(change.cumsum().max(initial=0)))
