"""Folding: the choice of the boxes to draw.

The nodes form the tree of module calls that made them. A chain such as convolution, norm,
activation becomes one box, and equal siblings become one frame with "xN". Then modules become one
box each, deepest first, until few enough boxes are left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from ...formats import count
from ..arrays import Arrays
from ..operators import NORMS, PRODUCTS
from .items import Item, count_boxes
from .labels import TIMES, operation, size_text, tail, where
from .style import ACTIVATIONS, ROOM, family

_LONGEST_PERIOD = 16
_WORTH_FOLDING = 3


def fold(graph: Arrays, max_nodes: int) -> list[Item]:
    """Return the items to draw of a graph, at most ``max_nodes`` boxes in all."""
    return _Folding(graph, max_nodes).items()


@dataclass(eq=False)
class _Span:
    """The nodes ``lo`` to ``hi - 1``, which one call of the module at ``path`` made."""

    path: str
    lo: int
    hi: int
    depth: int
    children: list[_Span] = field(default_factory=list)
    closed: bool = False
    exact: int = 0  # equal for equal operators, shapes and wiring
    alike: int = 0  # equal for equal sequences of operators


class _Folding:
    """The choice of boxes to draw."""

    def __init__(self, graph: Arrays, max_nodes: int):
        self.nodes = list(graph.nodes)
        self.max_nodes = max_nodes
        self.sources: list[list[int]] = [[] for _ in self.nodes]
        self.uses = [0] * len(self.nodes)
        for source, target in graph.edges.tolist():
            self.sources[target].append(source)
            self.uses[source] += 1
        self.keys: dict[tuple[object, ...], int] = {}
        self.spans: list[_Span] = []
        self.root = self._tree(self._chains(), "", 0)

    def _chains(self) -> list[_Span]:
        """Return chains (convolution, norm, activation) as leaves, if only their end is read."""
        chains: list[_Span] = []
        lo = 0
        while lo < len(self.nodes):
            hi = lo + 1
            first = self.nodes[lo].operator
            # A norm after an addition begins the next block.
            allowed = [ACTIVATIONS] if first == "add" else [NORMS, ACTIVATIONS]
            for members in allowed if first in PRODUCTS | NORMS | {"add"} else ():
                follows = hi < len(self.nodes) and self.sources[hi] == [hi - 1]
                if follows and self.uses[hi - 1] == 1 and self.nodes[hi].operator in members:
                    hi += 1
            path = _common([node.module for node in self.nodes[lo:hi]])
            chains.append(self._keyed(_Span(path, lo, hi, 0)))
            lo = hi
        return chains

    def _tree(self, leaves: list[_Span], path: str, depth: int) -> _Span:
        """Return the call of the module at ``path`` that made all leaves."""
        span = _Span(path, leaves[0].lo if leaves else 0, leaves[-1].hi if leaves else 0, depth)
        i = 0
        while i < len(leaves):
            rest = leaves[i].path[len(path) :].lstrip(".") if path else leaves[i].path
            j = i + 1
            if rest:
                below = f"{path}.{rest.split('.')[0]}".lstrip(".")
                while j < len(leaves) and f"{leaves[j].path}.".startswith(f"{below}."):
                    j += 1
            leaf = j == i + 1
            span.children.append(leaves[i] if leaf else self._tree(leaves[i:j], below, depth + 1))
            i = j
        if len(span.children) == 1 and depth > 0:  # a module that only calls another one
            return span.children[0]
        self.spans.append(span)
        return self._keyed(span)

    def _keyed(self, span: _Span) -> _Span:
        """Return numbers for the contents of a span, equal for equal spans."""
        exact, alike = [], []
        for i in range(span.lo, span.hi):
            node = self.nodes[i]
            wiring = tuple(i - s if s >= span.lo else 0 for s in self.sources[i])
            facts = (*node.attributes.items(), node.in_shape, node.out_shape)
            exact.append((node.operator, facts, wiring))
            alike.append(node.operator)
        span.exact = self.keys.setdefault(("exact", *exact), len(self.keys))
        span.alike = self.keys.setdefault(("alike", *alike), len(self.keys))
        return span

    def items(self) -> list[Item]:
        """Return the items to draw, at most ``max_nodes`` boxes in all."""
        while True:
            items = self._open(self.root)
            if count_boxes(items) <= self.max_nodes:
                return items
            groups: dict[tuple[int, int], list[_Span]] = {}
            for span in self.spans:
                if span is not self.root and not span.closed:
                    groups.setdefault((span.depth, span.alike), []).append(span)
            if not groups:
                break
            # Deepest first, among those the most numerous, among those the first.
            deepest = max(depth for depth, _ in groups)
            several = [group for (depth, _), group in groups.items() if depth == deepest]
            for span in max(several, key=len):
                span.closed = True
        size = ceil(len(items) / self.max_nodes)
        runs = [items[i : i + size] for i in range(0, len(items), size)]
        return [self._module("", run[0].lo, run[-1].hi) if len(run) > 1 else run[0] for run in runs]

    def _open(self, span: _Span) -> list[Item]:
        """Return the items of a span's children; equal neighbours become one item."""
        children = span.children
        keys = [child.alike if child.closed else child.exact for child in children]
        items: list[Item] = []
        i = 0
        while i < len(children):
            period, times = _repetition(keys, i)
            one = [item for child in children[i : i + period] for item in self._item(child)]
            if times > 1 and (times > 2 or count_boxes(one) >= _WORTH_FOLDING):
                last = children[i + period * times - 1]
                first, end = children[i].path, children[i + period * (times - 1)].path
                if len(one) == 1 and not one[0].inside and one[0].times == 1:
                    one[0].times, one[0].hi = times, last.hi
                    one[0].lines[0] += f"  {TIMES}{times}"
                    one[0].tip += f"\nrepeated {times} times, up to {last.path}"
                    items += one
                else:
                    label = f"{TIMES}{times}   {first}" + (f" … {end}" if end != first else "")
                    items.append(Item(one[0].lo, last.hi, times, [label], inside=one))
                i += period * times
            else:
                items += self._item(children[i])
                i += 1
        return items

    def _item(self, span: _Span) -> list[Item]:
        """Return a span as one box, or as the items of its children."""
        if span.closed:
            return [self._module(span.path, span.lo, span.hi)]
        if span.children:
            return self._open(span)
        nodes = self.nodes[span.lo : span.hi]
        first = nodes[0]
        lines = [
            operation(first),
            " · ".join(map(operation, nodes[1:])),
            where(nodes[-1], span.path),
        ]
        tip = "\n".join(
            f"{node.operator} ({node.aten}) in {node.module or 'the model itself'}: "
            f"{size_text(node.in_shape)} → {size_text(node.out_shape)}, "
            f"{count(node.flops, 3)} FLOPs"
            for node in nodes
        )
        return [Item(span.lo, span.hi, 1, [s for s in lines if s], family(first.operator), tip)]

    def _module(self, path: str, lo: int, hi: int) -> Item:
        """Return one box that lists the contents of a whole module."""
        nodes = self.nodes[lo:hi]
        counts = Counter(node.operator for node in nodes).most_common()
        parts = [f"{count} {name}" for name, count in counts]
        shown, size = ", ".join(parts), len(parts)
        while len(shown) > ROOM and size > 1:
            size -= 1
            shown = ", ".join(parts[:size]) + f", {len(parts) - size} more"
        name = path or f"{hi - lo} operators"
        tip = f"{name}: {', '.join(parts)}, {count(sum(n.flops for n in nodes), 3)} FLOPs"
        lines = [tail(name, ROOM - 5), shown, size_text(nodes[-1].out_shape)]
        return Item(lo, hi, 1, lines, tip=tip)


def _repetition(keys: Sequence[int], start: int) -> tuple[int, int]:
    """Return the period and the repeats that cover most from ``start`` on; (1, 1) if none."""
    best = (1, 1)
    for period in range(1, min(_LONGEST_PERIOD, (len(keys) - start) // 2) + 1):
        pattern, times = keys[start : start + period], 1
        at = start + period
        while keys[at : at + period] == pattern:
            times, at = times + 1, at + period
        if times > 1 and period * (times - 1) > best[0] * (best[1] - 1):
            best = (period, times)
    return best


def _common(paths: Sequence[str]) -> str:
    """Return the deepest module that holds all paths."""
    split = [path.split(".") for path in paths]
    shared: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)
