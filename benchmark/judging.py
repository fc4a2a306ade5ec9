"""What the scores of a store are worth: measured labels joined, every proxy judged alike.

Nothing here depends on when, where or in which order scores were written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..basics import SIZES, Array
from ..data import table as get_table
from ..data.tables import Table, Task
from ..errors import InputError
from ..metrics import kendall
from ..proxies import get
from ..scoring.store import Store
from . import ensembles
from .resampling import FIGURES, Resamples

TOP = 10  # architectures chosen: NDCG, regret, improvement
SHARE = 0.05  # of the best: precision
LEVEL = 0.95  # of the intervals
_FEWEST = 10  # architectures below which figures would say nothing
_RANDOM = 20  # seeded random scorings

Kind = Literal["proxy", "size", "random", "ceiling", "combination", "learned"]


@dataclass(frozen=True)
class Figure:
    """A figure and its bootstrap interval; NaN where it cannot be computed."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Verdict:
    """One row of the table: what one way of scoring is worth.

    Attributes:
        name, kind: of what was judged.
        figures: by name: those of ``FIGURES``,
            ``tau_failed_last`` (failures ranked last) and ``over_params`` (tau-b minus that of
            params, on the same resamples).
        count: architectures that the figures are over.
        failed: architectures that were tried and have no value under any seed.
        waiting: architectures of the sample that it has not been tried on.
        version: of the proxy.
        labels: how many labels it has seen.
        seeds: scoring seeds that its score is the mean of.
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
    """The cross-validated choice: tau-b of the held-out folds, and who was chosen how often."""

    held_out: Figure
    folds: tuple[float, ...]
    chosen: Mapping[str, int]


@dataclass(frozen=True)
class Judged:
    """All figures of one sample.

    Attributes:
        verdicts: the rows, best tau-b first within proxies; others in the order of the page.
        failures: most frequent first.
        scores: by architecture and proxy, means over seeds, larger is better.
        truth: by architecture, larger is better.
        agreement: tau-b between any two proxies.
        greedy: None where there was too little to choose from.
        notes: what was left out, and why.
    """

    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...]
    scores: pd.DataFrame
    truth: pd.Series[float]
    agreement: pd.DataFrame
    greedy: Greedy | None
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Verdict:
        """The row of that name; proxies come first.

        Raises:
            InputError: there is none.
        """
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        raise InputError(
            f"name: got {name!r}, expected one of {', '.join(v.name for v in self.verdicts)}"
        )


@dataclass(frozen=True)
class RunReport:
    """One run of a store, and what its scores are worth; ``problem`` says why they are not known.

    Attributes:
        number, settings: of the run in its store.
        sampled: architectures of the sample.
        facts: of table and task, for people: title, metric, label, licence, notes, ...
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
        """Space, and task where that adds something; the number where another run has the same."""
        space, task = (str(self.settings.get(key, "?")) for key in ("space", "task"))
        title = space if task == space else f"{space} · {task}"
        return f"{title} (run {self.number})" if self.ambiguous else title


@dataclass(frozen=True)
class Report:
    """The runs of a store, judged; ``archrank.benchmark.report`` writes it down."""

    runs: tuple[RunReport, ...]
    resamples: int
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """One line per run and row: figures as ``tau``, ``tau_low``, ``tau_high``, ..."""
        return pd.DataFrame(
            [
                {"run": run.number, **_flat(verdict)}
                for run in self.runs
                if run.judged is not None
                for verdict in run.judged.verdicts
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """All but the single scores, for JSON: missing numbers are None."""
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
                one["rows"] = [_flat(verdict) for verdict in run.judged.verdicts]
                one["failures"] = [asdict(failure) for failure in run.judged.failures]
                one["greedy"] = None if run.judged.greedy is None else asdict(run.judged.greedy)
                one["notes"] = list(run.judged.notes)
            runs.append(one)
        found = {"resamples": self.resamples, "seed": self.seed, "level": LEVEL, "runs": runs}
        cleaned: dict[str, Any] = _without_nan(found)
        return cleaned


def judge(
    store: str | Path | Store,
    run: int | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """Judge the scores of a store's runs by the measured labels of their tables.

    Args:
        store: a file that ``archrank.benchmark.run`` wrote, or an open store.
        run: the number of one run; default all.
        resamples: of the bootstrap; every row of a run is judged on the same ones.
        seed: of resamples, random scores, folds and draws of labels.

    Raises:
        InputError: no such store or run, or no run can be judged; the message says why. A run that
            cannot be judged beside others that can is reported with its ``problem``.
    """
    for name, number, least in (("resamples", resamples, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise InputError(f"{name}: got {number!r}, expected a whole number of at least {least}")
    if not isinstance(store, Store):
        with Store(store, writable=False) as opened:
            return judge(opened, run, resamples=resamples, seed=seed)
    runs = store.runs()
    if not runs:
        raise InputError(f"store: {store.path!r} holds no run yet; archrank benchmark adds one")
    if run is not None and run not in runs:
        raise InputError(f"run: got {run}, expected one of {', '.join(map(str, runs))}")
    wanted = runs if run is None else {run: runs[run]}
    reports = [
        _judge_run(store, number, settings, resamples, seed) for number, settings in wanted.items()
    ]
    if all(report.judged is None for report in reports):
        reasons = "; ".join(dict.fromkeys(report.problem for report in reports))
        raise InputError(f"store: no run of {store.path!r} can be judged: {reasons}")
    titles = Counter(report.title for report in reports)
    reports = [replace(one, ambiguous=titles[one.title] > 1) for one in reports]
    return Report(tuple(reports), resamples, seed)


def judge_frame(
    scores: pd.DataFrame,
    truth: pd.Series[float],
    *,
    trainings: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Judged:
    """All figures of one sample from its scores alone.

    A proxy's score is the mean over its scoring seeds, turned so that larger is better. Its
    figures are over the architectures on which it has a value.

    Args:
        scores: as ``scores`` gives them; the order of rows
            is of no account.
        truth: finite label by architecture, larger is better. Architectures without any row in
            ``scores`` are left out.
        trainings: (architectures of ``truth``, training seeds) for the noise ceiling.
        resamples, seed: as of ``judge``.

    Raises:
        InputError: fewer than ten architectures have both scores and a label.
    """
    here = np.asarray(truth.index.isin(scores["arch"].unique()))
    if here.sum() < _FEWEST:
        raise InputError(
            f"scores: {here.sum()} architectures have scores and a label, expected at least "
            f"{_FEWEST}; go on with the same archrank benchmark command"
        )
    notes = []
    if not here.all():
        notes.append(f"{(~here).sum()} architectures of the sample have no scores yet.")
    trainings = None if trainings is None else trainings[here]
    truth = truth[here]
    measured = _measure(_latest(scores, notes), truth)
    oriented = {name: one.score for name, one in measured.items()}
    control = oriented.get("params", oriented.get("flops"))
    if control is None:
        notes.append("Neither params nor flops was scored: nothing is controlled for size.")
    elif "params" not in oriented:
        notes.append("params was not scored: correlations are controlled for flops.")
    bench = _Bench(
        np.array(truth, dtype=np.float64), control, oriented.get("params"), resamples, seed
    )

    verdicts = [_verdict_of_proxy(bench, name, one) for name, one in measured.items()]
    verdicts.sort(key=lambda verdict: (-_or_lowest(verdict.figures["tau"].value), verdict.name))
    verdicts += _baselines(bench, trainings)
    usable = {name: values for name, values in oriented.items() if np.isfinite(values).any()}
    found = ensembles.without_labels(oriented)
    chosen = ensembles.greedy(usable, bench.truth, seed)
    learned = ensembles.learned(usable, bench.truth, seed)
    if chosen is not None:
        found.append(chosen[0])
    if not learned:
        notes.append(
            f"Nothing was learned from labels: {len(truth)} architectures are too few to learn "
            f"from {ensembles.LABELS[0]} and judge on others."
        )
    verdicts += [_verdict_of_ensemble(bench, one, measured) for one in (*found, *learned)]
    return Judged(
        verdicts=tuple(verdicts),
        failures=_failures(measured),
        scores=pd.DataFrame(oriented, index=truth.index),
        truth=truth,
        agreement=_agreement(oriented),
        greedy=None if chosen is None else _held_out(bench, *chosen),
        notes=tuple(notes),
    )


# --- runs -----------------------------------------------------------------------------------------


def _judge_run(
    store: Store, number: int, stored: Mapping[str, Any], resamples: int, seed: int
) -> RunReport:
    """Judge one run; what hinders it becomes its problem, so that others are reported."""
    from ..scoring.table_runs import Settings

    sample = store.sample(number)
    report = RunReport(number, stored, len(sample))
    try:
        settings = Settings(**stored)
    except TypeError as error:
        problem = f"its settings are of another release of archrank ({error})"
        return RunReport(number, stored, len(sample), problem=problem)
    try:
        table = get_table(settings.table)
        task = _task_of(table, settings.task)
        facts = _facts(table, task)
        report = RunReport(number, stored, len(sample), facts, _ceiling(table, task.name))
        labels = table.labels(task.name).reindex(sample) * task.direction
        known = np.isfinite(labels.to_numpy())
        rows = pd.Series(np.arange(len(table)), index=table.architectures).reindex(sample)
        trainings = table.seeds(task.name)[rows[known].to_numpy(dtype=np.intp)] * task.direction
        judged = judge_frame(
            store.scores(number, settings.condition),
            labels[known],
            trainings=trainings if trainings.shape[1] > 1 else None,
            resamples=resamples,
            seed=seed,
        )
    except InputError as error:
        return RunReport(
            number, stored, len(sample), report.facts, report.ceiling, problem=str(error)
        )
    return RunReport(number, stored, len(sample), report.facts, report.ceiling, judged)


def _task_of(table: Table, name: str) -> Task:
    if name not in table.tasks:
        raise InputError(
            f"task: table {table.name!r} has no {name!r} on this machine; get its files with: "
            f"archrank data fetch {table.name}"
        )
    return table.tasks[name]


def _facts(table: Table, task: Task) -> dict[str, str]:
    return {
        "table": table.name,
        "title": table.title,
        "task": task.name,
        "metric": task.metric,
        "better": "higher" if task.direction > 0 else "lower",
        "label": task.label,
        "epochs": "" if task.epochs is None else str(task.epochs),
        "licence": table.licence,
        "provenance": "\n".join(table.provenance),
        "notes": table.notes,
    }


def _ceiling(table: Table, task: str) -> dict[str, float]:
    found = table.noise_ceiling(task)
    if found is None:
        return {}
    return {name: float(value) for name, value in asdict(found).items()}


# --- proxies --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Measured:
    """All that the store holds of one proxy, on the architectures that are judged."""

    by_seed: Array  # (architectures, seeds), larger is better, NaN where missing
    tried: npt.NDArray[np.bool_]
    version: int
    seconds: float
    memory: float
    failures: tuple[tuple[str, str, int], ...]

    @property
    def score(self) -> Array:
        return _mean_over_seeds(self.by_seed)


def _latest(scores: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Of each proxy the version that is installed, else the latest one stored."""
    kept = []
    for name, rows in sorted(scores.groupby("proxy")):
        versions = sorted(rows["version"].unique())
        current = _installed(str(name))
        chosen = current if current in versions else versions[-1]
        if current is None:
            notes.append(f"{name} is not a proxy of this release: its larger scores are better.")
        elif chosen != current:
            notes.append(f"{name} was scored by version {chosen}; this release has {current}.")
        kept.append(rows[rows["version"] == chosen])
    return pd.concat(kept)


def _installed(name: str) -> int | None:
    try:
        return get(name).version
    except InputError:
        return None


def _direction(name: str) -> float:
    try:
        return get(name).sign
    except InputError:
        return 1.0


def _measure(scores: pd.DataFrame, truth: pd.Series[float]) -> dict[str, _Measured]:
    """Proxy -> what the store holds of it, on the architectures of ``truth``."""
    position = pd.Series(np.arange(len(truth)), index=truth.index)
    scores = scores[scores["arch"].isin(truth.index)]
    found = {}
    for name, rows in sorted(scores.groupby("proxy")):
        at = position[rows["arch"]].to_numpy()
        seeds, column = np.unique(rows["seed"], return_inverse=True)
        fine = (rows["status"] == "ok").to_numpy() & np.isfinite(rows["value"].to_numpy())
        by_seed = np.full((len(truth), len(seeds)), np.nan)
        by_seed[at[fine], column[fine]] = _direction(str(name)) * rows["value"].to_numpy()[fine]
        tried = np.zeros(len(truth), dtype=np.bool_)
        tried[at] = True
        why = rows[~fine].fillna({"reason": ""}).groupby(["status", "reason"])["arch"].nunique()
        found[str(name)] = _Measured(
            by_seed,
            tried,
            int(rows["version"].iloc[0]),
            float(rows["seconds"][fine].median()),
            float(rows["peak_memory"][fine].median()),
            tuple((str(s), str(r), int(n)) for (s, r), n in why.items()),
        )
    return found


def _mean_over_seeds(by_seed: Array) -> Array:
    """NaN only where no seed has a value; divided first, since the largest scores overflow."""
    present = np.isfinite(by_seed)
    count = present.sum(axis=1)
    parts = np.where(present, by_seed, 0.0) / np.maximum(count, 1)[:, None]
    mean: Array = np.where(count > 0, parts.sum(axis=1), np.nan)
    return mean


def _verdict_of_proxy(bench: _Bench, name: str, one: _Measured) -> Verdict:
    score = one.score
    failed = one.tried & np.isnan(score)
    figures = bench.figures(score[:, None])
    # A failure must be no advantage, so it is also counted as the worst score.
    last = np.where(failed, -np.inf, score) if failed.any() else None
    figures["tau_failed_last"] = (
        figures["tau"] if last is None else _figure([bench.resamples.tau(last)])
    )
    spread, between = _over_seeds(one.by_seed, bench.truth)
    return Verdict(
        name=name,
        kind="size" if name in SIZES else "proxy",
        figures=figures,
        count=int(np.isfinite(score).sum()),
        failed=int(failed.sum()),
        waiting=int((~one.tried).sum()),
        version=one.version,
        seeds=one.by_seed.shape[1],
        seed_spread=spread,
        between_seeds=between,
        seconds=one.seconds,
        memory=one.memory,
    )


def _over_seeds(by_seed: Array, truth: Array) -> tuple[float, float]:
    """Standard deviation of the seeds' tau-b, and mean tau-b between two seeds."""
    if by_seed.shape[1] < 2:
        return math.nan, math.nan
    taus = [_tau(column, truth) for column in by_seed.T]
    pairs = [_tau(first, second) for first, second in combinations(by_seed.T, 2)]
    known = [tau for tau in taus if math.isfinite(tau)]
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    agreeing = [tau for tau in pairs if math.isfinite(tau)]
    return spread, float(np.mean(agreeing)) if agreeing else math.nan


def _tau(first: Array, second: Array) -> float:
    """Tau-b where both have a value; NaN where fewer than two do, or one is constant."""
    both = np.isfinite(first) & np.isfinite(second)
    return kendall(first[both], second[both]) if both.sum() > 1 else math.nan


def _agreement(oriented: Mapping[str, Array]) -> pd.DataFrame:
    names = list(oriented)
    found = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for first, second in combinations(names, 2):
        tau = _tau(oriented[first], oriented[second])
        found.loc[first, second] = found.loc[second, first] = tau
    return found


def _failures(measured: Mapping[str, _Measured]) -> tuple[Failure, ...]:
    found = [
        Failure(name, status, reason, count)
        for name, one in measured.items()
        for status, reason, count in one.failures
    ]
    return tuple(sorted(found, key=lambda f: (-f.count, f.proxy, f.status, f.reason)))


# --- figures --------------------------------------------------------------------------------------


class _Bench:
    """What everything is judged by: the same truth, size and resamples."""

    def __init__(
        self, truth: Array, control: Array | None, params: Array | None, count: int, seed: int
    ):
        self.truth, self.params, self.seed = truth, params, seed
        self.resamples = Resamples(truth, control, count=count, seed=seed, top=TOP, share=SHARE)

    def figures(self, columns: Array) -> dict[str, Figure]:
        """Figures of a score, or the mean of those of several equal ones, with all resamples."""
        found = [self.resamples.figures(column) for column in columns.T]
        figures = {name: _figure([one[name] for one in found]) for name in FIGURES}
        if self.params is not None:
            # On the same architectures, and on the same resamples of them.
            figures["over_params"] = _figure(
                [
                    one["tau"]
                    - self.resamples.tau(np.where(np.isfinite(column), self.params, np.nan))
                    for one, column in zip(found, columns.T, strict=True)
                ]
            )
        return figures


def _figure(parts: list[Array]) -> Figure:
    """Mean of the values (first) and percentile interval of all resamples of equal scores."""
    values = np.array([part[0] for part in parts])
    resampled = np.concatenate([part[1:] for part in parts])
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(values).all() or not len(resampled):
        return Figure(float(values.mean()))
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(values.mean()), float(low), float(high))


def _baselines(bench: _Bench, trainings: Array | None) -> list[Verdict]:
    size = len(bench.truth)
    luck = np.random.default_rng((bench.seed, 1)).random((size, _RANDOM))
    note = f"mean of {_RANDOM} random orders"
    found = [Verdict("random", "random", bench.figures(luck), size, seeds=_RANDOM, note=note)]
    if trainings is None:
        return found
    complete = np.asarray(np.isfinite(trainings).all(axis=1))
    if complete.sum() >= _FEWEST:
        columns = np.where(complete[:, None], trainings, np.nan)
        found.append(
            Verdict(
                "noise ceiling",
                "ceiling",
                bench.figures(columns),
                int(complete.sum()),
                seeds=trainings.shape[1],
                note="one measured training as the score, judged by the label (their mean)",
            )
        )
    return found


def _verdict_of_ensemble(
    bench: _Bench, one: ensembles.Ensemble, measured: Mapping[str, _Measured]
) -> Verdict:
    members = [measured[name] for name in one.members]
    return Verdict(
        name=one.name,
        kind="learned" if one.labels else "combination",
        figures=bench.figures(one.columns),
        count=int(np.isfinite(one.columns[:, 0]).sum()),
        labels=one.labels,
        seeds=max(member.by_seed.shape[1] for member in members),
        seconds=float(np.sum([member.seconds for member in members])),
        memory=float(np.max([member.memory for member in members])),
        note=one.note,
    )


def _held_out(
    bench: _Bench, one: ensembles.Ensemble, chosen: Mapping[str, int], folds: ensembles.Rows
) -> Greedy:
    """Tau-b within each held-out fold; the interval is of their mean."""
    score = one.columns[:, 0]
    parts = [
        bench.resamples.tau(np.where(folds == fold, score, np.nan)) for fold in np.unique(folds)
    ]
    mean = np.mean(parts, axis=0)
    return Greedy(_figure([mean]), tuple(float(part[0]) for part in parts), dict(chosen))


# --- plain values ---------------------------------------------------------------------------------


def _flat(verdict: Verdict) -> dict[str, Any]:
    row = {key: value for key, value in vars(verdict).items() if key != "figures"}
    for name, figure in verdict.figures.items():
        row[name] = figure.value
        row[f"{name}_low"], row[f"{name}_high"] = figure.low, figure.high
    return row


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
