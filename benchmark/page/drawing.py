"""The pieces that pictures are drawn from, as inline SVG; colours come from the page's style sheet.

Whatever is written into a picture is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

LETTER = 6.1  # mean width of one at 10.5 pixels, to keep labels apart


@dataclass(frozen=True)
class Scale:
    """A line that values lie on: from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def picture(width: float, height: float, parts: Sequence[str], label: str) -> Markup:
    """Put parts together as a picture that scales, with words for those who cannot see it."""
    wide, high = short(width), short(height)
    return Markup(
        f'<svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def label(x: float, y: float, words: str, kind: str) -> str:
    """Write words at a place, of classes of the style sheet (``e`` ends there, ``m`` is amid)."""
    return f'<text class="{kind}" x="{short(x)}" y="{short(y)}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Draw a straight line of a class of the style sheet."""
    start, end = (short(x1), short(y1)), (short(x2), short(y2))
    return f'<line class="{kind}" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>'


def ticks(low: float, high: float, about: int) -> list[float]:
    """List about so many round values inside a range."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 10) for i in range(count)]


def short(value: float) -> str:
    """Write a coordinate, as short as it can be."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
