"""Repeated blocks of a graph, of which only the first is encoded.

A *bottleneck* is a node that no edge jumps over: every path from before it to after it passes
through it. Bottlenecks cut the graph into segments with one entry and one exit. The order of
segments does not depend on the order in which parallel branches were executed. Equal segments in a
row form a run, which is represented by its first block. This module reads no names, so equal
architectures are folded equally.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...basics import IntArray

LONGEST_PERIOD = 32
"""The most segments that a repeated block may have; longer ones are not found."""

_ENTRY = -1
Key = tuple[object, ...]


def representatives(labels: Sequence[int], edges: IntArray) -> IntArray:
    """Return for each node its representative: itself, unless its block repeats an earlier one.

    Blocks are runs of equal segments between bottlenecks, including blocks inside blocks. Cells
    that read two predecessors, as in DARTS, have no bottleneck between them and stay unfolded. The
    order of operands is ignored, since no encoder sees it.

    Notes:
        This is our choice.

    Args:
        labels: (n,) integers in a topological order of nodes; equal nodes have equal integers.
        edges: (m, 2) of (source, target).

    Returns:
        int array (n,), indices of nodes.

    Example:
        >>> chain = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]])
        >>> representatives([0, 1, 2, 1, 2, 3], chain).tolist()
        [0, 1, 2, 1, 2, 5]
    """
    stops = bottlenecks(len(labels), edges) + 1
    digests = _digests(labels, edges, stops)
    # Sorted by digest, the k-th node of a segment is the k-th node of every equal segment.
    segments = [
        sorted(range(start, stop), key=digests.__getitem__)
        for start, stop in zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True)
    ]
    known: dict[Key, int] = {}
    keys = [known.setdefault(tuple(digests[i] for i in s), len(known)) for s in segments]
    stand = np.arange(len(labels))
    for segment, first in enumerate(_first_blocks(np.array(keys), np.array([*map(len, segments)]))):
        stand[segments[segment]] = segments[first]
    return stand


def bottlenecks(nodes: int, edges: IntArray) -> IntArray:
    """Return the nodes that no edge jumps over, ascending; the last node is always one.

    Example:
        >>> bottlenecks(5, np.array([[0, 1], [0, 2], [1, 3], [2, 3], [3, 4]])).tolist()
        [0, 3, 4]
    """
    reach = np.zeros(nodes + 1, dtype=np.int64)
    np.maximum.at(reach, edges[:, 0] + 1, edges[:, 1])
    return np.flatnonzero(np.maximum.accumulate(reach)[:nodes] <= np.arange(nodes))


def _digests(labels: Sequence[int], edges: IntArray, stops: IntArray) -> list[int]:
    """Return digests that are equal for nodes in equal places of equal segments.

    A digest contains those of the operands, and then those of the consumers.
    """
    n = len(labels)
    segment = np.searchsorted(stops, np.arange(n), side="right").tolist()
    operands: list[list[int]] = [[] for _ in labels]
    consumers: list[list[int]] = [[] for _ in labels]
    for source, target in edges.tolist():
        operands[target].append(source)
        if segment[source] == segment[target]:
            consumers[source].append(target)
    known: dict[Key, int] = {}
    digests: list[int] = []
    for i, label in enumerate(labels):
        inside = (digests[s] if segment[s] == segment[i] else _ENTRY for s in operands[i])
        digests.append(known.setdefault(("down", label, *sorted(inside)), len(known)))
    exits = set((stops - 1).tolist())
    for i in reversed(range(n)):
        above = sorted(digests[t] for t in consumers[i])
        digests[i] = known.setdefault(("up", digests[i], i in exits, *above), len(known))
    return digests


def _first_blocks(keys: IntArray, sizes: IntArray) -> list[int]:
    """Return for each segment the segment that represents it.

    The run that saves the most nodes is folded first. Then its left, its block and its right are
    searched.
    """
    first = list(range(len(keys)))
    parts = [(0, len(keys))]
    while parts:
        low, high = parts.pop()
        start, period, times = _longest_run(keys[low:high], sizes[low:high])
        if times > 1:
            start += low
            stop = start + period * times
            first[start + period : stop] = range(start, stop - period)
            parts += [(low, start), (start, start + period), (stop, high)]
    # Each segment points to an equal one before it or to itself, so one pass finds the first.
    for i, earlier in enumerate(first):
        first[i] = first[earlier]
    return first


def _longest_run(keys: IntArray, sizes: IntArray) -> tuple[int, int, int]:
    """Return (start, period, times) of the run that saves most; times is 1 without repeats."""
    best, most = (0, 1, 1), 0
    before = np.concatenate([[0], np.cumsum(sizes)])
    for period in range(1, min(LONGEST_PERIOD, len(keys) // 2) + 1):
        same = keys[period:] == keys[:-period]
        places = np.arange(len(same) + 1)
        # The end of the equal stretch from each place on, which is the next place that differs.
        ends = np.minimum.accumulate(np.where(np.append(same, False), len(same), places)[::-1])
        repeats = (ends[::-1] - places) // period
        saved = before[places + period * (repeats + 1)] - before[places + period]
        start = int(saved.argmax())
        if saved[start] > most:
            best, most = (start, period, int(repeats[start]) + 1), int(saved[start])
    return best
