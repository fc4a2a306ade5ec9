"""Boxes and frames, and the picture that they are placed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .style import BOX_WIDTH, MODULE


@dataclass(eq=False)
class Item:
    """One box, or a frame with items inside; it stands for ``times`` equal runs of nodes."""

    lo: int
    hi: int
    times: int = 1
    lines: list[str] = field(default_factory=list)
    family: str = MODULE[0]
    tip: str = ""
    inside: list[Item] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    width: float = BOX_WIDTH
    height: float = 0.0
    picture: Picture | None = None

    @property
    def period(self) -> int:
        return (self.hi - self.lo) // self.times


@dataclass(frozen=True)
class Picture:
    """Items that have been placed, and the curves between them.

    Attributes:
        paths: (SVG path data, whether the curve ends in an item) of each edge.
    """

    items: Sequence[Item]
    paths: Sequence[tuple[str, bool]]
    width: float
    height: float


def boxes(items: Sequence[Item]) -> Iterator[Item]:
    """Yield all boxes, including those inside frames."""
    for item in items:
        if item.inside:
            yield from boxes(item.inside)
        else:
            yield item


def count_boxes(items: Sequence[Item]) -> int:
    """Return the number of boxes, including those inside frames."""
    return sum(1 for _ in boxes(items))
