"""Pictures of graphs as SVG: repeated stages folded, big models summarised by module.

Three steps. *Fold*: the nodes are arranged as the tree of module calls that made them; chains such
as convolution, norm, activation become one box, equal siblings one frame with "xN", and modules
are closed to one box, deepest first, until few enough boxes are left. *Lay out*: boxes stand in
layers, an edge over several layers runs through lanes of its own, so that no edge crosses a box.
*Write*: plain SVG that reads on light and dark pages.
"""

from __future__ import annotations

import importlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from ..errors import InputError
from .operators import CANONICAL, NORMS, PRODUCTS, RECTIFIERS

if TYPE_CHECKING:
    from .graph import Graph, Node

_ACTIVATIONS = RECTIFIERS | frozenset(
    "elu hardsigmoid sigmoid tanh hardtanh softplus threshold glu softmax".split()
)
_FAMILIES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("input, output", "#d3d8e0", frozenset({"input", "output"})),
    ("convolution", "#9ecbf5", frozenset(n for n in CANONICAL if "conv" in n)),
    ("linear, product", "#c3b5f2", PRODUCTS | {"embedding", "cdist", "linear_algebra"}),
    ("norm", "#b9e3c0", NORMS | {"norm"}),
    ("activation", "#f9d48a", _ACTIVATIONS),
    (
        "pool, reduction",
        "#f6b3a8",
        frozenset(
            "max_pool avg_pool global_avg_pool mean sum extremum variance cumulative sort "
            "loss".split()
        ),
    ),
    (
        "arithmetic",
        "#f3c1dd",
        frozenset(
            "add sub mul div pow sqrt exp log neg trigonometric clamp round compare where "
            "fourier".split()
        ),
    ),
    ("unknown", "#ff8f8f", frozenset({"unknown"})),
)
_MOVE, _MODULE = ("move", "#d9d2c3"), ("module", "#e9ecf1")
_COLOURS = {name: colour for name, colour, _ in _FAMILIES} | dict((_MOVE, _MODULE))

_INK, _GREY = "#1b1f24", "#7b818c"  # grey has the same contrast on white and on black
_BOX_WIDTH, _LINE, _PADDING = 208, 15, 6
_CHARACTER = 6.9  # width of one in the widest of the fonts named below
_ROOM = int((_BOX_WIDTH - 10) / _CHARACTER)
_GAP_X, _GAP_Y, _LANE = 18, 26, 12
_MARGIN, _GUTTER, _FRAME = 16, 44, 12
_ASPECT = 1.5
_LONGEST_PERIOD = 16
_TIMES = "\N{MULTIPLICATION SIGN}"
_WORTH_FOLDING = 3
_SWEEPS = 8
_ENTRY, _EXIT = -1, -2
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Edge = tuple[int, int]


def draw(
    graph: Graph, path: str | Path | None = None, *, title: str | None = None, max_nodes: int = 60
) -> str:
    """A readable picture of ``graph`` as SVG text, written to ``path`` if one is given.

    Repeated modules are drawn once with "xN"; where more than ``max_nodes`` boxes remain, whole
    modules become one box that says what it holds. Hovering a box shows its modules. The same
    graph gives the same text. The layout is ours: layers by longest path, ordered by barycentre.

    Args:
        graph: what to draw.
        path: a file ending in .svg; .png and .pdf work where the package cairosvg is installed.
        title: heading of the picture.
        max_nodes: the largest number of boxes.

    Raises:
        InputError: ``max_nodes`` is below 1, or ``path`` ends in something else or needs cairosvg.

    Example:
        >>> import torch
        >>> import archrank
        >>> block = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
        >>> graph = archrank.trace(torch.nn.Sequential(*[block] * 5), (8,))
        >>> graph.draw().count('class="box"')    # input, one layer five times, output
        3
    """
    if max_nodes < 1:
        raise InputError(f"max_nodes: got {max_nodes}, expected at least 1 box")
    target = None if path is None else Path(path)
    if target is not None and target.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InputError(f"path: got {str(target)!r}, expected a name ending in .svg, .png or .pdf")
    items = _Folding(graph, max_nodes).items()
    svg = _svg(graph, items, title or "Computation graph")
    if target is None:
        return svg
    if target.suffix.lower() == ".svg":
        target.write_text(svg, encoding="utf-8")
        return svg
    try:
        cairosvg = importlib.import_module("cairosvg")
    except (ImportError, OSError) as error:  # OSError: the cairo library itself is missing
        raise InputError(
            f"path: {str(target)!r} needs the package 'cairosvg', which cannot be imported "
            f"({error}). Run `pip install cairosvg`, or give a path that ends in .svg"
        ) from error
    convert = cairosvg.svg2png if target.suffix.lower() == ".png" else cairosvg.svg2pdf
    convert(bytestring=svg.encode(), write_to=str(target))
    return svg


# --- folding --------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Span:
    """The nodes ``lo`` to ``hi - 1``, made by one call of the module at ``path``."""

    path: str
    lo: int
    hi: int
    depth: int
    children: list[_Span] = field(default_factory=list)
    closed: bool = False
    exact: int = 0  # equal for equal operators, shapes and wiring
    alike: int = 0  # equal for equal sequences of operators


@dataclass(eq=False)
class _Item:
    """One box, or a frame with items inside; it stands for ``times`` equal runs of nodes."""

    lo: int
    hi: int
    times: int = 1
    lines: list[str] = field(default_factory=list)
    family: str = _MODULE[0]
    tip: str = ""
    inside: list[_Item] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    width: float = _BOX_WIDTH
    height: float = 0.0
    picture: _Layout | None = None

    @property
    def period(self) -> int:
        return (self.hi - self.lo) // self.times


class _Folding:
    """Which boxes to draw."""

    def __init__(self, graph: Graph, max_nodes: int):
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
        """Runs like convolution, norm, activation that nothing else taps, as one leaf each."""
        chains: list[_Span] = []
        lo = 0
        while lo < len(self.nodes):
            hi = lo + 1
            first = self.nodes[lo].operator
            # A norm after an addition begins the next block.
            allowed = [_ACTIVATIONS] if first == "add" else [NORMS, _ACTIVATIONS]
            for kinds in allowed if first in PRODUCTS | NORMS | {"add"} else ():
                follows = hi < len(self.nodes) and self.sources[hi] == [hi - 1]
                if follows and self.uses[hi - 1] == 1 and self.nodes[hi].operator in kinds:
                    hi += 1
            path = _common([node.module for node in self.nodes[lo:hi]])
            chains.append(self._keyed(_Span(path, lo, hi, 0)))
            lo = hi
        return chains

    def _tree(self, leaves: list[_Span], path: str, depth: int) -> _Span:
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

    def items(self) -> list[_Item]:
        """The items to draw, at most ``max_nodes`` boxes in all."""
        while True:
            items = self._open(self.root)
            if _boxes(items) <= self.max_nodes:
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

    def _open(self, span: _Span) -> list[_Item]:
        children = span.children
        keys = [child.alike if child.closed else child.exact for child in children]
        items: list[_Item] = []
        i = 0
        while i < len(children):
            period, times = _repetition(keys, i)
            one = [item for child in children[i : i + period] for item in self._item(child)]
            if times > 1 and (times > 2 or _boxes(one) >= _WORTH_FOLDING):
                last = children[i + period * times - 1]
                first, end = children[i].path, children[i + period * (times - 1)].path
                if len(one) == 1 and not one[0].inside and one[0].times == 1:
                    one[0].times, one[0].hi = times, last.hi
                    one[0].lines[0] += f"  {_TIMES}{times}"
                    one[0].tip += f"\nrepeated {times} times, up to {last.path}"
                    items += one
                else:
                    label = f"{_TIMES}{times}   {first}" + (f" … {end}" if end != first else "")
                    items.append(_Item(one[0].lo, last.hi, times, [label], inside=one))
                i += period * times
            else:
                items += self._item(children[i])
                i += 1
        return items

    def _item(self, span: _Span) -> list[_Item]:
        if span.closed:
            return [self._module(span.path, span.lo, span.hi)]
        if span.children:
            return self._open(span)
        nodes = self.nodes[span.lo : span.hi]
        first = nodes[0]
        lines = [_name(first), " · ".join(map(_name, nodes[1:])), _where(nodes[-1], span.path)]
        tip = "\n".join(
            f"{node.operator} ({node.aten}) in {node.module or 'the model itself'}: "
            f"{_size(node.in_shape)} → {_size(node.out_shape)}, {_human(node.flops)} FLOPs"
            for node in nodes
        )
        return [_Item(span.lo, span.hi, 1, [s for s in lines if s], _family(first.operator), tip)]

    def _module(self, path: str, lo: int, hi: int) -> _Item:
        nodes = self.nodes[lo:hi]
        counts = Counter(node.operator for node in nodes).most_common()
        parts = [f"{count} {name}" for name, count in counts]
        shown, size = ", ".join(parts), len(parts)
        while len(shown) > _ROOM and size > 1:
            size -= 1
            shown = ", ".join(parts[:size]) + f", {len(parts) - size} more"
        name = path or f"{hi - lo} operators"
        tip = f"{name}: {', '.join(parts)}, {_human(sum(n.flops for n in nodes))} FLOPs"
        lines = [_tail(name, _ROOM - 5), shown, _size(nodes[-1].out_shape)]
        return _Item(lo, hi, 1, lines, tip=tip)


def _repetition(keys: Sequence[int], start: int) -> tuple[int, int]:
    """The period and number of repeats that cover most from ``start`` on; (1, 1) if none."""
    best = (1, 1)
    for period in range(1, min(_LONGEST_PERIOD, (len(keys) - start) // 2) + 1):
        pattern, times = keys[start : start + period], 1
        at = start + period
        while keys[at : at + period] == pattern:
            times, at = times + 1, at + period
        if times > 1 and period * (times - 1) > best[0] * (best[1] - 1):
            best = (period, times)
    return best


def _boxes(items: Iterable[_Item]) -> int:
    return sum(_boxes(item.inside) if item.inside else 1 for item in items)


def _common(paths: Sequence[str]) -> str:
    """The deepest module that holds all paths."""
    split = [path.split(".") for path in paths]
    shared: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _family(operator: str) -> str:
    return next((name for name, _, members in _FAMILIES if operator in members), _MOVE[0])


def _name(node: Node) -> str:
    facts = node.attributes
    parts = [node.operator if node.operator != "unknown" else node.aten]
    kernel = [facts[f"kernel{axis}"] for axis in range(3) if f"kernel{axis}" in facts]
    if kernel:
        parts.append(_TIMES.join(map(str, kernel)))
    strides = [facts.get(f"stride{axis}", 1) for axis in range(3)]
    if max(strides) > 1:
        parts.append(f"/{max(strides)}")
    if node.operator != "depthwise_conv" and facts.get("groups", 1) > 1:
        parts.append(f"in {facts['groups']} groups")
    if facts.get("heads", 0) > 1:
        parts.append(f"{facts['heads']} heads")
    return " ".join(parts)


def _where(node: Node, path: str) -> str:
    size = _size(node.out_shape)
    return f"{size}   {_tail(path, _ROOM - len(size) - 3)}" if path else size


def _size(shape: Sequence[int]) -> str:
    """A shape without its batch dimension."""
    return _TIMES.join(map(str, shape[1:])) or "scalar"


def _human(count: float) -> str:
    for unit in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.4g}T"


# --- layout ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Cell:
    """A place in a layer: an item, a lane of a long edge, or the entry or exit of a frame."""

    item: _Item | None = None
    x: float = 0.0  # centre
    before: list[_Cell] = field(default_factory=list)
    after: list[_Cell] = field(default_factory=list)

    @property
    def width(self) -> float:
        return self.item.width + _GAP_X if self.item else _LANE

    @property
    def height(self) -> float:
        return self.item.height if self.item else 0.0


class _Layout:
    """Places items in layers from top to bottom; ``paths`` are the edges' curves.

    Args:
        items: what to place, in execution order (so every edge goes forward).
        edges: pairs of node indices, or ``_ENTRY`` and ``_EXIT`` for what lies outside.
        columns: whether a long picture may be broken into columns.
    """

    def __init__(self, items: list[_Item], edges: Sequence[Edge], columns: bool = False):
        self.items = items
        self.width = self.height = 0.0
        self.paths: list[tuple[str, bool]] = []  # path data, whether it ends in an item
        starts = [item.lo for item in items]
        pairs: dict[Edge, None] = {}
        inner: dict[int, dict[Edge, None]] = {i: {} for i, item in enumerate(items) if item.inside}
        for source, target in edges:
            a = source if source < 0 else bisect_right(starts, source) - 1
            b = target if target < 0 else bisect_right(starts, target) - 1
            if a != b:
                pairs[a, b] = None
            for i in {a, b} & inner.keys():
                for edge in _inside(items[i], source, target, a, b):
                    inner[i][edge] = None
        for i, item in enumerate(items):
            if item.inside:
                item.picture = _Layout(item.inside, list(inner[i]))
                item.width = item.picture.width + 2 * _FRAME
                item.height = item.picture.height + 2 * _FRAME + _LINE
            else:
                item.height = len(item.lines) * _LINE + 2 * _PADDING
        self.layers = self._layers(list(pairs))
        self._order()
        self._spread()
        self._place(columns)

    def _layers(self, pairs: list[Edge]) -> list[list[_Cell]]:
        n = len(self.items)
        depth = [0] * n
        inner = sorted((a, b) for a, b in pairs if a >= 0 and b >= 0)
        for a, b in sorted(inner, key=lambda edge: edge[1]):
            depth[b] = max(depth[b], depth[a] + 1)
        fed = {b for a, b in pairs}
        first = {a: min(depth[b] for s, b in inner if s == a) for a, _ in inner}
        for i in range(n):  # what has no operands stands right above its first consumer
            if i not in fed and i in first:
                depth[i] = first[i] - 1
        entered, left = any(a == _ENTRY for a, _ in pairs), any(b == _EXIT for _, b in pairs)
        shift = int(entered)
        total = max(depth, default=0) + 1 + shift + int(left)
        layers: list[list[_Cell]] = [[] for _ in range(total)]
        cells = {i: _Cell(item) for i, item in enumerate(self.items)}
        level = {i: depth[i] + shift for i in range(n)}
        for key, present, where in ((_ENTRY, entered, 0), (_EXIT, left, total - 1)):
            if present:
                cells[key], level[key] = _Cell(), where
        for key, cell in cells.items():
            layers[level[key]].append(cell)
        for a, b in sorted(pairs):
            last = cells[a]
            for step in range(level[a] + 1, level[b]):
                lane = _Cell()
                layers[step].append(lane)
                _join(last, lane)
                last = lane
            _join(last, cells[b])
        return layers

    def _order(self) -> None:
        """Fewer crossings: each layer sorted by the mean position of its neighbours."""
        position: dict[_Cell, float] = {}
        for layer in self.layers:
            position.update((cell, float(i)) for i, cell in enumerate(layer))
        for sweep in range(_SWEEPS):
            down = sweep % 2 == 0
            for layer in self.layers if down else reversed(self.layers):
                wanted = {}
                for cell in layer:
                    near = cell.before if down else cell.after
                    mean = sum(position[c] for c in near) / len(near) if near else position[cell]
                    wanted[cell] = mean
                layer.sort(key=wanted.__getitem__)
                position.update((cell, float(i)) for i, cell in enumerate(layer))

    def _spread(self) -> None:
        """Straight edges: each cell moves to the mean of its neighbours, keeping the order."""
        for layer in self.layers:
            _settle(layer, [cell.x for cell in layer])
        for sweep in range(2 * _SWEEPS + 1):  # the last one goes down
            down = sweep % 2 == 0
            for layer in self.layers if down else reversed(self.layers):
                wanted = []
                for cell in layer:
                    near = cell.before if down else cell.after
                    if cell.item:  # boxes align with boxes, lanes bend
                        near = [c for c in near if c.item] or near
                    wanted.append(sum(c.x for c in near) / len(near) if near else cell.x)
                _settle(layer, wanted)

    def _place(self, columns: bool) -> None:
        heights = [max((cell.height for cell in layer), default=0) for layer in self.layers]
        breaks = self._breaks(heights) if columns else set()
        left, y = 0.0, 0.0
        tops: list[float] = []
        block: list[int] = []

        def close_column(left: float) -> float:
            cells = [cell for k in block for cell in self.layers[k]]
            low = min((cell.x - cell.width / 2 for cell in cells), default=0)
            high = max((cell.x + cell.width / 2 for cell in cells), default=0)
            for cell in cells:
                cell.x += left - low
            return left + high - low

        for k, height in enumerate(heights):
            if k in breaks:
                left, y, block = close_column(left) + _GUTTER, 0.0, []
            block.append(k)
            tops.append(y)
            y += height + (_GAP_Y if height else 8)
            self.height = max(self.height, y - (_GAP_Y if height else 8))
        self.width = close_column(left)
        if breaks:
            self.height += _GAP_Y
        for k, layer in enumerate(self.layers):
            for cell in layer:
                if cell.item:
                    cell.item.x, cell.item.y = cell.x - cell.item.width / 2, tops[k]
        for k, layer in enumerate(self.layers):
            bottom = tops[k] + heights[k]
            lane = 0
            for cell in layer:
                for other in cell.after:
                    start = tops[k] + cell.height
                    head = f"M{cell.x:.1f} {start:.1f}V{bottom:.1f}"
                    end = tops[k + 1]
                    if k + 1 in breaks:
                        edge = max(c.x + c.width / 2 for b in self._column(k, breaks) for c in b)
                        gutter, lane = edge + 8 + 7 * (lane % 5), lane + 1
                        body = f"V{bottom + 12:.1f}H{gutter:.1f}V{end - 14:.1f}H{other.x:.1f}"
                        body += f"V{end:.1f}"
                    elif abs(cell.x - other.x) < 0.5:
                        body = f"V{end:.1f}"
                    else:
                        middle = (bottom + end) / 2
                        body = (
                            f"C{cell.x:.1f} {middle:.1f} {other.x:.1f} {middle:.1f} "
                            f"{other.x:.1f} {end:.1f}"
                        )
                    # A lane runs on through its layer, an exit to the frame's border.
                    reach = heights[k + 1] if other.after else _FRAME
                    tail = "" if other.item else f"V{end + reach:.1f}"
                    self.paths.append((head + body + tail, other.item is not None))

    def _column(self, k: int, breaks: set[int]) -> list[list[_Cell]]:
        """The layers of the column that ends with layer ``k``."""
        start = max((b for b in breaks if b <= k), default=0)
        return self.layers[start : k + 1]

    def _breaks(self, heights: list[float]) -> set[int]:
        """Layers that begin a new column: where few edges cross, near equal heights."""
        total = sum(heights) + _GAP_Y * len(heights)
        width = float(_BOX_WIDTH + _GUTTER)
        for layer in self.layers:
            width = max(width, sum(cell.width for cell in layer) + _GUTTER)
        count = round(sqrt(_ASPECT * total / width))
        if count < 2:
            return set()
        crossing = [sum(len(cell.after) for cell in layer) for layer in self.layers]
        starts, y = [], 0.0
        for height in heights:
            starts.append(y)
            y += height + _GAP_Y
        chosen: set[int] = set()
        for part in range(1, count):
            ideal = total * part / count
            near = [
                k
                for k in range(1, len(heights))
                if abs(starts[k] - ideal) < 0.4 * total / count and crossing[k - 1] <= 3
            ]
            if near:
                chosen.add(min(near, key=lambda k: (crossing[k - 1], abs(starts[k] - ideal))))
        return chosen


def _inside(frame: _Item, source: int, target: int, a: int, b: int) -> list[Edge]:
    """What an edge that touches ``frame`` looks like from inside it."""

    def fold(node: int) -> int:
        return frame.lo + (node - frame.lo) % frame.period

    comes = source >= 0 and frame.lo <= source < frame.hi
    goes = target >= 0 and frame.lo <= target < frame.hi
    if comes and goes:
        same = (source - frame.lo) // frame.period == (target - frame.lo) // frame.period
        if same:
            return [(fold(source), fold(target))]
        return [(fold(source), _EXIT), (_ENTRY, fold(target))]
    return [(fold(source), _EXIT)] if comes else [(_ENTRY, fold(target))]


def _join(upper: _Cell, lower: _Cell) -> None:
    upper.after.append(lower)
    lower.before.append(upper)


def _settle(layer: list[_Cell], wanted: Sequence[float]) -> None:
    """The places nearest to those wanted (least squares) that keep order and do not overlap.

    Pool adjacent violators: take off each cell's own offset, and the order constraint is that of
    isotonic regression.
    """
    offsets, offset = [], 0.0
    for i, cell in enumerate(layer):
        offset += (layer[i - 1].width + cell.width) / 2 if i else 0.0
        offsets.append(offset)
    pools: list[list[float]] = []  # sum of weighted values, weight, members
    for cell, want, off in zip(layer, wanted, offsets, strict=True):
        weight = 4.0 if cell.item else 1.0
        pools.append([(want - off) * weight, weight, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            last = pools.pop()
            pools[-1] = [p + q for p, q in zip(pools[-1], last, strict=True)]
    i = 0
    for value, weight, members in pools:
        for _ in range(int(members)):
            layer[i].x = value / weight + offsets[i]
            i += 1


# --- writing --------------------------------------------------------------------------------------


def _svg(graph: Graph, items: list[_Item], title: str) -> str:
    layout = _Layout(items, [(s, t) for s, t in graph.edges.tolist()], columns=True)
    used = {box.family for box in _all_boxes(items)}
    legend = [name for name in _COLOURS if name in used]
    width = max(layout.width, 430.0) + 2 * _MARGIN
    facts = (
        f"{_human(graph.params)} params · {_human(graph.flops)} FLOPs · depth {graph.depth} · "
        f"{len(graph)} nodes in {_boxes(items)} boxes"
    )
    title = _clip(title, int((width - 2 * _MARGIN) / 9.5))
    body = [
        f'<text class="t" x="{_MARGIN}" y="28">{_text(title)}</text>',
        f'<text class="o" x="{_MARGIN}" y="47">{_text(facts)}</text>',
    ]
    x, y = float(_MARGIN), 58.0
    for name in legend:
        step = 30 + 6.4 * len(name)
        if x + step > width - _MARGIN and x > _MARGIN:
            x, y = float(_MARGIN), y + 18
        body.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="12" height="12" rx="2" '
            f'fill="{_COLOURS[name]}" stroke="{_GREY}"/>'
            f'<text class="o" x="{x + 16:.1f}" y="{y + 10:.1f}">{name}</text>'
        )
        x += step
    top = y + 34
    _write(layout, _MARGIN, top, 1, body)
    height = top + layout.height + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{_text(title)}">\n'
        "<style>text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;font-size:11px}"
        f".t{{font-size:17px;font-weight:bold;fill:{_GREY}}}.o{{fill:{_GREY}}}"
        f".b{{font-weight:bold;fill:{_INK}}}.s{{fill:{_INK};opacity:.8}}"
        f"path{{fill:none;stroke:{_GREY};stroke-width:1.4}}</style>\n"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8Z" style="fill:{_GREY};stroke:none"/>'
        "</marker></defs>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _all_boxes(items: Iterable[_Item]) -> list[_Item]:
    found: list[_Item] = []
    for item in items:
        found += _all_boxes(item.inside) if item.inside else [item]
    return found


def _write(layout: _Layout, dx: float, dy: float, times: int, body: list[str]) -> None:
    for item in layout.items:
        x, y = item.x + dx, item.y + dy
        place = f'x="{x:.1f}" y="{y:.1f}" width="{item.width:.1f}" height="{item.height:.1f}"'
        if item.picture:
            label = _clip(item.lines[0], int((item.width - 20) / _CHARACTER))
            body.append(
                f'<rect class="frame" {place} rx="8" fill="{_GREY}" fill-opacity=".09" '
                f'stroke="{_GREY}" stroke-dasharray="5 3"/>'
                f'<text class="o" x="{x + 10:.1f}" y="{y + 14:.1f}" font-weight="bold">'
                f"{_text(label)}</text>"
            )
            _write(item.picture, x + _FRAME, y + _FRAME + _LINE, times * item.times, body)
            continue
        body.append(
            f'<g class="box" data-nodes="{item.period}" data-times="{times * item.times}">'
            f"<title>{_text(item.tip)}</title>"
            f'<rect {place} rx="5" fill="{_COLOURS[item.family]}" stroke="{_GREY}"/>'
        )
        for i, line in enumerate(item.lines):
            kind = "s" if i else "b"
            body.append(
                f'<text class="{kind}" x="{x + 8:.1f}" y="{y + _PADDING + 11 + _LINE * i:.1f}">'
                f"{_text(_clip(line, _ROOM))}</text>"
            )
        body.append("</g>")
    for path, arrow in layout.paths:
        end = ' marker-end="url(#a)"' if arrow else ""
        body.append(f'<path transform="translate({dx:.1f} {dy:.1f})" d="{path}"{end}/>')


def _clip(text: str, room: int) -> str:
    """The text, its end left out where it is too long."""
    return text if len(text) <= room else text[: max(room - 1, 1)] + "…"


def _tail(text: str, room: int) -> str:
    """The text, its beginning left out where it is too long: a path's end says most."""
    return text if len(text) <= room else "…" + text[len(text) - max(room - 1, 1) :]


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("�", text), {'"': "&quot;"})
