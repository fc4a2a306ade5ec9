"""Columns of all criteria in, an ordered table out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..basics import SIZES, Array
from ..costs.limits import COLUMNS, COSTS, Excluded, all_excluded, checked_cost
from ..errors import InputError, checked_count
from ..files import written_whole
from ..scoring.rows import Row
from .aggregation import chances, combined, deviation, mean_over_seeds, relative_ranks
from .criteria import Column
from .front import pareto_front
from .shortlist import shortlist_of
from .summary import SURE, as_html, as_text, shown_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(repr=False)
class Ranking:
    """An ordered table of candidates.

    Attributes:
        table: a DataFrame, best first, with these columns:

            - ``rank``: ties share the smallest rank; NaN if nothing could be scored.
            - ``name``, ``score``.
            - ``std_error``: the standard deviation of the score's error. With several seeds, it is
              the standard error over seeds; with one seed and several criteria, that of the
              relative ranks over criteria; with one predictor, what it predicts; otherwise NaN.
            - ``above``: the probability that the candidate above is truly better; NaN if unknown:

                  Phi((s - s') / hypot(e, e'))

              with scores s and standard errors e. Below ``SURE`` the two cannot be told apart.
            - one column per criterion: means over seeds, and ``NAME std`` if there are several
              seeds.
            - ``params``, ``flops``, ``activations``, ``depth``.
            - ``memory_mb`` and ``latency_ms``, if they were asked for.
            - ``seconds``, and ``same_as``: the candidate with the same graph that was scored
              instead.

            With ``by="auto"`` the score is the expected label in standard deviations of labels. The
            table then also has one column per kind of evidence and the proxies behind it.
        failures: a DataFrame of ``name``, ``proxy`` (``"all"`` if none could run), ``status`` and
            ``reason``.
        excluded: a DataFrame of candidates beyond a limit: ``name``, ``cost``, ``value``, ``limit``
            and ``reason``.
        by, combine: the criteria, and how several of them become one score.
        latency: where latencies come from, in words; empty if there are none.
        made_of: columns of the table that explain the score; a summary leaves them out.

    Notes:
        ``above`` is our choice; it takes errors as normal and independent.
    """

    table: pd.DataFrame
    failures: pd.DataFrame
    excluded: pd.DataFrame
    by: tuple[str, ...]
    combine: str
    latency: str = ""
    made_of: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def doubtful(self) -> npt.NDArray[np.bool_]:
        """Whether each candidate cannot be told apart from the one above it."""
        found: npt.NDArray[np.bool_] = (self.table["above"] < SURE).to_numpy()
        return found

    @property
    def best(self) -> str:
        """The name of the first candidate.

        Raises:
            InputError: no candidate could be ranked.
        """
        if self.table["rank"].isna().all():
            raise InputError(
                "best: no candidate could be ranked; `failures` says why"
                if len(self)
                else "best: there is no candidate"
            )
        return str(self.table["name"].iloc[0])

    @property
    def details(self) -> pd.DataFrame:
        """The columns that a summary leaves out, by rank and name."""
        left_out = [name for name in self.table.columns if name not in shown_columns(self)]
        return self.table[["rank", "name", *left_out]]

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def to_csv(self, path: str | Path) -> None:
        """Write the table as CSV; the file appears whole or not at all."""
        with written_whole(path) as partial:
            self.table.to_csv(partial, index=False)

    def shortlist(self, count: int = 5) -> pd.DataFrame:
        """Return the candidates to train first: the best unmeasured ones, with distinct graphs.

        Columns are ``name``, ``score``, ``std_error``, ``chance`` (the probability that it is the
        best of all, if standard errors are right and independent; NaN if they are unknown) and
        ``because``: the expected ImageNet top-1, the evidence in standard deviations above or
            below the mean of the
        candidates, or the places by each criterion.

        Raises:
            InputError: the count is not a whole number of at least 1.

        Example:
            >>> import torch
            >>> import archrank
            >>> nets = {f"width {w}": torch.nn.Linear(48, w) for w in (8, 32, 16)}
            >>> first = archrank.rank(nets, (48,), by="params").shortlist(2)
            >>> [*zip(first["name"], first["because"])]
            [('width 32', 'params 1568, 1 of 3'), ('width 16', 'params 784, 2 of 3')]
        """
        checked_count("count", count)
        return shortlist_of(self.table, self.by, count)

    def to_json(self, front: str | None = None, top: int | None = None) -> str:
        """Return the table and the failures as JSON; missing numbers are null.

        Args:
            front: a cost; the names on its ``front`` are then included.
            top: the length of a ``shortlist`` to include.
        """
        names: dict[str, Any] = {}
        if front is not None:
            names["front"] = self.front(front)["name"].tolist()
        if top is not None:
            names["shortlist"] = json.loads(self.shortlist(top).to_json(orient="records"))
        return json.dumps(
            {
                "by": list(self.by),
                "combine": self.combine,
                "table": json.loads(self.table.to_json(orient="records")),
                "failures": json.loads(self.failures.to_json(orient="records")),
                "excluded": json.loads(self.excluded.to_json(orient="records")),
                "latency": self.latency,
                **names,
            },
            indent=2,
        )

    def front(self, cost: str = "flops") -> pd.DataFrame:
        """Return the Pareto front of score and a cost, cheapest first.

        Args:
            cost: a size, or one of ``COSTS`` that is in the table.

        Raises:
            InputError: there is no such cost, or it is not in the table.

        Example:
            >>> import torch
            >>> import archrank
            >>> nets = {f"width {w}": torch.nn.Sequential(torch.nn.Flatten(),
            ...                                           torch.nn.Linear(48, w)) for w in (8, 32)}
            >>> archrank.rank(nets, (3, 4, 4), by="params").front("flops")["name"].tolist()
            ['width 8', 'width 32']
        """
        column = self._column_of(cost)
        values = np.column_stack([-self.table["score"], self.table[column].astype(float)])
        found = self.table[pareto_front(values)]
        return found.sort_values([column, "name"], kind="stable").reset_index(drop=True)

    def plot_front(self, cost: str = "flops", path: str | Path | None = None) -> Figure:
        """Draw scores against a cost, with the front; needs the extra ``[plots]``.

        Raises:
            InputError: there is no such cost, or it is not in the table.
            MissingExtraError: matplotlib is not installed.
        """
        front, column = self.front(cost), self._column_of(cost)
        from .pictures import draw_front, figure_class, save_picture

        figure = draw_front(self.table, front, column, self._title(), figure_class())
        if path is not None:
            save_picture(figure, path)
        return figure

    def _column_of(self, cost: str) -> str:
        column = COSTS[checked_cost(cost, "cost")]
        if column not in self.table.columns:
            raise InputError(f"cost: {cost} was not asked for; rank with costs=[{cost!r}]")
        return column

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw scores in order, and scores against FLOPs; needs the extra ``[plots]``.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from .pictures import draw_ranking, figure_class, save_picture

        figure = draw_ranking(self.table, self._title(), figure_class())
        if path is not None:
            save_picture(figure, path)
        return figure

    def _title(self) -> str:
        labels = ", ".join(self.by)
        return labels if len(self.by) == 1 else f"{self.combine} of {labels}"

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)


def tabulate(
    rows: Sequence[Row],
    columns: Sequence[Column],
    combine: str,
    costs: Iterable[str] = (),
    latency: str = "",
) -> Ranking:
    """Order rows by their criteria.

    Args:
        rows: of all candidates within the limits.
        columns: the values of each criterion for these rows.
        combine: how several columns become one score.
        costs: which to show, of ``COLUMNS``.
        latency: where latencies come from, in words.
    """
    oriented = np.stack([column.values for column in columns], axis=1)  # (rows, columns, seeds)
    mean = mean_over_seeds(oriented)
    shown: dict[str, Any] = {"name": [row.name for row in rows], "score": combined(mean, combine)}
    shown["std_error"] = _error(columns, oriented, mean, combine)
    details: set[str] = set()
    for index, column in enumerate(columns):
        shown[column.label] = column.sign * mean[:, index]
        if oriented.shape[2] > 1:
            shown[f"{column.label} std"] = deviation(oriented[:, index])
            details.add(f"{column.label} std")
        # A criterion of the same name as a detail stands there already.
        for name, values in column.details.items():
            shown.setdefault(name, values)
        details |= set(column.details)
    for name in (*SIZES, "depth"):
        shown.setdefault(
            name, [math.nan if r.graph is None else getattr(r.graph, name) for r in rows]
        )
    for cost in costs:
        shown.setdefault(COLUMNS[cost], [row.costs.get(cost, math.nan) for row in rows])
    shown["seconds"] = [row.seconds for row in rows]
    shown["same_as"] = [row.same_as for row in rows]
    labels = tuple(column.label for column in columns)
    return Ranking(
        _ordered(pd.DataFrame(shown)),
        _failures(rows),
        _excluded([]),
        labels,
        combine,
        latency,
        frozenset(details - set(labels)),
    )


def within_limits(rows: Sequence[Row]) -> tuple[list[Row], pd.DataFrame]:
    """Return the rows within all limits, and a table of the others with the limits they exceed.

    Raises:
        InputError: no row is within them.
    """
    beyond = [one for row in rows for one in row.excluded]
    if rows and all(row.excluded for row in rows):
        raise all_excluded(beyond, len(rows))
    return [row for row in rows if not row.excluded], _excluded(beyond)


def _excluded(beyond: Sequence[Excluded]) -> pd.DataFrame:
    names = [column.name for column in fields(Excluded)]
    return pd.DataFrame([asdict(one) for one in beyond], columns=names)


def _failures(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        [(row.name, *failure) for row in rows for failure in row.failures],
        columns=["name", "proxy", "status", "reason"],
    )


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table best first, with ranks, and chances in place of errors."""
    # Rounded, so that the last bits of a mean do not break ties.
    rounded = table["score"].map(lambda value: float(f"{value:.12g}"))
    table.insert(0, "rank", rounded.rank(ascending=False, method="min"))
    table = table.sort_values(["rank", "name"], na_position="last", kind="stable")
    for name in (*SIZES, "depth", "rank"):
        table[name] = table[name].astype("Int64")
    scores, errors = table["score"].to_numpy(float), table["std_error"].to_numpy(float)
    table.insert([*table.columns].index("std_error") + 1, "above", chances(scores, errors))
    return table.reset_index(drop=True)


def _error(columns: Sequence[Column], oriented: Array, mean: Array, combine: str) -> Array:
    """Return the standard error of each score; NaN if it is unknown."""
    count, terms, seeds = oriented.shape
    if seeds > 1:
        each = [combined(oriented[:, :, seed], combine) for seed in range(seeds)]
        error: Array = deviation(np.stack(each, axis=1)) / seeds**0.5
        return error
    if terms > 1:
        ranks = np.column_stack([relative_ranks(column) for column in mean.T])
        known: Array = deviation(ranks) / terms**0.5
        return known
    said = columns[0].error
    return np.full(count, np.nan) if said is None else said
