"""Layers: every item lies below its inputs, with few crossings and edges as straight as possible.

Layers follow the longest path and are ordered by barycentre; this layout is our choice. An edge
over several layers runs through lanes of its own, so that no edge crosses a box.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .items import Item
from .style import GAP_X, LANE

_SWEEPS = 8
ENTRY, EXIT = -1, -2
"""What lies outside of a frame, in the place of an item's or a node's index."""

Edge = tuple[int, int]


@dataclass(eq=False)
class Cell:
    """A place in a layer: an item, a lane of a long edge, or the entry or exit of a frame."""

    item: Item | None = None
    x: float = 0.0  # centre
    before: list[Cell] = field(default_factory=list)
    after: list[Cell] = field(default_factory=list)

    @property
    def width(self) -> float:
        return self.item.width + GAP_X if self.item else LANE

    @property
    def height(self) -> float:
        return self.item.height if self.item else 0.0


Layer = list[Cell]


def layers_of(items: Sequence[Item], pairs: Collection[Edge]) -> list[Layer]:
    """Return the items and the lanes of long edges in layers, with horizontal positions.

    Args:
        items: the items in execution order, so that every edge goes forward.
        pairs: the indices of items that an edge joins, or ``ENTRY`` and ``EXIT``.
    """
    layers = _filled(items, pairs)
    _order(layers)
    _spread(layers)
    return layers


def _filled(items: Sequence[Item], pairs: Collection[Edge]) -> list[Layer]:
    """Return the layers, each with its items and lanes, and the entry or the exit."""
    entered, left = any(a == ENTRY for a, _ in pairs), any(b == EXIT for _, b in pairs)
    shift = int(entered)
    depth = _depths(len(items), pairs)
    total = max(depth, default=0) + 1 + shift + int(left)
    cells = {i: Cell(item) for i, item in enumerate(items)}
    level = {i: d + shift for i, d in enumerate(depth)}
    for key, present, last_or_first in ((ENTRY, entered, 0), (EXIT, left, total - 1)):
        if present:
            cells[key], level[key] = Cell(), last_or_first
    layers: list[Layer] = [[] for _ in range(total)]
    for key, cell in cells.items():
        layers[level[key]].append(cell)
    for a, b in sorted(pairs):
        last = cells[a]
        for step in range(level[a] + 1, level[b]):
            lane = Cell()
            layers[step].append(lane)
            _join(last, lane)
            last = lane
        _join(last, cells[b])
    return layers


def _depths(count: int, pairs: Collection[Edge]) -> list[int]:
    """Return the length of the longest path to each item."""
    depth = [0] * count
    inner = sorted((a, b) for a, b in pairs if a >= 0 and b >= 0)
    for a, b in sorted(inner, key=lambda edge: edge[1]):
        depth[b] = max(depth[b], depth[a] + 1)
    fed = {b for _, b in pairs}
    for i in {a for a, _ in inner} - fed:  # it stands right above its first consumer
        depth[i] = min(depth[b] for a, b in inner if a == i) - 1
    return depth


def _order(layers: Sequence[Layer]) -> None:
    """Sort each layer by the mean position of its neighbours, for few crossings."""
    position: dict[Cell, float] = {}
    for layer in layers:
        position.update((cell, float(i)) for i, cell in enumerate(layer))
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = {}
            for cell in layer:
                near = cell.before if down else cell.after
                mean = sum(position[c] for c in near) / len(near) if near else position[cell]
                wanted[cell] = mean
            layer.sort(key=wanted.__getitem__)
            position.update((cell, float(i)) for i, cell in enumerate(layer))


def _spread(layers: Sequence[Layer]) -> None:
    """Move each cell to the mean of its neighbours, for straight edges, and keep the order."""
    for layer in layers:
        _settle(layer, [cell.x for cell in layer])
    for sweep in range(2 * _SWEEPS + 1):  # the last one goes down
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = []
            for cell in layer:
                near = cell.before if down else cell.after
                if cell.item:  # boxes align with boxes, lanes bend
                    near = [c for c in near if c.item] or near
                wanted.append(sum(c.x for c in near) / len(near) if near else cell.x)
            _settle(layer, wanted)


def _join(upper: Cell, lower: Cell) -> None:
    upper.after.append(lower)
    lower.before.append(upper)


def _settle(layer: Layer, wanted: Sequence[float]) -> None:
    """Move cells as near as possible (least squares) to the positions that they want.

    The cells keep their order and do not overlap.

    The method is pool adjacent violators: without the offset of each cell, the order is the
        constraint of isotonic regression.
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
