"""Several runs at one glance: tau-b of every way of scoring, and its mean rank over the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from ..results import Report
from ..wording import DASH, GROUPS, decimals
from .tables import Cell, Group, Heading, Row, SortedTable, name_cell, sortable

Taus = Mapping[str, Sequence[float]]
"""Name -> tau-b in every run, NaN where it is not in it."""


def overview(report: Report) -> tuple[SortedTable, str] | None:
    """Lay out the tau-b of all runs, with a sentence on them; None where fewer than two are judged.

    Ranks are among all that see no labels, over the runs that a score has a value in.
    """
    judged = [(run, run.judged) for run in report.runs if run.judged is not None]
    if len(judged) < 2:
        return None
    taus: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for index, (_, found) in enumerate(judged):
        for result in found.results:
            row = taus.setdefault(result.name, [math.nan] * len(judged))
            row[index] = result.figures["tau"].value
            kinds[result.name] = result.kind
    ranks = _mean_ranks(
        {name: row for name, row in taus.items() if kinds[name] not in ("learned", "ceiling")}
    )
    groups = []
    for title, among, what in GROUPS:
        names = [name for name in taus if kinds[name] in among]
        names.sort(key=lambda name: (ranks.get(name, -_mean(taus[name])), name))
        if names:
            groups.append(Group(title, what, [_row(n, ranks.get(n), taus[n]) for n in names]))
    headings = [
        Heading("score", "name", up=True),
        Heading("mean rank", "over the runs it is in", up=True),
        *(Heading(run.title, f"tau-b in run {run.number}") for run, _ in judged),
    ]
    everywhere = {
        name: ranks[name]
        for name, row in taus.items()
        if kinds[name] == "proxy" and name in ranks and all(map(math.isfinite, row))
    }
    return SortedTable("sort heat", headings, groups), _sentence(everywhere, len(judged))


def _sentence(ranks: Mapping[str, float], runs: int) -> str:
    """Name the proxy that is best over all runs, by the figure in the table."""
    if not ranks:
        return f"No proxy has a tau-b in all {runs} samples."
    written = {name: decimals(rank, 1) for name, rank in ranks.items()}
    least = written[min(ranks, key=lambda name: ranks[name])]
    names = sorted(name for name, rank in written.items() if rank == least)
    have = "has" if len(names) == 1 else "have"
    return (
        f"Of the {len(ranks)} proxies scored in all {runs} samples, {' and '.join(names)} {have} "
        f"the best mean rank: {least}."
    )


def _row(name: str, rank: float | None, taus: Sequence[float]) -> Row:
    rank = math.nan if rank is None else rank
    return Row([name_cell(name), Cell(decimals(rank, 1), sortable(rank)), *map(_heat_cell, taus)])


def _heat_cell(tau: float) -> Cell:
    if not math.isfinite(tau):
        return Cell(DASH, kind="none")
    hue = "accent" if tau >= 0 else "warm"
    style = f"--t:{abs(tau):.3f};--hue:var(--{hue})"
    return Cell(decimals(tau, 3), sortable(tau), "t", style=style)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else -math.inf


def _mean_ranks(taus: Taus) -> dict[str, float]:
    """Average the ranks (1 = best) of each name over the runs it has a value in."""
    table = np.array([*taus.values()])
    ranks = np.full(table.shape, np.nan)
    for column in range(table.shape[1]):
        known = np.isfinite(table[:, column])
        ranks[known, column] = rankdata(-table[known, column])
    found = {}
    for name, row in zip(taus, ranks, strict=True):
        known = row[np.isfinite(row)]
        if len(known):
            found[name] = float(known.mean())
    return found
