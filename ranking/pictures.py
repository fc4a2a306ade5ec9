"""Pictures of rankings, on a matplotlib figure that no window owns."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..basics import Array
from ..errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOUR, _FAINT = "#2a6f97", "#9db4c0"
_PLACES = [(6, -9), (6, 5), (-6, 5), (-6, -9)]
_PLACES += [(side, step) for far in range(17, 200, 11) for step in (-far, far) for side in (6, -6)]
"""Where a name may stand, in points from its own: beside it, then further down and up."""
_ROOM = 40  # characters of a name
_BESIDE = 9  # points up or down; names further off have a line to their point
_LEADER = {"arrowstyle": "-", "color": _FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
_COST_LABELS = {
    "params": "parameters",
    "flops": "FLOPs (multiply-adds of one sample)",
    "activations": "activations",
    "memory_mb": "memory of one forward in MB (weights and activations, single precision)",
    "train_memory_mb": "memory of one step of training in MB (AdamW, single precision)",
    "latency_ms": "latency in ms",
}


def figure_class() -> Callable[..., Figure]:
    """Return matplotlib's figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plotting", "matplotlib", "plots", error) from error

    class Shown(Figure):
        """A figure that a notebook shows, though no window owns it."""

        def _repr_png_(self) -> bytes:
            drawn = io.BytesIO()
            self.savefig(drawn, format="png", dpi=100)
            return drawn.getvalue()

    return Shown


def draw_ranking(table: pd.DataFrame, title: str, make: Callable[..., Figure]) -> Figure:
    """Draw scores in order with their errors (left) and against FLOPs (right)."""
    scored = table[table["score"].notna()]
    height = float(np.clip(1.6 + 0.26 * len(scored), 4.0, 40.0))
    figure = make(figsize=(13, height), layout="constrained")
    order, scatter = figure.subplots(1, 2, width_ratios=(1.1, 1.0))
    _draw_order(order, scored)
    _draw_scatter(scatter, scored)
    figure.suptitle(f"{len(scored)} candidates ranked by {title}", fontsize=12)
    return figure


def draw_front(
    table: pd.DataFrame,
    front: pd.DataFrame,
    cost: str,
    title: str,
    make: Callable[..., Figure],
) -> Figure:
    """Draw all candidates by score and cost, with the front named and joined by steps."""
    figure = make(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    scored = table[table["score"].notna() & table[cost].notna()]
    costs, steps = scored[cost].astype(float), front[cost].astype(float)
    axes.scatter(costs, scored["score"], s=28, color=_FAINT, linewidths=0, label="beaten")
    axes.step(steps, front["score"], where="post", color=_COLOUR, linewidth=1)
    axes.scatter(steps, front["score"], s=36, color=_COLOUR, linewidths=0, zorder=3, label="front")
    _draw_intervals(axes, front, cost)
    if len(costs) and (costs > 0).all():
        axes.set_xscale("log")
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis(_plainly)
    axes.margins(0.12)
    axes.set_xlabel(_COST_LABELS[cost])
    axes.set_ylabel(f"score: {title}")
    axes.set_title(f"{len(front)} of {len(scored)} candidates are beaten by none", fontsize=12)
    axes.legend(frameon=False, loc="lower right")
    _clean(axes)
    axes.grid(alpha=0.3)
    figure.draw_without_rendering()  # names are placed where points then lie
    name_points(axes, front["name"], steps, front["score"])
    return figure


def _draw_intervals(axes: Axes, front: pd.DataFrame, cost: str) -> None:
    """Draw errors of scores, and the 90 % intervals of what was predicted: scores and latencies."""
    name = cost.removesuffix("_ms")
    across = _reach(front, cost, f"{name}_low_ms", f"{name}_high_ms")
    up = _reach(front, "score", "score_low", "score_high")
    if up is None and "std_error" in front:
        up = np.nan_to_num(front["std_error"].to_numpy(dtype=float))
    axes.errorbar(
        front[cost].astype(float),
        front["score"],
        yerr=up if up is not None and up.any() else None,
        xerr=across,
        fmt="none",
        ecolor=_FAINT,
        elinewidth=1.2,
    )


def _plainly(value: float, _: float) -> str:
    """Return the label of a logarithmic axis where the number begins with 1, 2 or 5."""
    shown = f"{value:g}"
    return shown if shown.strip("0.")[:1] in ("1", "2", "5") else ""


def _reach(front: pd.DataFrame, of: str, low: str, high: str) -> Array | None:
    """Return how far the ends of intervals are from values (2, n), if there are any."""
    if low not in front or high not in front:
        return None
    ends, at = front[[low, high]].to_numpy(dtype=float).T, front[of].to_numpy(dtype=float)
    reach: Array = np.nan_to_num(np.abs(ends - at))
    return reach


def name_points(
    axes: Axes, names: Iterable[str], xs: Iterable[float], ys: Iterable[float], **how: Any
) -> None:
    """Write names beside points, each at the first place in the axes where it covers nothing."""
    from matplotlib import patheffects
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Bbox

    boxes: list[Any] = [t.get_window_extent().padded(1) for t in axes.texts if t.get_text()]
    for dots in axes.findobj(PathCollection):
        where = axes.transData.transform(np.asarray(dots.get_offsets(), dtype=float))
        boxes += [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in where.tolist()]
    page = axes.bbox
    clear = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    style: dict[str, Any] = {"fontsize": 8, "zorder": 4, "path_effects": clear} | how
    for name, x, y in zip(names, xs, ys, strict=True):
        text = axes.annotate(
            _written(name),
            (x, y),
            xytext=_PLACES[0],
            textcoords="offset points",
            **style,
        )
        text.set_in_layout(False)  # else axes would shrink after names are placed
        for place in _PLACES:
            text.set_position(place)
            text.set_horizontalalignment("left" if place[0] > 0 else "right")
            box = text.get_window_extent().padded(1)
            within = page.x0 < box.x0 and box.x1 < page.x1 and box.y1 < page.y1
            if within and not any(box.overlaps(other) for other in boxes):
                break
        boxes.append(box)
        if abs(place[1]) > _BESIDE:
            axes.annotate("", (x, y), place, textcoords="offset points", arrowprops=_LEADER)


def _draw_order(axes: Axes, table: pd.DataFrame) -> None:
    position = np.arange(len(table))
    spread = table["std_error"].to_numpy(dtype=float)
    axes.errorbar(
        table["score"],
        position,
        xerr=None if np.isnan(spread).all() else np.nan_to_num(spread),
        fmt="o",
        color=_COLOUR,
        ecolor=_FAINT,
        elinewidth=3,
        capsize=0,
    )
    named = zip(table["name"].map(_written), table["rank"], strict=True)
    labels = [f"{rank}  {name}" for name, rank in named]
    axes.set_yticks(position, labels, fontsize=9)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("score (bars: its standard error)")
    _clean(axes)
    axes.grid(axis="both", alpha=0.3)


def _draw_scatter(axes: Axes, table: pd.DataFrame) -> None:
    flops = table["flops"].astype(float)
    size = table["params"].astype(float)
    area = 30 + 220 * size / max(size.max(), 1.0)
    axes.scatter(flops, table["score"], s=area, color=_COLOUR, alpha=0.55, linewidths=0)
    if (flops > 0).all():
        axes.set_xscale("log")
    axes.margins(0.08)
    for index, rank, score in zip(table.index, table["rank"], table["score"], strict=True):
        axes.annotate(
            str(rank),
            (flops[index], score),
            xytext=(0, 7 + area[index] ** 0.5 / 2.4),
            textcoords="offset points",
            fontsize=8,
            ha="center",
            va="center",
        )
    axes.set_xlabel("FLOPs (multiply-adds of one sample); number: rank; area: parameters")
    axes.set_ylabel("score")
    _clean(axes)
    axes.grid(alpha=0.3)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def save_picture(figure: Any, path: str | Path) -> None:
    """Write a picture in the format of its path.

    Raises:
        InputError: there is no such format, or the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"path: {str(path)!r} cannot be written ({error})") from error


def _written(name: str) -> str:
    """Return a name on one line, shortened to what has room, and without formulas."""
    line = " ".join(name.split())
    return (line if len(line) < _ROOM else f"{line[: _ROOM - 3]}...").replace("$", r"\$")
