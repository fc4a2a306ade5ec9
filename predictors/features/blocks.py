"""The part of a graph that carries signal, divided into blocks so that equal ones are read once.

A node is alive if a path from an input to an output goes through it without a product with zero.
A block lies between two nodes that every path passes and where paths part or meet, such as the sums
that end cells and residual blocks. Results computed from a block depend only on the block, and are
cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...basics import IntArray
from ...graphs import Graph
from ...graphs.operators import CANONICAL_ID
from .cache import once_per_graph
from .operator_classes import CLASSES, classes_of
from .repeats import bottlenecks

KEPT = 20_000
"""The number of blocks whose results are cached."""
END = len(CLASSES)
"""The class of the virtual node after all outputs."""


class Alive(NamedTuple):
    """The part of a graph that carries signal.

    Attributes:
        nodes: (n,) positions in the graph, ascending.
        edges: (m, 2) of (source, target) as positions in ``nodes``, by target.
    """

    nodes: IntArray
    edges: IntArray


@once_per_graph
def alive(graph: Graph) -> Alive:
    """Return the alive nodes and the edges between them."""
    inputs, outputs = (graph.operator == CANONICAL_ID[name] for name in ("input", "output"))
    here = graph.operator != CANONICAL_ID["zero"]
    edges = graph.edges.astype(np.int64)
    while True:
        edges = edges[here[edges].all(axis=1)]
        fed, read = inputs.copy(), outputs.copy()
        fed[edges[:, 1]] = read[edges[:, 0]] = True
        left = here & fed & read
        if left.sum() == here.sum():
            break
        here = left
    nodes = np.flatnonzero(here)
    edges = (np.cumsum(here) - 1)[edges]
    return Alive(nodes, edges[np.argsort(edges[:, 1], kind="stable")])


class Block(NamedTuple):
    """Consecutive alive nodes, hashable; equal blocks have equal paths.

    Attributes:
        classes: the positions in ``CLASSES`` of its nodes; ``END`` is the virtual node after all
            outputs.
        edges: int64 (m, 2) of (source, target) as bytes, by target; the source -1 is the last
            node of the block before.
    """

    classes: bytes
    edges: bytes

    def nodes(self) -> Iterator[tuple[int, list[int]]]:
        """Return the class of each node and its operands."""
        operands: list[list[int]] = [[] for _ in self.classes]
        for source, target in np.frombuffer(self.edges, np.int64).reshape(-1, 2).tolist():
            operands[target].append(source)
        return zip(self.classes, operands, strict=True)


@once_per_graph
def blocks(graph: Graph) -> list[Block]:
    """Return the blocks of the alive part, in order; none if no input reaches an output."""
    nodes, edges = alive(graph)
    n = len(nodes)
    if not n:
        return []
    operator = graph.operator[nodes]
    outputs = np.flatnonzero(operator == CANONICAL_ID["output"])
    edges = np.concatenate([edges, np.stack([outputs, np.full(len(outputs), n)], 1)])
    consumers, operands = (np.bincount(edges[:, side], minlength=n + 1) for side in (0, 1))
    passed = bottlenecks(n + 1, edges)
    parts = (consumers[passed] > 1) | (operands[passed] > 1) | (passed == n)
    # Paths from a later input do not pass the nodes before it.
    ends = passed[parts & (passed >= np.flatnonzero(operator == CANONICAL_ID["input"])[-1])]
    classes = np.append(classes_of(graph)[nodes], END).astype(np.uint8).tobytes()
    cuts = np.searchsorted(edges[:, 1], ends + 1).tolist()
    made = []
    start = first = 0
    for end, cut in zip(ends.tolist(), cuts, strict=True):
        made.append(Block(classes[start : end + 1], (edges[first:cut] - start).tobytes()))
        start, first = end + 1, cut
    return made
