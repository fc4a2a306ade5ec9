"""Counts of the operators in a network's cells, by their place on the paths through the cell.

``counts`` finds no blocks in networks whose cells read two earlier cells. This module divides even
such graphs into cells. It distinguishes cells that reduce the resolution from cells that keep it,
and inputs from the previous cell from inputs from an earlier one.

Notes:
    All of this is our choice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...basics import Array
from ...graphs import Graph
from ...graphs.features import resolution
from .blocks import KEPT, alive, blocks
from .cache import once_per_graph
from .operator_classes import STEPS, marked_classes

FARTHEST = 2  # the latest entry of a cell is distinguished from earlier ones
_END = "end"
_WIRING = "wiring"


class Cell(NamedTuple):
    """The nodes between two ends of cells, hashable; equal cells have equal counts.

    Attributes:
        classes: the classes of its nodes in order, with marks of strides and dilations; the last
            node is the cell's end.
        operands: for each node, its operands as positions in the cell; -1 is the latest outside
            node that the cell reads, and -2 an earlier one.
        reduces: whether its end has a lower resolution than the latest outside node that it reads.
    """

    classes: tuple[str, ...]
    operands: tuple[tuple[int, ...], ...]
    reduces: bool


class Arc(NamedTuple):
    """The steps between two junctions, with its source (an entry if below 0) and its target."""

    path: str
    source: int
    target: int


def cell_counts(graph: Graph) -> dict[str, float]:
    """Count the arcs that random walks meet, and their places, in cells that keep the resolution.

    A cell ends where every path passes and several meet, and at concatenations of sums. An arc is
    the sequence of steps between two nodes where paths meet or part. A 1x1 convolution that reads
    another cell first only adapts the width, and belongs to no arc. Walks go from a cell's end back
    to its entries and choose each operand with equal probability. Each arc has its expected
    ``visits`` and the shares of walks whose ``last`` or ``first`` arc it is. The share for
    ``first`` is counted by entry, where 1 is the latest. Walks have their mean ``length`` and the
    ``depth`` of the longest. The counts of all cells are added.

    Example:
        >>> from archrank.data import space
        >>> cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|"
        >>> counts = cell_counts(space("nasbench201").graph(cell))
        >>> counts["visits conv3 conv1"], counts["last skip"]
        (7.5, 7.5)
    """
    return _added(cell for cell in cells(graph) if not cell.reduces)


def reduction_counts(graph: Graph) -> dict[str, float]:
    """Return the same counts for the cells that reduce the resolution, which are few."""
    return _added(cell for cell in cells(graph) if cell.reduces)


def _added(some: Iterable[Cell]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for cell in some:
        for path, count in counts_of(cell).items():
            found[path] += count
    return dict(found)


@once_per_graph
def cells(graph: Graph) -> list[Cell]:
    """Return the cells that have more than one path, in order."""
    nodes, edges = alive(graph)
    n = len(nodes)
    if not n:
        return []
    classes = marked_classes(graph)[nodes].tolist()
    made = resolution(graph)[nodes]
    extent = np.maximum(made[:, 1], made[:, 3])
    operands: list[list[int]] = [[] for _ in range(n)]
    consumers: list[list[int]] = [[] for _ in range(n)]
    for source, target in edges.tolist():
        operands[target].append(source)
        consumers[source].append(target)
    ends = _ends(graph, classes, operands)
    first_end = [n] * n
    for node in reversed(range(n)):
        after = min((first_end[consumer] for consumer in consumers[node]), default=n)
        first_end[node] = node if node in ends else after
    members: dict[int, list[int]] = {end: [] for end in sorted(ends)}
    for node, end in enumerate(first_end):
        if end < n:
            members[end].append(node)
    return [
        _cell(inside, classes, operands, extent)
        for inside in members.values()
        if any(len(operands[node]) > 1 for node in inside)
    ]


def _ends(graph: Graph, classes: list[str], operands: list[list[int]]) -> set[int]:
    """Return the nodes where cells end: ends of blocks, and concatenations of sums."""
    sizes = [len(block.classes) for block in blocks(graph)]
    ends = set((np.cumsum(sizes) - 1).tolist())
    ends.discard(len(classes))  # the virtual node after all outputs
    for node, operator in enumerate(classes):
        if operator == "concat" and any(classes[source] == "add" for source in operands[node]):
            ends.add(node)
    return ends


def _cell(inside: list[int], classes: list[str], operands: list[list[int]], extent: Array) -> Cell:
    place = {node: i for i, node in enumerate(inside)}
    outside = sorted({s for node in inside for s in operands[node]} - set(place), reverse=True)
    for rank, source in enumerate(outside):
        place[source] = -1 - min(rank, FARTHEST - 1)
    return Cell(
        tuple(classes[node] for node in inside),
        tuple(tuple(place[source] for source in operands[node]) for node in inside),
        bool(outside) and bool(extent[inside[-1]] < extent[outside[0]]),
    )


class _Way(NamedTuple):
    """The way to a node: the steps since the last junction or entry, and which that is.

    ``fitted`` says whether a convolution that adapts the width lies between.
    """

    steps: tuple[str, ...]
    origin: int
    fitted: bool = False


def arcs_of(cell: Cell) -> list[Arc]:
    """Return the arcs of a cell, by target."""
    readers = np.zeros(len(cell.classes) + FARTHEST, dtype=int)
    for sources in cell.operands:
        np.add.at(readers, list(sources), 1)  # entries count from the back
    arcs = []
    ways: list[_Way] = []
    last = len(cell.classes) - 1
    for node, (operator, sources) in enumerate(zip(cell.classes, cell.operands, strict=True)):
        before = [ways[s] if s >= 0 else _Way((), s) for s in sources] or [_Way((), -1)]
        way = before[0]
        halves = operator == "concat" and not way.steps and len(set(before)) == 1
        if len(sources) > 1 and not halves:
            arcs += [Arc(_named(cell, one, operator), one.origin, node) for one in before]
            way = _Way((), node)
        if _is_step(operator):
            alone = way.origin < 0 and readers[way.origin] == 1
            if operator.startswith("conv1") and alone and not way.steps and not way.fitted:
                way = way._replace(fitted=True)
            else:
                way = way._replace(steps=(*way.steps, operator))
        if len(sources) < 2 and (node == last or (way.steps and readers[node] > 1)):
            arcs.append(Arc(" ".join(way.steps) or _WIRING, way.origin, node))
            way = _Way((), node)
        ways.append(way)
    return arcs


def _named(cell: Cell, way: _Way, operator: str) -> str:
    """Return the path of an arc; without steps, it is a skip between sums or else plain wiring."""
    if way.steps:
        return " ".join(way.steps)
    from_concat = way.origin >= 0 and cell.classes[way.origin] == "concat"
    return _WIRING if operator == "concat" or from_concat else "skip"


def _is_step(operator: str) -> bool:
    return operator.rstrip("/~") in STEPS


@lru_cache(maxsize=KEPT)
def counts_of(cell: Cell) -> dict[str, float]:
    """Return the counts of one cell."""
    arcs = arcs_of(cell)
    depth = dict.fromkeys(range(-FARTHEST, len(cell.classes)), 0)
    for arc in arcs:
        depth[arc.target] = max(depth[arc.target], depth[arc.source] + (arc.path != _WIRING))
    return {"depth": float(max(depth.values())), **_walks(cell, arcs)}


def _walks(cell: Cell, arcs: list[Arc]) -> dict[str, float]:
    """Return the counts of arcs on random walks from the end back to the entries."""
    counts: defaultdict[str, float] = defaultdict(float)
    number = np.bincount([arc.target for arc in arcs], minlength=len(cell.classes)).tolist()
    # The previous arc, nearer to the end -> the share of walks that arrive by it.
    coming: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    coming[len(cell.classes) - 1][_END] = 1.0
    for arc in reversed(arcs):
        shares = {path: share / number[arc.target] for path, share in coming[arc.target].items()}
        total = sum(shares.values())
        if arc.path == _WIRING:
            for path, share in shares.items():
                coming[arc.source][path] += share
            continue
        counts[f"visits {arc.path}"] += total
        counts[f"last {arc.path}"] += shares.get(_END, 0.0)
        counts["length"] += total
        coming[arc.source][arc.path] += total
    for entry in range(-FARTHEST, 0):
        for path, share in coming[entry].items():
            counts[f"first {path} of {-entry}"] += share
    return counts
