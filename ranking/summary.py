"""What a ranking looks like: one summary for the shell, ``repr`` and the notebook."""

from __future__ import annotations

from html import escape
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..formats import number

_LEFT_OUT = frozenset({"above", "seconds", "same_as", "activations", "depth"})


_EXPECTED = frozenset({"top-1", "top-1 low", "top-1 high"})
"""Details that are shown beside the score: the expected accuracy, in %."""
_ITSELF = frozenset({("auto",), ("expected",)})
"""Criteria that are the score itself."""
MOST_COLUMNS = 9
"""Of a summary; `Ranking.details` has the others."""
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
    hidden = (_LEFT_OUT - set(ranking.by)) | (ranking.made_of - told)
    if ranking.by in _ITSELF:
        hidden |= set(ranking.by)
    if table["std_error"].isna().all():  # nothing says it
        hidden |= {"std_error"}
    names = [name for name in table.columns if name not in hidden]
    # What it is ranked by gives way to costs, which are one column each.
    spare = [name for name in ranking.by if name in names]
    too_many = max(0, len(names) - MOST_COLUMNS)
    left_out = set(spare[max(0, len(spare) - too_many) :])
    return [name for name in names if name not in left_out][:MOST_COLUMNS]


def summarise_shortlist(shortlist: pd.DataFrame) -> pd.DataFrame:
    """Return a shortlist as text, without empty columns."""
    known = shortlist.dropna(axis="columns", how="all")
    if "chance" in known:
        known = known.assign(chance=known["chance"].map("{:.0%}".format))
    return known.map(number)


def notes(ranking: Ranked, marked: bool = True) -> list[str]:
    """Return the lines below the table: its marks, failures, and excluded candidates."""
    meaning = [*_marks(ranking), *_units(ranking)] if marked else []
    return [*meaning, *_failures(ranking), *_left_out(ranking)]


def _marks(ranking: Ranked) -> list[str]:
    marked = ranking.doubtful.any()
    return [f"~: the one above is better with a chance below {SURE:.0%}"] if marked else []


def _units(ranking: Ranked) -> list[str]:
    """Say what the score of the default predictor is measured in."""
    if (
        ranking.by != ("auto",)
        or "measured" in ranking.table
        or ranking.table["score"].isna().all()
    ):
        return []
    return [
        "score: the predicted label in standard deviations of labels; std_error: its uncertainty"
    ]


def _failures(ranking: Ranked) -> list[str]:
    """Return one line for each reason, however many proxies and candidates share it."""
    proxies: dict[tuple[str, str, str], list[str]] = {}
    for name, proxy, status, reason in ranking.failures.astype(str).itertuples(index=False):
        proxies.setdefault((name, status, reason), []).append(proxy)
    names: dict[str, list[str]] = {}
    for (name, status, reason), of in proxies.items():
        names.setdefault(f"{', '.join(of)}: {status}: {reason}", []).append(name)
    lines = []
    for said, whose in names.items():
        lines.append(f"{_joined(whose)}: {said}")
    more = len(lines) - _MOST_LINES
    rest = [f"and {more} more reasons: Ranking.failures (--json) holds all"] if more > 0 else []
    return [*lines[:_MOST_LINES], *rest]


def _joined(names: list[str]) -> str:
    """Name one or two candidates, or the first of several and how many there are beside it."""
    return " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"


def _left_out(ranking: Ranked) -> list[str]:
    """Return one line for each candidate beyond a limit, or for each limit if there are many."""
    lines = []
    for (cost, limit), beyond in ranking.excluded.groupby(["cost", "limit"], sort=False):
        if len(beyond) <= _FEW:
            lines += [f"{row.name}: left out: {row.reason}" for row in beyond.itertuples()]
            continue
        first = [f"{row.name} {number(row.value)}" for row in beyond.head(_FEW).itertuples()]
        more = f" and {len(beyond) - _FEW} more"
        lines.append(
            f"{len(beyond)} left out: {cost} above {number(limit)}: {', '.join(first)}{more}"
        )
    return lines


def as_text(ranking: Ranked) -> str:
    """Return the summary and its notes as lines."""
    return "\n".join([summarise(ranking).to_string(index=False), *notes(ranking)])


def as_html(ranking: Ranked) -> str:
    """Return the summary as a table, and its notes under headings."""
    parts = [summarise(ranking).to_html(index=False, border=0)]
    parts += [f"<p>{escape(line)}</p>" for line in (*_marks(ranking), *_units(ranking))]
    for heading, lines in (("Failures", _failures(ranking)), ("Left out", _left_out(ranking))):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            parts.append(f"<p>{heading}</p><ul>{items}</ul>")
    return "".join(parts)
