"""Judge the scores of a store by measured labels.

Nothing here depends on when, where or in which order scores were written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..basics import SIZES, Array
from ..data import table as get_table
from ..data.tables import Table, Task
from ..errors import InputError
from ..scoring.store import Store
from ..scoring.table_runs import Settings
from . import combinations
from .measured import Measured, agreement, failures, latest, measure, over_seeds
from .resampling import FIGURES, Resamples
from .results import LEVEL, SHARE, TOP, Figure, Greedy, Judged, Report, Result, RunReport

_FEWEST = 10  # architectures below which figures would say nothing
_RANDOM = 20  # seeded random scorings


def judge(
    store: str | Path | Store,
    run: int | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """Judge the scores of a store's runs by the measured labels of their tables.

    Args:
        store: a file that ``run`` wrote, or an open store.
        run: the number of one run; by default all runs are judged.
        resamples: the number of bootstrap resamples; all rows of a run use the same ones.
        seed: of resamples, random scores, folds and draws of labels.

    Raises:
        InputError: there is no such store or run, or no run can be judged; the message says why.
            If only some runs cannot be judged, the report says so in their ``problem``.
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
    """Judge one sample by its scores and labels alone.

    The score of a proxy is the mean over its seeds, with the sign for which larger is better. Its
    figures use the architectures for which it has a value.

    Args:
        scores: as ``Store.scores`` returns them, in any order.
        truth: a finite label for each architecture, larger is better. Architectures without a row
            in ``scores`` are left out.
        trainings: (architectures of ``truth``, training seeds) for the noise ceiling.
        resamples, seed: as of ``judge``.

    Raises:
        InputError: fewer than ten architectures have both scores and a label.
    """
    here = np.asarray(truth.index.isin(scores["arch"].unique()))
    if here.sum() < _FEWEST:
        raise InputError(
            f"scores: {here.sum()} architectures have scores and a label, expected at least "
            f"{_FEWEST}; go on with the same archrank benchmark command, or with more --sample"
        )
    notes = []
    if not here.all():
        notes.append(f"{(~here).sum()} architectures of the sample have no scores yet.")
    trainings = None if trainings is None else trainings[here]
    truth = truth[here]
    measured = measure(latest(scores, notes), truth)
    oriented = {name: one.score for name, one in measured.items()}
    control = oriented.get("params", oriented.get("flops"))
    if control is None:
        notes.append("Neither params nor flops was scored: nothing is controlled for size.")
    elif "params" not in oriented:
        notes.append("params was not scored: correlations are controlled for flops.")
    bench = _Bench(
        np.array(truth, dtype=np.float64), control, oriented.get("params"), resamples, seed
    )

    results = [_result_of_proxy(bench, name, one) for name, one in measured.items()]
    results.sort(key=lambda result: (-_or_lowest(result.figures["tau"].value), result.name))
    results += _baselines(bench, trainings)
    combined, greedy = _combinations(bench, measured, notes)
    results += combined
    return Judged(
        results=tuple(results),
        failures=failures(measured),
        scores=pd.DataFrame(oriented, index=truth.index),
        truth=truth,
        agreement=agreement(oriented),
        greedy=greedy,
        notes=tuple(notes),
    )


# --- runs -----------------------------------------------------------------------------------------


def _judge_run(
    store: Store, number: int, stored: Mapping[str, Any], resamples: int, seed: int
) -> RunReport:
    """Judge one run; what hinders it becomes its problem, so that others are reported."""
    sample = store.sample(number)
    report = RunReport(number, stored, len(sample))
    try:
        settings = Settings(**stored)
    except TypeError as error:
        problem = f"its settings are of another release of archrank ({error})"
        return replace(report, problem=problem)
    try:
        table = get_table(settings.table)
        task = _task_of(table, settings.task)
        facts = _facts(table, task)
        report = replace(report, facts=facts, ceiling=_ceiling(table, task.name))
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
        return replace(report, problem=str(error))
    return replace(report, judged=judged)


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


# --- figures --------------------------------------------------------------------------------------


class _Bench:
    """What everything is judged by: the same truth, size and resamples."""

    def __init__(
        self, truth: Array, control: Array | None, params: Array | None, count: int, seed: int
    ):
        self.truth, self.params, self.seed = truth, params, seed
        self.resamples = Resamples(truth, control, count=count, seed=seed, top=TOP, share=SHARE)

    def figures(self, columns: Array) -> dict[str, Figure]:
        """Judge a score; of several equal ones take the mean, with all their resamples."""
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
    """Take the mean of the values (first), and an interval of all resamples of equal scores."""
    values = np.array([part[0] for part in parts])
    resampled = np.concatenate([part[1:] for part in parts])
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(values).all() or not len(resampled):
        return Figure(float(values.mean()))
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(values.mean()), float(low), float(high))


def _baselines(bench: _Bench, trainings: Array | None) -> list[Result]:
    size = len(bench.truth)
    luck = np.random.default_rng((bench.seed, 1)).random((size, _RANDOM))
    note = f"mean of {_RANDOM} random orders"
    found = [Result("random", "random", bench.figures(luck), size, seeds=_RANDOM, note=note)]
    if trainings is None:
        return found
    complete = np.asarray(np.isfinite(trainings).all(axis=1))
    if complete.sum() >= _FEWEST:
        columns = np.where(complete[:, None], trainings, np.nan)
        found.append(
            Result(
                "noise ceiling",
                "ceiling",
                bench.figures(columns),
                int(complete.sum()),
                seeds=trainings.shape[1],
                note="one measured training as the score, judged by the label (their mean)",
            )
        )
    return found


def _result_of_proxy(bench: _Bench, name: str, one: Measured) -> Result:
    score = one.score
    failed = one.tried & np.isnan(score)
    figures = bench.figures(score[:, None])
    # A failure must be no advantage, so it is also counted as the worst score.
    last = np.where(failed, -np.inf, score) if failed.any() else None
    figures["tau_failed_last"] = (
        figures["tau"] if last is None else _figure([bench.resamples.tau(last)])
    )
    spread, between = over_seeds(one.by_seed, bench.truth)
    return Result(
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


def _combinations(
    bench: _Bench, measured: Mapping[str, Measured], notes: list[str]
) -> tuple[list[Result], Greedy | None]:
    """Judge several proxies as one score: aggregated, chosen by labels, learned from labels."""
    oriented = {name: one.score for name, one in measured.items()}
    usable = {name: values for name, values in oriented.items() if np.isfinite(values).any()}
    found = combinations.without_labels(oriented)
    chosen = combinations.greedy(usable, bench.truth, bench.seed)
    learned = combinations.learned(usable, bench.truth, bench.seed)
    if chosen is not None:
        found.append(chosen[0])
    if not learned:
        notes.append(
            f"No predictor was fitted to labels: {len(bench.truth)} architectures are too few to "
            f"fit one to {combinations.LABELS[0]} of them and judge it on the others."
        )
    results = [_result_of_ensemble(bench, one, measured) for one in (*found, *learned)]
    return results, None if chosen is None else _held_out(bench, *chosen)


def _result_of_ensemble(
    bench: _Bench, one: combinations.Ensemble, measured: Mapping[str, Measured]
) -> Result:
    members = [measured[name] for name in one.members]
    return Result(
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
    bench: _Bench, one: combinations.Ensemble, chosen: Mapping[str, int], folds: combinations.Rows
) -> Greedy:
    """Measure tau-b within each held-out fold; the interval is of their mean."""
    score = one.columns[:, 0]
    parts = [
        bench.resamples.tau(np.where(folds == fold, score, np.nan)) for fold in np.unique(folds)
    ]
    mean = np.mean(parts, axis=0)
    return Greedy(_figure([mean]), tuple(float(part[0]) for part in parts), dict(chosen))


def _or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
