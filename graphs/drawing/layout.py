"""Places of layers on the page, and the curves of the edges between them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import sqrt

from .items import Item, Picture
from .layers import ENTRY, EXIT, Edge, Layer, layers_of
from .style import BOX_WIDTH, FRAME, GAP_Y, GUTTER, LINE, PADDING

_ASPECT = 1.5  # width by height, roughly, of a picture in columns
_NO_HEIGHT = 8  # pixels below a layer that holds lanes alone


def lay_out(items: Sequence[Item], edges: Sequence[Edge], columns: bool = False) -> Picture:
    """Place items in layers from top to bottom, those inside frames first.

    Args:
        items: the items to place, in execution order, so that every edge goes forward.
        edges: pairs of node indices, or ``ENTRY`` and ``EXIT`` for nodes that lie outside.
        columns: whether a long picture may be broken into columns.
    """
    pairs, inner = _between(items, edges)
    for i, item in enumerate(items):
        if item.inside:
            item.picture = lay_out(item.inside, inner[i])
            item.width = item.picture.width + 2 * FRAME
            item.height = item.picture.height + 2 * FRAME + LINE
        else:
            item.height = len(item.lines) * LINE + 2 * PADDING
    layers = layers_of(items, pairs)
    heights = [max((cell.height for cell in layer), default=0) for layer in layers]
    breaks = _breaks(layers, heights) if columns else set()
    tops, width, height = _stack(layers, heights, breaks)
    for top, layer in zip(tops, layers, strict=True):
        for cell in layer:
            if cell.item:
                cell.item.x, cell.item.y = cell.x - cell.item.width / 2, top
    return Picture(items, list(_curves(layers, heights, tops, breaks)), width, height)


def _between(
    items: Sequence[Item], edges: Sequence[Edge]
) -> tuple[list[Edge], dict[int, list[Edge]]]:
    """Return the pairs of items that edges join, and for each frame the edges inside it."""
    starts = [item.lo for item in items]
    pairs: dict[Edge, None] = {}  # a dictionary, for its order
    inner: dict[int, dict[Edge, None]] = {i: {} for i, item in enumerate(items) if item.inside}
    for source, target in edges:
        a = source if source < 0 else bisect_right(starts, source) - 1
        b = target if target < 0 else bisect_right(starts, target) - 1
        if a != b:
            pairs[a, b] = None
        for i in {a, b} & inner.keys():
            inner[i].update(dict.fromkeys(_inside(items[i], source, target)))
    return list(pairs), {i: list(found) for i, found in inner.items()}


def _stack(
    layers: Sequence[Layer], heights: Sequence[float], breaks: set[int]
) -> tuple[list[float], float, float]:
    """Stack the layers; return the top of each, and the whole width and height."""
    tops: list[float] = []
    y = left = total = 0.0
    for k, height in enumerate(heights):
        if k in breaks:
            y = 0.0
        tops.append(y)
        total = max(total, y + height)
        y += height + (GAP_Y if height else _NO_HEIGHT)
    for column in _columns(layers, breaks):
        cells = [cell for layer in column for cell in layer]
        low = min((cell.x - cell.width / 2 for cell in cells), default=0)
        for cell in cells:
            cell.x += left - low
        left = _right(column) + GUTTER
    return tops, left - GUTTER, total + (GAP_Y if breaks else 0)


def _curves(
    layers: Sequence[Layer], heights: Sequence[float], tops: Sequence[float], breaks: set[int]
) -> Iterator[tuple[str, bool]]:
    """Yield the path data of each edge, and whether it ends in an item."""
    start = 0
    for k, layer in enumerate(layers):
        start = k if k in breaks else start
        bottom, lane = tops[k] + heights[k], 0
        for cell, other in ((upper, lower) for upper in layer for lower in upper.after):
            end = tops[k + 1]
            head = f"M{cell.x:.1f} {tops[k] + cell.height:.1f}V{bottom:.1f}"
            if k + 1 in breaks:
                gutter = _right(layers[start : k + 1]) + 8 + 7 * (lane % 5)
                lane += 1
                body = f"V{bottom + 12:.1f}H{gutter:.1f}V{end - 14:.1f}H{other.x:.1f}V{end:.1f}"
            elif abs(cell.x - other.x) < 0.5:
                body = f"V{end:.1f}"
            else:
                middle = (bottom + end) / 2
                body = f"C{cell.x:.1f} {middle:.1f} {other.x:.1f} {middle:.1f} "
                body += f"{other.x:.1f} {end:.1f}"
            # A lane runs on through its layer, an exit to the frame's border.
            reach = heights[k + 1] if other.after else FRAME
            tail = "" if other.item else f"V{end + reach:.1f}"
            yield head + body + tail, other.item is not None


def _columns(layers: Sequence[Layer], breaks: set[int]) -> Iterator[Sequence[Layer]]:
    """Yield the layers of each column."""
    starts = [0, *sorted(breaks)]
    for start, end in zip(starts, [*starts[1:], len(layers)], strict=True):
        yield layers[start:end]


def _right(column: Sequence[Layer]) -> float:
    """Return the right end of a column."""
    return max((cell.x + cell.width / 2 for layer in column for cell in layer), default=0)


def _breaks(layers: Sequence[Layer], heights: Sequence[float]) -> set[int]:
    """Choose the layers that begin a column: few edges cross there, and heights are similar."""
    total = sum(heights) + GAP_Y * len(heights)
    width = float(BOX_WIDTH + GUTTER)
    for layer in layers:
        width = max(width, sum(cell.width for cell in layer) + GUTTER)
    count = round(sqrt(_ASPECT * total / width))
    if count < 2:
        return set()
    crossing = [sum(len(cell.after) for cell in layer) for layer in layers]
    starts, y = [], 0.0
    for height in heights:
        starts.append(y)
        y += height + GAP_Y
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


def _inside(frame: Item, source: int, target: int) -> list[Edge]:
    """Return an edge that touches ``frame``, as seen from inside the frame."""

    def folded(node: int) -> int:
        return frame.lo + (node - frame.lo) % frame.period

    comes = source >= 0 and frame.lo <= source < frame.hi
    goes = target >= 0 and frame.lo <= target < frame.hi
    if comes and goes:
        same = (source - frame.lo) // frame.period == (target - frame.lo) // frame.period
        if same:
            return [(folded(source), folded(target))]
        return [(folded(source), EXIT), (ENTRY, folded(target))]
    return [(folded(source), EXIT)] if comes else [(ENTRY, folded(target))]
