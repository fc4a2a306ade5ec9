"""The pictures of the page: intervals in a table, scatter plots, agreement of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
from markupsafe import Markup

from ...basics import Array
from ..results import Figure
from ..wording import MINUS, decimals
from .drawing import LETTER, Scale, label, line, picture, short, ticks

_MOST_POINTS = 1500  # in one scatter plot: more are only ink


def spanning(figures: Sequence[Figure], width: float) -> Scale:
    """Make a scale that holds zero and all intervals."""
    ends = [0.0]
    for figure in figures:
        ends += [e for e in (figure.value, figure.low, figure.high) if math.isfinite(e)]
    return Scale(min(ends), max(ends), 4, width - 4)


def interval(
    figure: Figure, scale: Scale, reference: float | None = None, small: bool = False
) -> Markup:
    """Draw a dot and its interval; a hairline at zero, and one at a reference value."""
    width, height, radius = scale.end + 4, 8 if small else 14, 2.0 if small else 2.8
    middle = height / 2
    parts = [line(scale(0.0), 0, scale(0.0), height, "axis")]
    if reference is not None and math.isfinite(reference):
        parts.append(line(scale(reference), 0, scale(reference), height, "ref"))
    if math.isfinite(figure.value):
        if math.isfinite(figure.low):
            parts.append(line(scale(figure.low), middle, scale(figure.high), middle, "iv"))
        x, y = short(scale(figure.value)), short(middle)
        parts.append(f'<circle class="pt" cx="{x}" cy="{y}" r="{radius}"/>')
    kind = "mark small" if small else "mark"
    return Markup(
        f'<svg class="{kind}" width="{short(width)}" height="{height}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def axis(scale: Scale) -> Markup:
    """Draw the numbers above a column of intervals."""
    width = scale.end + 4
    parts = []
    for tick in (0.0, 0.5, 1.0):
        if scale.low <= tick <= scale.high:
            parts.append(line(scale(tick), 13, scale(tick), 17, "axis"))
            parts.append(label(scale(tick), 10, f"{tick:g}", "k m"))
    return Markup(
        f'<svg class="mark" width="{short(width)}" height="17" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def scatter(score: Array, truth: Array, direction: float, title: str, caption: str) -> Markup:
    """Draw rank by score against label, each architecture a dot; better is right, and up."""
    width, height, left, bottom, top = 232, 182, 40, 22, 36
    known = np.isfinite(score)
    score, truth_here = score[known], truth[known]
    rank = pd.Series(score).rank().to_numpy()
    across = Scale(1, max(len(rank), 2), left + 4, width - 6)
    up = Scale(float(truth.min()), float(truth.max()), height - bottom - 4, top + 4)
    step = max(1, math.ceil(len(rank) / _MOST_POINTS))
    dots = "".join(
        f"M{short(across(r))} {short(up(t))}h0"
        for r, t in zip(rank[::step], truth_here[::step], strict=True)
    )
    parts = [
        label(left, 12, title, "t"),
        label(left, 29, caption, "c"),
        line(left, height - bottom, width, height - bottom, "axis"),
    ]
    for tick in ticks(up.low, up.high, 4):
        parts.append(line(left, up(tick), width, up(tick), "grid"))
        words = f"{tick * direction:g}".replace("-", MINUS)
        parts.append(label(left - 5, up(tick) + 3, words, "k e"))
    parts.append(f'<path class="dots" d="{dots}"/>')
    parts += [
        label(left, height - 7, "worst", "k"),
        label((left + width) / 2, height - 7, "rank by score", "k m"),
        label(width, height - 7, "best", "k e"),
    ]
    return picture(width, height, parts, f"{title}: rank by score against the label")


STEP = 30
"""The width of each colour in the legend of agreement."""


def agreement(matrix: pd.DataFrame) -> Markup:
    """Draw tau-b between any two scores, those that agree beside one another, as a triangle."""
    known = matrix.notna().sum() > 1
    matrix = matrix.loc[known, known]
    names = _clustered(matrix)
    if len(names) < 2:
        return Markup()
    values = matrix.loc[names, names].to_numpy(dtype=np.float64)
    cell = 15 if len(names) <= 32 else 13
    left = 12 + LETTER * max(len(name) for name in names)
    size = cell * len(names)
    height = size + left
    parts = []
    for row, first in enumerate(names):
        middle = row * cell + cell / 2 + 3.5
        parts.append(label(left - 6, middle, first, "k e"))
        x, y = left + row * cell + cell / 2 + 3.5, size + 6
        parts.append(
            f'<text class="k e" transform="translate({short(x)} {short(y)}) rotate(-90)">'
            f"{escape(first)}</text>"
        )
        for column, second in enumerate(names[:row]):
            tau = float(values[row, column])
            what = f"{escape(first)} and {escape(second)}: {decimals(tau, 2)}"
            parts.append(
                f'<rect {_paint(tau)} x="{short(left + column * cell)}" y="{row * cell}" '
                f'width="{cell - 1}" height="{cell - 1}"><title>{what}</title></rect>'
            )
    key = left + max(size * 0.55, 3 * cell)  # beside the first rows, however few there are
    parts += _legend(key, 8)
    width = max(left + size, key + 5 * STEP) + 8
    return picture(width, height, parts, "agreement of the scores with one another")


def _paint(tau: float) -> str:
    """Give the hue for the sign, and the strength for the size."""
    if not math.isfinite(tau):
        return 'class="none"'
    return f'class="{"pos" if tau >= 0 else "neg"}" fill-opacity="{short(abs(tau))}"'


def _clustered(matrix: pd.DataFrame) -> list[str]:
    """Order names so as to put scores of much agreement beside one another."""
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
        at = x + index * STEP
        parts.append(
            f'<rect class="{kind}" fill-opacity="{short(max(abs(step), 0.04))}" x="{short(at)}" '
            f'y="{y}" width="{STEP - 1}" height="10"/>'
        )
        parts.append(label(at + 15, y + 22, decimals(step, 1), "k m"))
    return parts
