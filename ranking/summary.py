"""What a ranking looks like: one summary for the shell, ``repr`` and the notebook."""

from __future__ import annotations

import re
from html import escape
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..basics import SIZES
from ..formats import chance, named, number

_LEFT_OUT = frozenset({"above", "seconds", "same_as", "activations", "depth"})


_INTERVAL = frozenset({"top-1 low", "top-1 high"})
_EXPECTED = _INTERVAL | {"top-1"}
"""Details that are shown beside the score: the expected accuracy, in %."""
MOST_COLUMNS = 9
"""Of a summary; `Ranking.details` has the others."""
_COMBINED = {
    "mean_rank": "the mean of the relative ranks by each criterion, from 0 (last) to 1 (first)",
    "log_rank": "the mean of log(rank / candidates) by each criterion, 0 for the first by all",
    "vote": "the share of the others that most criteria rank lower",
}
"""What a score of several criteria is, by how it combines them."""
SURE = 0.75
"""Two neighbours are told apart if one is better with at least this probability."""
_FEW, _MOST_LINES = 3, 10
"""Candidates that are left out each get a line if they are few; failures get at most so many."""


class Ranked(Protocol):
    """What a summary reads of a ranking."""

    table: pd.DataFrame
    failures: pd.DataFrame
    excluded: pd.DataFrame
    by: tuple[str, ...]
    combine: str
    made_of: frozenset[str]

    @property
    def doubtful(self) -> npt.NDArray[np.bool_]: ...


def summarise(ranking: Ranked) -> pd.DataFrame:
    """Return the columns that fit 80 characters, as text; the whole table has the others.

    A rank marked with ~ cannot be told apart from the one above it.
    """
    text = ranking.table[shown_columns(ranking)].map(number)
    text["rank"] = [
        f"~{rank}" if doubtful else rank
        for rank, doubtful in zip(text["rank"], ranking.doubtful, strict=True)
    ]
    return text


def shown_columns(ranking: Ranked) -> list[str]:
    """Return the columns of a summary, at most ``MOST_COLUMNS``."""
    table = ranking.table
    told = {"measured"} if "measured" in table else _EXPECTED
    hidden = (_LEFT_OUT - set(ranking.by)) | (ranking.made_of - told - {*SIZES})
    if _is_score(ranking):
        hidden |= set(ranking.by)
    if _same_error(ranking) is not None or table["std_error"].isna().all():  # it tells nothing
        hidden |= {"std_error"}
    names = [name for name in table.columns if name not in hidden]
    # Intervals, and then what it is ranked by, give way to costs, which are one column each.
    if len(names) > MOST_COLUMNS:
        names = [name for name in names if name not in _INTERVAL]
    spare = [name for name in ranking.by if name in names]
    too_many = max(0, len(names) - MOST_COLUMNS)
    left_out = set(spare[max(0, len(spare) - too_many) :])
    return [name for name in names if name not in left_out][:MOST_COLUMNS]


def _is_score(ranking: Ranked) -> bool:
    """Return whether the one criterion is the score itself; sizes are columns anyway."""
    (first, *more), table = ranking.by, ranking.table
    if more or first in SIZES or first not in table:
        return False
    return bool(np.array_equal(table[first].to_numpy(float), table["score"], equal_nan=True))


def _same_error(ranking: Ranked) -> float | None:
    """Return the standard error that one criterion gives all candidates alike, or None."""
    known = ranking.table["std_error"].dropna()
    if len(ranking.by) > 1 or len(known) < 2:
        return None
    alike = known.max() - known.min() <= 1e-9 * abs(known.max())
    return float(known.iloc[0]) if alike else None


def summarise_shortlist(shortlist: pd.DataFrame) -> pd.DataFrame:
    """Return a shortlist as text, without empty columns."""
    known = shortlist.dropna(axis="columns", how="all")
    if "chance" in known:
        known = known.assign(chance=known["chance"].map(chance))
    return known.map(number)


def notes(ranking: Ranked, marked: bool = True) -> list[str]:
    """Return the lines below the table: its marks, failures, and excluded candidates."""
    meaning = [*_marks(ranking), *_units(ranking)] if marked else []
    return [*meaning, *_failures(ranking), *_left_out(ranking)]


def _marks(ranking: Ranked) -> list[str]:
    marked = ranking.doubtful.any()
    return [f"~: the one above is better with a chance below {SURE:.0%}"] if marked else []


def _units(ranking: Ranked) -> list[str]:
    """Say what the score is measured in, if its name does not, and how certain it is."""
    if ranking.table["score"].isna().all():
        return []
    same = _same_error(ranking)
    lines = []
    if ranking.by == ("auto",) and "measured" not in ranking.table:
        error = "; std_error: its uncertainty" if same is None else ""
        lines.append(f"score: the predicted label in standard deviations of labels{error}")
    elif "measured" in ranking.table:
        lines.append("score: the expected label, or the measured one; std_error: its uncertainty")
    elif _is_score(ranking):
        lines.append(f"score: {ranking.by[0]}")
    elif len(ranking.by) > 1:
        lines.append(f"score: {_COMBINED[ranking.combine]}")
    if same:
        lines.append(
            f"The standard error of every score is {number(same)}: the predictor does not know "
            "some better than others"
        )
    return lines


def _failures(ranking: Ranked) -> list[str]:
    """Return one line for each reason, however many proxies and candidates share it."""
    proxies: dict[tuple[str, str, str], list[str]] = {}
    for name, proxy, status, reason in ranking.failures.astype(str).itertuples(index=False):
        proxies.setdefault((name, status, reason), []).append(proxy)
    causes: dict[str, tuple[str, list[str]]] = {}
    for (name, status, reason), of in proxies.items():
        which = "" if of == ["all"] else f"{', '.join(of)}: "
        said = f"{which}{status}: {reason}"
        causes.setdefault(f"{which}{status}: {_cause(reason)}", (said, []))[1].append(name)
    lines = [f"{named(whose)}: {said}" for said, whose in causes.values()]
    more = len(lines) - _MOST_LINES
    rest = [f"and {more} more reasons: Ranking.failures (--json) holds all"] if more > 0 else []
    return [*lines[:_MOST_LINES], *rest]


def _cause(reason: str) -> str:
    """Return what is left of a reason without what differs from network to network.

    That is its names and numbers. Where a reason ends in a question, what to do is the same
    whatever stands before it.
    """
    if reason.endswith("?"):
        return reason.rpartition(". ")[2]
    return re.sub(r"'[^']*'|\d+|(?<=cannot trace )\w+", "", reason)


def _left_out(ranking: Ranked) -> list[str]:
    """Return one line for each candidate beyond a limit, or for each limit if there are many."""
    lines = []
    for (cost, limit), beyond in ranking.excluded.groupby(["cost", "limit"], sort=False):
        if len(beyond) <= _FEW:
            lines += [f"{row.name}: left out: {row.reason}" for row in beyond.itertuples()]
            continue
        each = [f"{row.name} {number(row.value)}" for row in beyond.itertuples()]
        lines.append(f"{len(beyond)} left out: {cost} above {number(limit)}: {named(each, _FEW)}")
    return lines


def as_text(ranking: Ranked) -> str:
    """Return the summary and its notes as lines."""
    return "\n".join([summarise(ranking).to_string(index=False), *notes(ranking)])


def as_html(ranking: Ranked) -> str:
    """Return the summary as a table, and its notes under headings."""
    table = summarise(ranking).to_html(index=False, border=0)
    parts = [f'<div style="overflow-wrap: anywhere">{table}</div>']
    parts += [f"<p>{escape(line)}</p>" for line in (*_marks(ranking), *_units(ranking))]
    for heading, lines in (("Failures", _failures(ranking)), ("Left out", _left_out(ranking))):
        if lines:
            told = [line.replace(": left out: ", ": ") for line in lines]  # the heading says it
            items = "".join(f"<li>{escape(line)}</li>" for line in told)
            parts.append(f"<p>{heading}</p><ul>{items}</ul>")
    return "".join(parts)
