"""The pictures of the page, as inline SVG; colours come from the page's own style sheet.

Whatever is written into a picture is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from ..basics import Array
from .results import Figure

_MOST_POINTS = 1500  # in one scatter plot: more are only ink
_LETTER = 6.1  # mean width of one at 10.5 pixels, to keep labels apart


@dataclass(frozen=True)
class Scale:
    """Values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def spanning(figures: Sequence[Figure], width: float) -> Scale:
    """A scale that holds zero and all intervals."""
    ends = [0.0]
    for figure in figures:
        ends += [e for e in (figure.value, figure.low, figure.high) if math.isfinite(e)]
    return Scale(min(ends), max(ends), 4, width - 4)


def interval(
    figure: Figure, scale: Scale, reference: float | None = None, small: bool = False
) -> str:
    """A dot and its interval; a hairline at zero, and one at a reference value."""
    width, height, radius = scale.end + 4, 8 if small else 14, 2.0 if small else 2.8
    middle = height / 2
    parts = [_line(scale(0.0), 0, scale(0.0), height, "axis")]
    if reference is not None and math.isfinite(reference):
        parts.append(_line(scale(reference), 0, scale(reference), height, "ref"))
    if math.isfinite(figure.value):
        if math.isfinite(figure.low):
            parts.append(_line(scale(figure.low), middle, scale(figure.high), middle, "iv"))
        parts.append(
            f'<circle class="pt" cx="{_n(scale(figure.value))}" cy="{_n(middle)}" r="{radius}"/>'
        )
    kind = "mark small" if small else "mark"
    return (
        f'<svg class="{kind}" width="{_n(width)}" height="{height}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def axis(scale: Scale) -> str:
    """The numbers above a column of intervals."""
    width = scale.end + 4
    parts = []
    for tick in (0.0, 0.5, 1.0):
        if scale.low <= tick <= scale.high:
            parts.append(_line(scale(tick), 13, scale(tick), 17, "axis"))
            parts.append(f'<text class="k m" x="{_n(scale(tick))}" y="10">{tick:g}</text>')
    return (
        f'<svg class="mark" width="{_n(width)}" height="17" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def scatter(score: Array, truth: Array, direction: float, title: str, caption: str) -> str:
    """Rank by score against label, each architecture a dot; better is right, and up."""
    width, height, left, bottom, top = 232, 176, 40, 22, 30
    known = np.isfinite(score)
    score, truth_here = score[known], truth[known]
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable") + 1.0
    if len(np.unique(score)) < len(score):
        rank = pd.Series(score).rank().to_numpy()
    across = Scale(1, max(len(rank), 2), left + 4, width - 6)
    up = Scale(float(truth.min()), float(truth.max()), height - bottom - 4, top + 4)
    step = max(1, math.ceil(len(rank) / _MOST_POINTS))
    dots = "".join(
        f"M{_n(across(r))} {_n(up(t))}h0"
        for r, t in zip(rank[::step], truth_here[::step], strict=True)
    )
    parts = [
        f'<text class="t" x="{left}" y="11">{escape(title)}</text>',
        f'<text class="c" x="{left}" y="24">{escape(caption)}</text>',
        _line(left, height - bottom, width, height - bottom, "axis"),
    ]
    for tick in _ticks(up.low, up.high, 4):
        parts.append(_line(left, up(tick), width, up(tick), "grid"))
        label = _plain(tick * direction)
        parts.append(f'<text class="k e" x="{left - 5}" y="{_n(up(tick) + 3)}">{label}</text>')
    parts.append(f'<path class="dots" d="{dots}"/>')
    parts.append(f'<text class="k" x="{left}" y="{height - 7}">worst</text>')
    parts.append(
        f'<text class="k m" x="{(left + width) / 2}" y="{height - 7}">rank by score</text>'
    )
    parts.append(f'<text class="k e" x="{width}" y="{height - 7}">best</text>')
    return _picture(width, height, parts, f"{title}: rank by score against the label")


def agreement(matrix: pd.DataFrame) -> str:
    """Tau-b between any two scores, those that agree beside one another; the lower triangle."""
    known = matrix.notna().sum() > 1
    matrix = matrix.loc[known, known]
    names = _clustered(matrix)
    if len(names) < 2:
        return ""
    values = matrix.loc[names, names].to_numpy(dtype=np.float64)
    cell = 15 if len(names) <= 32 else 13
    left = 12 + _LETTER * max(len(name) for name in names)
    size = cell * len(names)
    height = size + left
    parts = []
    for row, first in enumerate(names):
        middle = row * cell + cell / 2 + 3.5
        parts.append(
            f'<text class="k e" x="{_n(left - 6)}" y="{_n(middle)}">{escape(first)}</text>'
        )
        x, y = left + row * cell + cell / 2 + 3.5, size + 6
        parts.append(
            f'<text class="k e" transform="translate({_n(x)} {_n(y)}) rotate(-90)">'
            f"{escape(first)}</text>"
        )
        for column, second in enumerate(names[:row]):
            tau = float(values[row, column])
            what = f"{escape(first)} and {escape(second)}: {_signed(tau)}"
            paint = (
                f'class="{"pos" if tau >= 0 else "neg"}" fill-opacity="{_n(abs(tau))}"'
                if math.isfinite(tau)
                else 'class="none"'
            )
            parts.append(
                f'<rect {paint} x="{_n(left + column * cell)}" y="{row * cell}" '
                f'width="{cell - 1}" height="{cell - 1}"><title>{what}</title></rect>'
            )
    parts += _legend(left + size * 0.55, 8)
    return _picture(left + size + 8, height, parts, "agreement of the scores with one another")


def cost_against_quality(
    points: Sequence[tuple[str, str, float, float]], reference: Mapping[str, float]
) -> str:
    """Seconds (logarithmic) against tau-b, with the best that any given time buys as a line.

    Args:
        points: name, class, seconds, tau-b.
        reference: name -> tau-b, drawn as lines across.
    """
    width, height, left, bottom, top, right = 900, 460, 44, 40, 12, 16
    points = [p for p in points if p[2] > 0 and all(map(math.isfinite, p[2:]))]
    if not points:
        return ""
    logs = [math.log10(p[2]) for p in points]
    across = Scale(
        math.floor(min(logs) * 2) / 2, math.ceil(max(logs) * 2 + 0.01) / 2, left + 10, width - 90
    )
    taus = [p[3] for p in points] + [v for v in reference.values() if math.isfinite(v)]
    up = Scale(
        math.floor(min(*taus, 0) * 10) / 10,
        math.ceil(max(taus) * 10) / 10,
        height - bottom,
        top,
    )
    parts = []
    for tick in _ticks(up.low, up.high, 6):
        parts.append(_line(left, up(tick), width - right, up(tick), "grid"))
        parts.append(
            f'<text class="k e" x="{left - 6}" y="{_n(up(tick) + 3.5)}">{_signed(tick, 1)}</text>'
        )
    for power in range(math.ceil(across.low), math.floor(across.high) + 1):
        x = across(power)
        parts.append(_line(x, height - bottom, x, height - bottom + 4, "axis"))
        parts.append(
            f'<text class="k m" x="{_n(x)}" y="{height - bottom + 16}">{_time(10.0**power)}</text>'
        )
    parts.append(_line(left, height - bottom, width - right, height - bottom, "axis"))
    parts.append(
        f'<text class="k m" x="{(left + width) / 2}" y="{height - 6}">'
        "median time per architecture (logarithmic)</text>"
    )
    boxes: list[_Box] = []
    for name, tau in reference.items():
        if math.isfinite(tau):
            parts.append(_line(left, up(tau), width - right, up(tau), "ref"))
            label = f"{name} {_signed(tau)}"
            boxes.append((width - right - len(label) * _LETTER, up(tau) - 13, width, up(tau)))
            parts.append(
                f'<text class="k e" x="{width - right}" y="{_n(up(tau) - 4)}">'
                f"{escape(label)}</text>"
            )
    placed = [(name, kind, across(math.log10(s)), up(tau), tau) for name, kind, s, tau in points]
    front = _front(placed)
    if len(front) > 1:
        path = "M" + "L".join(f"{_n(x)} {_n(y)}" for _, _, x, y, _ in front)
        parts.append(f'<path class="front" d="{path}"/>')
    boxes += [(x - 4, y - 4, x + 4, y + 4) for _, _, x, y, _ in placed]
    on_front = {point[0] for point in front}
    for name, kind, x, y, tau in sorted(placed, key=lambda p: (p[0] not in on_front, -p[4], p[0])):
        parts.append(
            f'<circle class="pt {kind}" cx="{_n(x)}" cy="{_n(y)}" r="4">'
            f"<title>{escape(name)}: {_signed(tau)}</title></circle>"
        )
        spot = _room(name, x, y, boxes, width)
        if spot is not None:
            strong = " on" if name in on_front else ""
            parts.append(
                f'<text class="k{strong}" x="{_n(spot[0])}" y="{_n(spot[1])}">{escape(name)}</text>'
            )
    return _picture(width, height, parts, "cost against quality")


# --- pieces ---------------------------------------------------------------------------------------

_Placed = tuple[str, str, float, float, float]
_Box = tuple[float, float, float, float]


def _front(placed: Sequence[_Placed]) -> list[_Placed]:
    """Those that nothing quicker beats, quickest first."""
    front: list[_Placed] = []
    for point in sorted(placed, key=lambda p: (p[2], p[3], p[0])):
        if not front or point[4] > front[-1][4]:
            front.append(point)
    return front


def _room(
    text: str, x: float, y: float, boxes: list[_Box], width: float
) -> tuple[float, float] | None:
    """A free place for a label near its dot, taken from then on; None if all are taken."""
    wide = len(text) * _LETTER
    for dx, dy in (
        (7, 3.5), (-7 - wide, 3.5), (-wide / 2, -8), (-wide / 2, 15), (6, -6), (6, 13),
        (-6 - wide, -6), (-6 - wide, 13),
    ):  # fmt: skip
        box = (x + dx, y + dy - 9, x + dx + wide, y + dy + 2)
        if box[0] < 46 or box[2] > width - 4 or box[1] < 0:
            continue
        if all(b[2] < box[0] or b[0] > box[2] or b[3] < box[1] or b[1] > box[3] for b in boxes):
            boxes.append(box)
            return x + dx, y + dy
    return None


def _clustered(matrix: pd.DataFrame) -> list[str]:
    """Names in an order that puts scores of much agreement beside one another."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    names = [str(name) for name in matrix.index]
    if len(names) < 3:
        return names
    distance = 1 - matrix.fillna(0).to_numpy(dtype=np.float64)
    np.fill_diagonal(distance, 0)
    condensed = squareform((distance + distance.T) / 2, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    return [names[index] for index in leaves_list(tree)]


def _legend(x: float, y: float) -> list[str]:
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    parts = []
    for index, step in enumerate(steps):
        kind = "pos" if step >= 0 else "neg"
        at = x + index * 30
        parts.append(
            f'<rect class="{kind}" fill-opacity="{_n(max(abs(step), 0.04))}" x="{_n(at)}" '
            f'y="{y}" width="29" height="10"/>'
        )
        parts.append(f'<text class="k m" x="{_n(at + 15)}" y="{y + 22}">{_signed(step, 1)}</text>')
    return parts


def _picture(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round values inside a range."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 10) for i in range(count)]


def _n(value: float) -> str:
    """A coordinate, as short as it can be."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _plain(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:g} s"
    return f"{seconds * 1e3:g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:g} µs"
