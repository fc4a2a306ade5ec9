"""Tables of the page that sort: headings, groups of rows, cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..wording import decimals


@dataclass(frozen=True)
class Heading:
    """What sorts a column.

    Attributes:
        text, meaning: what it says, and what is shown on resting there.
        up: whether the smallest is to come first.
        beside: a picture beside it.
    """

    text: str
    meaning: str
    up: bool = False
    beside: Markup | None = None


@dataclass(frozen=True)
class Cell:
    """What one row says in one column.

    Attributes:
        text: what is written.
        sorted_by: a number or a name; nothing for what comes last.
        kind: class of the style sheet.
        meaning: what is shown on resting there.
        mark: a picture beside it.
        style: of its own.
    """

    text: str | Markup
    sorted_by: str = ""
    kind: str = ""
    meaning: str = ""
    mark: Markup | None = None
    style: str = ""


@dataclass(frozen=True)
class Row:
    """A row, and its class of the style sheet."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Group:
    """Rows of one kind under their own heading; they are sorted among themselves."""

    title: str
    what: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class SortedTable:
    """A table whose headings sort it."""

    kind: str
    headings: Sequence[Heading]
    groups: Sequence[Group]


def name_cell(name: str, meaning: str = "") -> Cell:
    """Write a name, which may be broken at its underscores where there is little room."""
    return Cell(Markup.escape(name).replace("_", Markup("_<wbr>")), name, meaning=meaning)


def number_cell(
    value: float,
    digits: int,
    *,
    mark: Markup | None = None,
    best: bool = False,
    meaning: str = "",
    signed: bool = False,
) -> Cell:
    """Write a number, and a picture of it."""
    kind = "best" if best else "" if math.isfinite(value) else "none"
    plus = "+" if signed and value > 0 else ""
    return Cell(plus + decimals(value, digits), sortable(value), kind, meaning, mark)


def unit_cell(value: float, write: Callable[[float], str]) -> Cell:
    """Write an amount with its unit."""
    return Cell(write(value), sortable(value), "" if math.isfinite(value) else "none")


def sortable(value: float) -> str:
    """Write a number for the script that sorts; nothing where there is none."""
    return f"{value:.6g}" if math.isfinite(value) else ""
