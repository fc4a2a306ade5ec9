"""Results of judging: figures, rows of a table, runs, a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from ..errors import InputError

TOP = 10  # architectures chosen: NDCG, regret, improvement
SHARE = 0.05  # of the best: precision
LEVEL = 0.95  # of the intervals

Kind = Literal["proxy", "size", "random", "ceiling", "combination", "learned"]


@dataclass(frozen=True)
class Figure:
    """A figure and its bootstrap interval; NaN where it cannot be computed."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Result:
    """One row of the table: the figures of one score.

    Attributes:
        name, kind: of the score.
        figures: by name: those of ``FIGURES``,
            ``tau_failed_last`` (failures ranked last) and ``over_params`` (tau-b minus that of
            params, on the same resamples).
        count: the number of architectures behind the figures.
        failed: the number of architectures that have no value under any seed.
        waiting: the number of architectures that were not scored yet.
        version: of the proxy.
        labels: how many labels it was trained on.
        seeds: the number of seeds that its score is averaged over.
        seed_spread: standard deviation of tau-b over them; NaN with one.
        between_seeds: mean tau-b between two of them; NaN with one.
        seconds, memory: median per architecture (bytes); of a combination the sum and the largest
            of its members'.
    """

    name: str
    kind: Kind
    figures: Mapping[str, Figure]
    count: int
    failed: int = 0
    waiting: int = 0
    version: int | None = None
    labels: int = 0
    seeds: int = 1
    seed_spread: float = math.nan
    between_seeds: float = math.nan
    seconds: float = math.nan
    memory: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Failure:
    """How many architectures one proxy failed on for one reason."""

    proxy: str
    status: str
    reason: str
    count: int


@dataclass(frozen=True)
class Greedy:
    """The cross-validated choice: tau-b on held-out folds, and how often each score was chosen."""

    held_out: Figure
    folds: tuple[float, ...]
    chosen: Mapping[str, int]


@dataclass(frozen=True)
class Judged:
    """All figures of one sample.

    Attributes:
        results: the rows, best tau-b first within proxies; others in the order of the page.
        failures: most frequent first.
        scores: by architecture and proxy, means over seeds, larger is better.
        truth: by architecture, larger is better.
        agreement: tau-b between any two proxies.
        greedy: None if there was too little to choose from.
        notes: what was left out, with reasons.
    """

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    scores: pd.DataFrame
    truth: pd.Series[float]
    agreement: pd.DataFrame
    greedy: Greedy | None
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Result:
        """Give the row of that name; proxies come first.

        Raises:
            InputError: there is none.
        """
        for result in self.results:
            if result.name == name:
                return result
        raise InputError(
            f"name: got {name!r}, expected one of {', '.join(v.name for v in self.results)}"
        )


@dataclass(frozen=True)
class RunReport:
    """One run of a store with its figures; ``problem`` says why there are none.

    Attributes:
        number, settings: of the run in its store.
        sampled: architectures of the sample.
        facts: a description of the table and the task: title, metric, label, licence, notes, ...
        ceiling: tau-b between two trainings, and of one with their mean, over the whole table.
        ambiguous: whether another run of the report is of the same space and task.
    """

    number: int
    settings: Mapping[str, Any]
    sampled: int
    facts: Mapping[str, str] = field(default_factory=dict)
    ceiling: Mapping[str, float] = field(default_factory=dict)
    judged: Judged | None = None
    problem: str = ""
    ambiguous: bool = False

    @property
    def title(self) -> str:
        """The space, the task if it adds information, and the number if another run has the same
        title."""
        space, task = (str(self.settings.get(key, "?")) for key in ("space", "task"))
        title = space if task == space else f"{space} · {task}"
        return f"{title} (run {self.number})" if self.ambiguous else title


@dataclass(frozen=True)
class Report:
    """The judged runs of a store."""

    runs: tuple[RunReport, ...]
    resamples: int
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """One line per run and row: figures as ``tau``, ``tau_low``, ``tau_high``, ..."""
        return pd.DataFrame(
            [
                {"run": run.number, **_flat(result)}
                for run in self.runs
                if run.judged is not None
                for result in run.judged.results
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the single scores, for JSON; missing numbers are None."""
        runs = []
        for run in self.runs:
            one: dict[str, Any] = {
                "run": run.number,
                "settings": dict(run.settings),
                "sampled": run.sampled,
                "table": dict(run.facts),
                "ceiling": dict(run.ceiling),
                "problem": run.problem or None,
            }
            if run.judged is not None:
                one["rows"] = [_flat(result) for result in run.judged.results]
                one["failures"] = [asdict(failure) for failure in run.judged.failures]
                one["greedy"] = None if run.judged.greedy is None else asdict(run.judged.greedy)
                one["notes"] = list(run.judged.notes)
            runs.append(one)
        found = {"resamples": self.resamples, "seed": self.seed, "level": LEVEL, "runs": runs}
        cleaned: dict[str, Any] = _without_nan(found)
        return cleaned


def _flat(result: Result) -> dict[str, Any]:
    row = {key: value for key, value in vars(result).items() if key != "figures"}
    for name, figure in result.figures.items():
        row[name] = figure.value
        row[f"{name}_low"], row[f"{name}_high"] = figure.low, figure.high
    return row


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
