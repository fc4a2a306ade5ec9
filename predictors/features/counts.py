"""Counts of paths, edges and neighbourhoods in a graph.

The vocabulary is open: ``Features`` keeps the names that it was fitted to. The steps of a path are
the operators that compute or pool. Operators between them (norms, activations, sums) are skipped,
and operators that carry no signal are not counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...graphs import Graph
from .blocks import END, KEPT, Block, alive, blocks
from .operator_classes import CLASSES, STEPS, classes_of, marked_classes

LONGEST = 4
"""The largest number of steps in a path; only the latest steps are kept."""
_MOST = 256  # the most paths of one block; only the most frequent are kept

Path = tuple[int, ...]
PathCounts = dict[Path, float]


def path_counts(graph: Graph) -> dict[str, float]:
    """Count how often each sequence of steps occurs, along the paths of blocks and anywhere.

    A block lies between two nodes that every path passes, such as the sums that end cells and
    residual blocks, or nodes where paths part. Each of its paths is counted as a ``path`` and,
    regardless of order, as a ``bag``; ``length`` counts steps and ``pair`` counts adjacent steps.
    Graphs whose cells read two earlier cells hardly have such blocks. For them, ``chain`` counts
    three steps in a row anywhere.

    Notes:
        This is our choice.

    Example:
        >>> from archrank.data import space
        >>> cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|"
        >>> counts = path_counts(space("nasbench201").graph(cell))
        >>> counts["path conv3 conv1"], counts["length 0"]
        (15.0, 15.0)
    """
    found: defaultdict[str, float] = defaultdict(float)
    for path, count in _of_blocks(graph).items():
        steps = [STEPS[operator] for operator in path]
        found[" ".join(["path", *steps])] += count
        found[" ".join(["bag", *sorted(steps)])] += count
        found[f"length {len(steps)}"] += count
        for first, second in pairwise(steps):
            found[f"pair {first} {second}"] += count
    for path, count in _chains(graph).items():
        found[" ".join(["chain", *(STEPS[operator] for operator in path)])] += count
    return dict(found)


def _of_blocks(graph: Graph) -> PathCounts:
    """Count the paths of all blocks that have more than one path."""
    return _merged([_paths(block) for block in blocks(graph)])


@lru_cache(maxsize=KEPT)
def _paths(block: Block) -> PathCounts:
    """Count the paths of a block; there are none if they do not meet or the block ends the
    graph."""
    ending: list[PathCounts] = []  # the paths from the beginning of the block to each node
    operands: list[int] = []
    for operator, operands in block.nodes():
        here = _merged([ending[i] if i >= 0 else {(): 1.0} for i in operands]) or {(): 1.0}
        if operator < len(STEPS):
            here = _with_step(here, operator, LONGEST)
        if len(here) > _MOST:
            here = dict(sorted(here.items(), key=lambda item: (-item[1], item[0]))[:_MOST])
        ending.append(here)
    return ending[-1] if len(operands) > 1 and block.classes[-1] != END else {}


class _Chains(NamedTuple):
    """Chains of a block; open chains began before it and lack their first steps."""

    found: PathCounts
    found_open: PathCounts
    ending: PathCounts
    ending_open: PathCounts


def _chains(graph: Graph) -> PathCounts:
    """Count three steps in a row, and fewer at the beginning of the graph.

    Each way back from the last step counts by its share in a random walk. So many skipped blocks do
    not increase the counts.
    """
    found: PathCounts = {}
    before: PathCounts = {(): 1.0}  # the last two steps before a block
    for block in blocks(graph):
        chains = _chains_of(block)
        found = _merged([found, chains.found, _continued(before, chains.found_open, 3)])
        before = _merged([chains.ending, _continued(before, chains.ending_open, 2)])
    return found


@lru_cache(maxsize=KEPT)
def _chains_of(block: Block) -> _Chains:
    found: PathCounts = {}
    found_open: PathCounts = {}
    ending: list[tuple[PathCounts, PathCounts]] = []  # the last two steps before a node's consumers
    entry: tuple[PathCounts, PathCounts] = ({}, {(): 1.0})
    for operator, operands in block.nodes():
        met = [ending[i] if i >= 0 else entry for i in operands] or [entry]
        here, here_open = (
            _merged([counts[side] for counts in met], 1.0 / len(met)) for side in (0, 1)
        )
        if operator < len(STEPS):
            found_open = _merged([found_open, _with_step(here_open, operator, 3)])
            found = _merged([found, _with_step(here, operator, 3)])
            # A chain that began before the block and has two steps in it is complete.
            longer = _with_step(here_open, operator, 2)
            whole: PathCounts = {path: share for path, share in longer.items() if len(path) == 2}
            here = _merged([_with_step(here, operator, 2), whole])
            here_open = {path: share for path, share in longer.items() if len(path) < 2}
        ending.append((here, here_open))
    return _Chains(found, found_open, *ending[-1])


def _continued(before: PathCounts, chains: PathCounts, longest: int) -> PathCounts:
    """Return open chains with the steps before them."""
    continued: PathCounts = {}
    for first, share in before.items():
        for path, count in chains.items():
            longer = (*first, *path)[-longest:]
            continued[longer] = continued.get(longer, 0.0) + share * count
    return continued


def _merged(several: Sequence[PathCounts], share: float = 1.0) -> PathCounts:
    if len(several) == 1 and share == 1.0:
        return several[0]
    total: PathCounts = {}
    for counts in several:
        for path, count in counts.items():
            total[path] = total.get(path, 0.0) + count * share
    return total


def _with_step(counts: PathCounts, operator: int, longest: int) -> PathCounts:
    extended: PathCounts = {}
    for path, count in counts.items():
        longer = (*path, operator)[-longest:]
        extended[longer] = extended.get(longer, 0.0) + count
    return extended


def edge_counts(graph: Graph) -> dict[str, float]:
    """Count operators and edges between operators, with their strides and dilations.

    Norms and activations of one operand are skipped. So ``edge add add`` is a skip from one sum to
    the next, whatever norms and activations it contains. ``/`` marks a stride, ``~`` a dilation.

    Notes:
        This is our choice.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(),
        ...                           torch.nn.Conv2d(4, 4, 3, dilation=2))
        >>> counts = edge_counts(archrank.trace(net, (3, 16, 16)))
        >>> counts["operator conv3~"], counts["edge conv3/ conv3~"]
        (1.0, 1.0)
    """
    nodes, edges = alive(graph)
    classes = classes_of(graph)[nodes]
    named = marked_classes(graph)[nodes].tolist()
    operands: list[list[int]] = [[] for _ in named]
    for source, target in edges.tolist():
        operands[target].append(source)
    counts: defaultdict[str, float] = defaultdict(float)
    origin = list(range(len(named)))
    for node, (operator, sources) in enumerate(zip(classes.tolist(), operands, strict=True)):
        if operator in _PASSED_OVER and len(sources) == 1:
            origin[node] = origin[sources[0]]
            continue
        counts[f"operator {named[node]}"] += 1.0
        for source in sources:
            counts[f"edge {named[origin[source]]} {named[node]}"] += 1.0
    return dict(counts)


_PASSED_OVER = {CLASSES.index("norm"), CLASSES.index("activation")}


def neighbourhood_counts(graph: Graph, rounds: int = 3) -> dict[str, float]:
    """Count the Weisfeiler-Lehman labels of alive nodes in every round.

    In round 0, a node's label is its class. Each round adds the labels of operands and of
    consumers, regardless of order. Labels are 64-bit sums, so two neighbourhoods share a label only
    by accident. Dot products of such counts are the Weisfeiler-Lehman subtree kernel.

    Source: Shervashidze et al., "Weisfeiler-Lehman graph kernels", JMLR 2011.

    Notes:
        Directed edges and operator classes as labels are our choice.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))
        >>> neighbourhood_counts(archrank.trace(net, (4,)), rounds=0)
        {'activation': 1.0, 'linear': 2.0, 'other': 2.0}
    """
    nodes, edges = alive(graph)
    source, target = edges.T
    classes, numbers = np.unique(classes_of(graph)[nodes], return_counts=True)
    counts = {
        CLASSES[operator]: float(n)
        for operator, n in zip(classes.tolist(), numbers.tolist(), strict=True)
    }
    labels = _scattered(classes_of(graph)[nodes].astype(np.uint64))
    for _ in range(rounds):
        before, after = np.zeros_like(labels), np.zeros_like(labels)
        np.add.at(before, target, _scattered(labels[source]))
        np.add.at(after, source, _scattered(labels[target] ^ _CONSUMER))
        labels = _scattered(labels + _scattered(before) * _BEFORE + _scattered(after) * _AFTER)
        found, numbers = np.unique(labels, return_counts=True)
        for label, number in zip(found.tolist(), numbers.tolist(), strict=True):
            counts[f"{label:016x}"] = float(number)
    return dict(sorted(counts.items()))


_CONSUMER, _BEFORE, _AFTER = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
)


def _scattered(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return values with their bits spread over all 64, so that their sums identify multisets.

    Source: the finaliser of splitmix64 (Steele et al., OOPSLA 2014).
    """
    mixed = values + _CONSUMER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
