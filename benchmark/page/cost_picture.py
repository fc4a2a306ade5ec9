"""The picture of what scores cost against what they are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..wording import decimals
from .drawing import LETTER, Scale, label, line, picture, short, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 12, 40  # pixels around the dots

_Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Point:
    """One way of scoring: its median seconds per architecture, and its tau-b."""

    name: str
    kind: str
    seconds: float
    tau: float

    @property
    def drawn(self) -> bool:
        """Whether it has a place on logarithmic time."""
        return self.seconds > 0 and math.isfinite(self.seconds) and math.isfinite(self.tau)


def best_for_their_time(points: Sequence[Point]) -> list[Point]:
    """List those that nothing quicker or as quick equals, the quickest first.

    Example:
        >>> points = [Point("slow", "proxy", 2.0, 0.5), Point("quick", "proxy", 1.0, 0.6)]
        >>> [point.name for point in best_for_their_time(points)]
        ['quick']
    """
    best: list[Point] = []
    ordered = (point for point in points if point.drawn)
    for point in sorted(ordered, key=lambda p: (p.seconds, -p.tau, p.name)):
        if not best or point.tau > best[-1].tau:
            best.append(point)
    return best


def cost_against_quality(
    points: Sequence[Point], reference: Mapping[str, float], width: int = 900, height: int = 460
) -> Markup:
    """Draw seconds (logarithmic) against tau-b, with what is best for its time as a line.

    Args:
        points: without a time they are not drawn.
        reference: name -> tau-b, drawn as lines across.
        width, height: in pixels; a narrow picture is for narrow screens.
    """
    points = [point for point in points if point.drawn]
    if not points:
        return Markup()
    reference = {name: tau for name, tau in reference.items() if math.isfinite(tau)}
    across, up = _scales(points, [*reference.values()], width, height)
    parts = _axes(across, up, width, height)
    boxes: list[_Box] = []
    for name, tau in reference.items():
        words = f"{name} {decimals(tau, 3)}"
        parts.append(line(_LEFT, up(tau), width - _RIGHT, up(tau), "ref"))
        parts.append(label(width - _RIGHT, up(tau) - 4, words, "k e"))
        left = width - _RIGHT - len(words) * LETTER
        boxes.append((left, up(tau) - 13, width, up(tau)))
    parts += _dots(points, across, up, boxes, width)
    return picture(width, height, parts, "cost against quality")


def _scales(
    points: Sequence[Point], references: Sequence[float], width: int, height: int
) -> tuple[Scale, Scale]:
    """Make the scales of time and of tau-b, ending at round values."""
    logs = [math.log10(point.seconds) for point in points]
    low, high = math.floor(min(logs) * 2) / 2, math.ceil(max(logs) * 2 + 0.01) / 2
    # A tenth of the width is left free for the names of the slowest.
    across = Scale(low, high, _LEFT + 10, width - max(_RIGHT, width / 10))
    taus = [point.tau for point in points] + [*references]
    low, high = math.floor(min(*taus, 0.0) * 10) / 10, math.ceil(max(taus) * 10) / 10
    return across, Scale(low, high, height - _BOTTOM, _TOP)


def _axes(across: Scale, up: Scale, width: int, height: int) -> list[str]:
    parts, floor = [], height - _BOTTOM
    for tick in ticks(up.low, up.high, 6):
        parts.append(line(_LEFT, up(tick), width - _RIGHT, up(tick), "grid"))
        parts.append(label(_LEFT - 6, up(tick) + 3.5, decimals(tick, 1), "k e"))
    for power in range(math.ceil(across.low), math.floor(across.high) + 1):
        parts.append(line(across(power), floor, across(power), floor + 4, "axis"))
        parts.append(label(across(power), floor + 16, _round_time(10.0**power), "k m"))
    parts.append(line(_LEFT, floor, width - _RIGHT, floor, "axis"))
    words = "median time per architecture (logarithmic)"
    parts.append(label((_LEFT + width) / 2, height - 6, words, "k m"))
    return parts


def _dots(
    points: Sequence[Point], across: Scale, up: Scale, boxes: list[_Box], width: int
) -> list[str]:
    """Draw dots and the names that find room; those that are best for their time come first."""
    at = {point: (across(math.log10(point.seconds)), up(point.tau)) for point in points}
    best = best_for_their_time(points)
    parts = []
    if len(best) > 1:
        path = "L".join(f"{short(at[point][0])} {short(at[point][1])}" for point in best)
        parts.append(f'<path class="front" d="M{path}"/>')
    boxes += [(x - 4, y - 4, x + 4, y + 4) for x, y in at.values()]
    for point in sorted(points, key=lambda p: (p not in best, -p.tau, p.name)):
        x, y = at[point]
        words = Markup.escape(f"{point.name}: {decimals(point.tau, 3)}")
        parts.append(
            f'<circle class="pt {point.kind}" cx="{short(x)}" cy="{short(y)}" r="4">'
            f"<title>{words}</title></circle>"
        )
        spot = _room(point.name, x, y, boxes, width)
        if spot is not None:
            parts.append(label(*spot, point.name, "k on" if point in best else "k"))
    return parts


def _room(
    text: str, x: float, y: float, boxes: list[_Box], width: float
) -> tuple[float, float] | None:
    """Find a free place for a name near its dot, taken from then on; None if all are taken."""
    wide = len(text) * LETTER
    for dx, dy in (
        (7, 3.5), (-7 - wide, 3.5), (-wide / 2, -8), (-wide / 2, 15), (6, -6), (6, 13),
        (-6 - wide, -6), (-6 - wide, 13),
    ):  # fmt: skip
        box = (x + dx, y + dy - 9, x + dx + wide, y + dy + 2)
        if box[0] < _LEFT + 2 or box[2] > width - 4 or box[1] < 0:
            continue
        if all(b[2] < box[0] or b[0] > box[2] or b[3] < box[1] or b[1] > box[3] for b in boxes):
            boxes.append(box)
            return x + dx, y + dy
    return None


def _round_time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:g} s"
    return f"{seconds * 1e3:g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:g} µs"
