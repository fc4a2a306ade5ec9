"""The main table of a run: every way of scoring, every figure, with its interval as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..results import Figure, Judged, Result
from ..wording import DASH, GROUPS, Column, best, columns, interval_words, memory, seconds
from . import pictures
from .drawing import Scale
from .tables import Cell, Group, Heading, Row, SortedTable, name_cell, number_cell, unit_cell

_NONE = Figure(math.nan)


def main_table(judged: Judged) -> SortedTable:
    """Lay out all figures of a sample."""
    layout = _Layout(judged)
    groups = []
    for title, kinds, what in GROUPS:
        rows = [layout.row(result) for result in judged.results if result.kind in kinds]
        if rows:
            groups.append(Group(title, what, rows))
    return SortedTable("sort", layout.headings(), groups)


@dataclass(frozen=True)
class _Layout:
    """Which columns the table has, and what they share: scales, and who is best."""

    judged: Judged

    @cached_property
    def columns(self) -> list[Column]:
        return columns(self.judged)

    @cached_property
    def scales(self) -> Mapping[str, Scale]:
        return {
            column.name: pictures.spanning(
                [result.figures[column.name] for result in self.judged.results], column.width
            )
            for column in self.columns
        }

    @cached_property
    def best(self) -> Mapping[str, list[str]]:
        return {column.name: best(self.judged, column) for column in self.columns}

    @cached_property
    def params(self) -> Mapping[str, Figure]:
        """The figures of the number of parameters, which every mark shows for comparison."""
        return next((r.figures for r in self.judged.results if r.name == "params"), {})

    @cached_property
    def has_spread(self) -> bool:
        return any(math.isfinite(result.seed_spread) for result in self.judged.results)

    @cached_property
    def has_failures(self) -> bool:
        return any(result.failed or result.waiting for result in self.judged.results)

    def headings(self) -> list[Heading]:
        found = [Heading("score", "name", up=True)]
        for column in self.columns:
            axis = [pictures.axis(self.scales["tau"])] if column.name == "tau" else []
            found.append(Heading(column.heading, column.meaning, not column.largest, *axis))
        meaning = "difference of the tau-b, on the same architectures"
        found.append(Heading("tau minus\nparams", meaning))
        if self.has_spread:
            meaning = "standard deviation of tau-b over scoring seeds"
            found.append(Heading("spread\nof seeds", meaning, up=True))
            found.append(Heading("between\nseeds", "mean tau-b between two scoring seeds"))
        found.append(Heading("time", "median seconds per architecture", up=True))
        found.append(Heading("memory", "median peak memory per architecture", up=True))
        if self.has_failures:
            found.append(Heading("failures\nlast", "tau-b with failures ranked last"))
            found.append(Heading("failed", "architectures without a value"))
        return [*found, Heading("n", "architectures that the figures are over")]

    def row(self, result: Result) -> Row:
        cells = [name_cell(result.name, result.note)]
        cells += [self._figure(result, column) for column in self.columns]
        over = result.figures.get("over_params", _NONE)
        cells.append(number_cell(over.value, 3, meaning=interval_words(over), signed=True))
        if self.has_spread:
            cells.append(number_cell(result.seed_spread, 3))
            cells.append(number_cell(result.between_seeds, 2))
        cells += [unit_cell(result.seconds, seconds), unit_cell(result.memory, memory)]
        if self.has_failures:
            last = result.figures.get("tau_failed_last", _NONE)
            cells.append(number_cell(last.value, 3, meaning=interval_words(last)))
            cells.append(_failed(result))
        return Row([*cells, Cell(str(result.count), str(result.count))], result.kind)

    def _figure(self, result: Result, column: Column) -> Cell:
        """Write a figure of the table, with its interval as a picture."""
        figure, reference = result.figures[column.name], self.params.get(column.name)
        return number_cell(
            figure.value,
            column.digits,
            mark=pictures.interval(
                figure,
                self.scales[column.name],
                None if reference is None else reference.value,
                small=column.name != "tau",
            ),
            best=result.name in self.best[column.name],
            meaning=interval_words(figure, column.digits),
        )


def _failed(result: Result) -> Cell:
    waiting = f" +{result.waiting} not tried" if result.waiting else ""
    return Cell((str(result.failed) if result.failed else DASH) + waiting, str(result.failed))
