"""Candidates in, an ordered table out."""

from __future__ import annotations

import json
import math
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from ..basics import SIZES, Array, Progress
from ..costs.limits import (
    COSTS,
    Excluded,
    checked_cost,
    checked_limits,
    latency_origin,
    measured_latency,
    nobody_left,
    predicted_latency,
    size,
    violations,
)
from ..errors import ArchrankError, InputError, MissingExtraError
from ..graphs import Graph, trace
from ..graphs.tracing import is_shape
from ..metrics import residual_rank
from ..predictors.features.evidence import MEASURED, Evidence
from ..predictors.predicting import is_predictor, load_predictor, predicted
from ..proxies import get, score
from ..proxies.planner import usable_device
from ..proxies.recording.model_runner import Loss
from ..proxies.registry import names_in
from ..scoring.candidates import Candidate, FromSpace, FromZoo, collect
from .aggregation import COMBINATIONS, POPULATION, combined, relative_ranks
from .front import pareto_front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..predictors import Predictor, TransferRank

PRETRAINED = "auto"
"""How the pretrained predictor is asked for."""
SURE = 0.75
"""The chance of being better from which on one of two neighbours is said to be."""


@dataclass(frozen=True)
class Term:
    """One thing to rank by: a proxy or a population score, or one controlled for another."""

    proxy: str
    control: str | None = None

    @property
    def label(self) -> str:
        """How it is written: ``gradsign`` or ``gradsign|params``."""
        return self.proxy if self.control is None else f"{self.proxy}|{self.control}"

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that it is computed from."""
        names = (self.proxy,) if self.control is None else (self.proxy, self.control)
        return tuple(p for n in names for p in (POPULATION[n].proxies if n in POPULATION else (n,)))


@dataclass(frozen=True)
class _Settings:
    """All that a worker needs to score one candidate."""

    proxies: tuple[str, ...]
    predictors: tuple[str, ...]
    judged: bool  # by the pretrained predictor, too
    inputs: Any
    targets: Any
    loss: Loss | None
    seeds: int
    seed: int
    device: str
    batch_size: int
    limits: dict[str, float]
    costs: tuple[str, ...]
    latency: str | None


@dataclass
class _Row:
    """What is known of one candidate."""

    name: str
    hash: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    excluded: list[Excluded] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)  # proxy -> one per seed
    deviations: dict[str, float] = field(default_factory=dict)  # of predictors that know theirs
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    strange: bool = False  # unlike all that the pretrained predictor learnt of
    seconds: float = 0.0
    same_as: str = ""


def rank(
    candidates: Any,
    inputs: Any = None,
    by: str | Iterable[str] = "auto",
    *,
    combine: str = "mean_rank",
    targets: Any = None,
    loss: Loss | None = None,
    seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    jobs: int = 1,
    batch_size: int = 64,
    limits: Mapping[str, float] | None = None,
    costs: Iterable[str] = (),
    latency: str | Path | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Order candidates by zero-cost proxies, the most promising first.

    Candidates are built, scored and dropped one at a time, so memory does not grow with their
    number. Candidates of identical graphs have the scores of the first of them: architectures
    are compared, not weights.

    Args:
        candidates: a list or dict of modules, of callables that build them, or of names
            (``"timm:resnet18"``, ``"timm:mobilenetv3*"``, ``"torchvision:*"``, ``"models.py"``,
            ``"models.py:net"``).
        inputs: as :func:`archrank.score` takes; default each candidate's own, if it has one.
        by: a proxy, several (or comma-separated), ``"a|b"`` for a controlled for b (the residual
            of its ranks), a score of whole populations (``"az_nas"``, ``"te_nas"``, ``"vote"``),
            the folder of a saved predictor, or ``"auto"``: the pretrained predictor
            (:class:`~archrank.predictors.TransferRank`) on proxies of all kinds.
        combine: how several become one score in [0, 1]: ``"mean_rank"`` (mean of relative ranks),
            ``"log_rank"`` (AZ-NAS: mean of log(rank / m), best = m; not in [0, 1]) or ``"vote"``
            (share of other candidates beaten by a majority of proxies).
        targets, loss, batch_size: as :func:`archrank.score` takes.
        seeds: how many initialisations to average over. Given modules are scored as they are, so
            only their random data varies.
        seed: the first of them.
        device: ``"auto"`` (CUDA if there is one, else CPU), or a device's name.
        jobs: processes. Candidates must then be importable by name (no lambdas).
        limits: what candidates may cost at most, by :data:`~archrank.costs.limits.COSTS`:
            ``params``, ``flops``, ``activations``, ``memory`` (MB), ``latency`` (ms). Those beyond
            are not scored, and stand in :attr:`Ranking.excluded` with the reason.
        costs: more of these to have in the table.
        latency: folder of a saved :class:`~archrank.costs.CostPredictor` that says it; by
            default it is measured here, on ``device``.
        progress: called with (done, total, name) after each candidate.

    Raises:
        InputError: an argument is not as above, or no candidate is within the limits (it names
            the nearest). A candidate that fails is a row of :attr:`Ranking.failures`, not an error.

    Example:
        >>> import torch
        >>> import archrank
        >>> nets = {f"width {w}": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, w),
        ...                                           torch.nn.ReLU(), torch.nn.Linear(w, 10))
        ...         for w in (8, 32)}
        >>> archrank.rank(nets, (3, 4, 4), by="params").table["name"].tolist()
        ['width 32', 'width 8']
    """
    terms = _terms(by)
    if combine not in COMBINATIONS:
        raise InputError(f"combine: got {combine!r}, expected one of {', '.join(COMBINATIONS)}")
    for name, number in (("seeds", seeds), ("jobs", jobs)):
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{name}: got {number!r}, expected a whole number of at least 1")
    found = collect(candidates)
    for candidate in found:
        brings_its_own = candidate.inputs is not None or isinstance(candidate.build, FromZoo)
        if inputs is None and not brings_its_own:
            raise InputError(
                f"inputs: candidate {candidate.name!r} brings no input of its own; pass a shape "
                "without batch dimension such as (3, 32, 32)"
            )
    names = dict.fromkeys(name for term in terms for name in term.proxies)
    allowed = checked_limits(limits)
    wanted = tuple(dict.fromkeys((*allowed, *(checked_cost(cost, "costs") for cost in costs))))
    folder = None if latency is None else str(latency)
    if folder is not None and not is_predictor(folder):
        raise InputError(f"latency: {folder!r} is no folder of a saved predictor")
    if "latency" in wanted and folder is None and jobs > 1:
        raise InputError("jobs: latency is measured, which needs jobs=1; or name a predictor of it")
    settings = _Settings(
        proxies=tuple(name for name in names if not is_predictor(name)),
        predictors=tuple(name for name in names if is_predictor(name)),
        judged=any(term.proxy == PRETRAINED for term in terms),
        inputs=inputs,
        targets=targets,
        loss=loss,
        seeds=seeds,
        seed=seed,
        device=usable_device(device),
        batch_size=batch_size,
        limits=allowed,
        costs=wanted,
        latency=folder,
    )
    if jobs == 1 or len(found) == 1:
        rows = _in_turn(found, settings, progress)
    else:
        rows = _in_parallel(found, settings, jobs, progress)
    origin = latency_origin(folder, settings.device) if "latency" in wanted else ""
    return Ranking(rows, terms, combine, wanted, origin)


def _terms(by: str | Iterable[str]) -> list[Term]:
    names = names_in(by) if isinstance(by, str) else [*by]
    if not names or "" in names:
        raise InputError(f"by: got {by!r}, expected 'auto' or names of proxies")
    terms = []
    for name in dict.fromkeys(names):
        proxy, bar, control = name.partition("|")
        for one in (proxy, control) if bar else (proxy,):
            if one not in POPULATION and not is_predictor(one):
                get(one)
        terms.append(Term(proxy, control if bar else None))
    return terms


# --- scoring --------------------------------------------------------------------------------------


def _in_turn(found: list[Candidate], settings: _Settings, progress: Progress | None) -> list[_Row]:
    seen: dict[str, _Row] = {}
    rows = []
    for candidate in found:
        row = _score_candidate(candidate, settings, seen)
        if row.hash and not row.failures:  # what failed may be one network's weights, not its graph
            seen.setdefault(row.hash, row)
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(found), candidate.name)
    return rows


def _score_candidate(candidate: Candidate, settings: _Settings, seen: dict[str, _Row]) -> _Row:
    """Build, trace, score and drop one candidate; whatever it raises becomes a failure."""
    row = _Row(candidate.name)
    start = time.perf_counter()
    try:
        for offset in range(settings.seeds):
            seed = settings.seed + offset
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = _built(candidate)
                inputs = _inputs(candidate, model, settings)
                if offset == 0:
                    # Data that is not an input by itself (a list of batches) is traced by score.
                    graph = _graph(model, inputs)
                    if graph is not None:
                        _describe(row, graph)
                        if row.hash in seen:
                            _take_over(row, seen[row.hash])
                            break
                        _weigh(row, candidate, model, inputs, graph, settings)
                        if row.excluded:
                            break
                scores = score(
                    model,
                    inputs,
                    settings.targets,
                    settings.proxies or ("params",),  # for its graph; it takes no pass
                    settings.loss,
                    seed,
                    settings.device,
                    settings.batch_size,
                    graph=graph,
                )
            if graph is None:
                graph = scores.graph
                _describe(row, graph)
                _weigh(row, candidate, model, inputs, graph, settings)
            if offset == 0:
                _predict(row, candidate, graph, settings.predictors)
                row.strange = settings.judged and _is_strange(graph)
            for name, result in scores.items():
                if result.value is not None:
                    row.values.setdefault(name, []).append(result.value)
                else:
                    reason = result.reason or "no reason given"
                    failure = (name, result.status, reason)
                    if failure not in row.failures:
                        row.failures.append(failure)
    except ArchrankError as error:
        row.failures.append(("all", "unsupported", str(error)))
    except Exception as error:
        # The user's own builder or module may raise anything: one row fails, the others go on.
        row.failures.append(("all", "error", f"{type(error).__name__}: {error}"))
    row.seconds = time.perf_counter() - start
    return row


def _weigh(
    row: _Row,
    candidate: Candidate,
    model: nn.Module,
    inputs: Any,
    graph: Graph,
    settings: _Settings,
) -> None:
    """What it costs, latency last and only if all else is within the limits."""
    row.costs = {cost: size(graph, cost) for cost in settings.costs if cost != "latency"}
    others = {cost: limit for cost, limit in settings.limits.items() if cost != "latency"}
    row.excluded = violations(row.name, row.costs, others)
    if row.excluded or "latency" not in settings.costs:
        return
    try:
        if settings.latency is None:
            found = measured_latency(model, inputs, settings.device)
        else:
            predictor = _loaded(settings.latency)
            found = predicted_latency(predictor, _readable(predictor, candidate, graph))
        row.costs["latency"] = found
        why = ""
    except InputError as error:
        why = str(error)
        row.failures.append(("latency", "unsupported", why))
    row.excluded = violations(row.name, row.costs, settings.limits, why)


def _readable(predictor: Predictor, candidate: Candidate, graph: Graph) -> str | Graph:
    """A candidate as an architecture of the predictor's space, of which it may know more than the
    graph says; else the graph."""
    build = candidate.build
    known = isinstance(build, FromSpace) and build.space == predictor.space
    return build.arch if known and isinstance(build, FromSpace) else graph


def _predict(row: _Row, candidate: Candidate, graph: Graph, predictors: Iterable[str]) -> None:
    """What learned predictors say; they know of no seeds."""
    for name in predictors:
        predictor = _loaded(name)
        try:
            mean, std = predicted(predictor, [_readable(predictor, candidate, graph)])
            row.values[name], row.deviations[name] = [float(mean[0])], float(std[0])
        except InputError as error:
            row.failures.append((name, "unsupported", str(error)))


def _is_strange(graph: Graph) -> bool:
    """Whether a graph is unlike all that the pretrained predictor learnt of."""
    return bool(_pretrained().familiarity([graph]).strange[0])


@lru_cache(maxsize=1)
def _pretrained() -> TransferRank:
    from ..predictors.pretrained.transfer import shipped

    return shipped()


@lru_cache(maxsize=8)
def _loaded(name: str) -> Predictor:
    return load_predictor(name)


def _built(candidate: Candidate) -> nn.Module:
    model = candidate.build()
    if not isinstance(model, nn.Module):
        raise InputError(
            f"candidates: {candidate.name!r} built a {type(model).__name__}, expected a "
            "torch.nn.Module"
        )
    return model


def _inputs(candidate: Candidate, model: nn.Module, settings: _Settings) -> Any:
    """The input asked for, else the candidate's own, else what the model's own config says."""
    if settings.inputs is not None:
        return settings.inputs
    if candidate.inputs is not None:
        return candidate.inputs
    config = getattr(model, "pretrained_cfg", None) or {}
    if "input_size" in config:
        return tuple(config["input_size"])
    raise InputError(f"inputs: {candidate.name!r} does not say its input; pass one")


def _graph(model: nn.Module, inputs: Any) -> Graph | None:
    """The graph, or None for batches of the user's, of which ``score`` traces the first."""
    if is_shape(inputs) or isinstance(inputs, (tuple, Mapping, torch.Tensor)):
        return trace(model, inputs)
    return None


def _describe(row: _Row, graph: Graph) -> None:
    row.hash = graph.hash
    row.sizes = {name: getattr(graph, name) for name in (*SIZES, "depth")}


def _take_over(row: _Row, other: _Row) -> None:
    row.values, row.deviations, row.strange = other.values, other.deviations, other.strange
    row.failures = list(other.failures)
    row.costs = other.costs
    row.excluded = [replace(one, name=row.name) for one in other.excluded]
    row.same_as = other.same_as or other.name


def _in_parallel(
    found: list[Candidate], settings: _Settings, jobs: int, progress: Progress | None
) -> list[_Row]:
    """Each candidate in one of ``jobs`` processes.

    Building and tracing all of them first, to find identical graphs, costs more than scoring a few
    doubles; those of search spaces are found by their names.
    """
    for candidate in found:
        try:
            pickle.dumps((candidate, settings))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"jobs: candidate {candidate.name!r} cannot be sent to another process ({error}); "
                "use jobs=1, or functions and classes defined at the top of a module"
            ) from None
    first: dict[str, Candidate] = {}
    for candidate in found:
        first.setdefault(_network_of(candidate), candidate)
    done = 0

    def count(name: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(found), name)

    unique = list(first.values())
    rows = dict(_spread(_score_alone, unique, settings, jobs, count))
    doubles = [candidate for candidate in found if candidate.name not in rows]
    # As in _in_turn, the double of what failed is scored itself.
    alone = [c for c in doubles if rows[first[_network_of(c)].name].failures]
    rows.update(_spread(_score_alone, alone, settings, jobs, count))
    for candidate in doubles:
        if candidate.name not in rows:
            original = rows[first[_network_of(candidate)].name]
            rows[candidate.name] = replace(original, name=candidate.name, seconds=0.0)
            count(candidate.name)
    seen: dict[str, _Row] = {}
    for candidate in found:
        row = rows[candidate.name]
        if row.hash in seen:
            _take_over(row, seen[row.hash])
        elif row.hash and not row.failures:
            seen[row.hash] = row
    return [rows[c.name] for c in found]


def _network_of(candidate: Candidate) -> str:
    """A name that candidates share which are known to be one network before they are built."""
    build = candidate.build
    if not isinstance(build, FromSpace):
        return candidate.name
    from ..data import space

    return f"{build.space}:{space(build.space).canonical(build.arch)}:{build.task}"


def _score_alone(candidate: Candidate, settings: _Settings) -> _Row:
    return _score_candidate(candidate, settings, {})


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback of its own


def _spread(
    work: Callable[[Candidate, _Settings], _Row],
    found: list[Candidate],
    settings: _Settings,
    jobs: int,
    count: Callable[[str], None] | None,
) -> list[tuple[str, _Row]]:
    """Run ``work`` on all candidates in processes; one whose process dies fails alone."""
    threads = max(1, torch.get_num_threads() // jobs)
    done: dict[str, _Row] = {}

    def pool(workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=_start_worker, initargs=(threads,)
        )

    try:
        with pool(min(jobs, max(1, len(found)))) as executor:
            futures = {executor.submit(work, c, settings): c.name for c in found}
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                if count is not None:
                    count(futures[future])
    except BrokenProcessPool:
        # A process was killed (out of memory, say): find out whose it was, one at a time.
        for candidate in found:
            if candidate.name in done:
                continue
            try:
                with pool(1) as executor:
                    done[candidate.name] = executor.submit(work, candidate, settings).result()
            except BrokenProcessPool:
                row = _Row(candidate.name)
                reason = "its process was killed, most likely for want of memory"
                row.failures.append(("all", "out of memory", reason))
                done[candidate.name] = row
            if count is not None:
                count(candidate.name)
    return list(done.items())


def _chances(score: Array, error: Array) -> Array:
    """The chance that the one above is better, of each but the first."""
    apart = np.hypot(error[1:], error[:-1])
    step = score[:-1] - score[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(step == 0, 0.0 * apart, step / apart)  # without any error, surely
    return np.append(np.nan, stats.norm.cdf(steps))


class Ranking:
    """An ordered table of candidates.

    Attributes:
        table: DataFrame, best first: ``rank`` (ties share the smallest; NaN if nothing could be
            scored), ``name``, ``score``, ``std``, one column per term of ``by`` (means over seeds,
            and ``NAME std`` if there are several), ``params``, ``flops``, ``activations``,
            ``depth``, ``seconds``, ``same_as`` (the candidate of the same graph that was scored);
            ``memory_mb`` and ``latency_ms`` where they were asked for; with ``by="auto"`` one
            column per kind of evidence (normal scores among the candidates) and the proxies that
            they are made of. The score is then the expected label in standard deviations of such
            a population.
            ``std`` is the standard deviation of the score over seeds, with one seed of the
            relative ranks over the terms, of one predictor's scores the one that it predicts.
            ``above`` is the chance that the candidate above is truly better, NaN if not known:

                Phi((s - s') / hypot(e, e')),

            s scores, e their standard errors: ``std`` over the root of the number of seeds or
            terms, or as predicted (our choice; errors taken as normal and independent). Below
            :data:`SURE` the two cannot be told apart.
        failures: DataFrame of ``name``, ``proxy`` (``"all"`` if none could run), ``status``,
            ``reason``.
        excluded: DataFrame of candidates beyond a limit: ``name``, ``cost``, ``value``, ``limit``,
            ``reason``.
        latency: where latencies come from, in words; empty if nobody asked.
    """

    def __init__(
        self,
        rows: list[_Row],
        terms: list[Term],
        combine: str,
        costs: Iterable[str] = (),
        latency: str = "",
    ):
        self._terms, self._combine, self.latency = terms, combine, latency
        beyond = [one for row in rows for one in row.excluded]
        names = [column.name for column in fields(Excluded)]
        self.excluded = pd.DataFrame([asdict(one) for one in beyond], columns=names)
        if rows and all(row.excluded for row in rows):
            raise nobody_left(beyond, len(rows))
        rows = [row for row in rows if not row.excluded]
        # (rows, terms, seeds)
        oriented = np.stack([_oriented(rows, term) for term in terms], axis=1)
        mean = _mean(oriented)
        score = combined(mean, combine)
        columns: dict[str, Any] = {"name": [row.name for row in rows], "score": score}
        columns["std"], error = self._spread_of_score(rows, oriented, mean)
        columns["above"] = error  # until neighbours are known
        for index, term in enumerate(terms):
            sign = _sign(term)
            columns[term.label] = sign * mean[:, index]
            if oriented.shape[2] > 1:
                columns[f"{term.label} std"] = _deviation(oriented[:, index])
        if any(term.proxy == PRETRAINED for term in terms):
            columns |= _evidence(rows)
        for name in (*SIZES, "depth"):
            # A term of the same name (by="params") stands there already.
            columns.setdefault(name, [row.sizes.get(name, math.nan) for row in rows])
        for cost in costs:
            columns.setdefault(COSTS[cost], [row.costs.get(cost, math.nan) for row in rows])
        columns["seconds"] = [row.seconds for row in rows]
        columns["same_as"] = [row.same_as for row in rows]
        table = pd.DataFrame(columns)
        # Rounded, so that the last bits of a mean do not break ties.
        rounded = table["score"].map(lambda value: float(f"{value:.12g}"))
        table.insert(0, "rank", rounded.rank(ascending=False, method="min"))
        table = table.sort_values(["rank", "name"], na_position="last", kind="stable")
        for name in (*SIZES, "depth", "rank"):
            table[name] = table[name].astype("Int64")
        table["above"] = _chances(table["score"].to_numpy(float), table["above"].to_numpy(float))
        self.table = table.reset_index(drop=True)
        self.failures = pd.DataFrame(
            [(row.name, *failure) for row in rows for failure in row.failures],
            columns=["name", "proxy", "status", "reason"],
        )

    def _spread_of_score(
        self, rows: list[_Row], oriented: Array, mean: Array
    ) -> tuple[Array, Array]:
        """The standard deviation of each score, and the standard error of the score itself."""
        _, terms, seeds = oriented.shape
        if seeds > 1:
            each = [combined(oriented[:, :, s], self._combine) for s in range(seeds)]
            spread = _deviation(np.stack(each, axis=1))
            return spread, spread / seeds**0.5
        if terms > 1:
            spread = _deviation(np.column_stack([relative_ranks(c) for c in mean.T]))
            return spread, spread / terms**0.5
        predictor = self._terms[0].label
        if predictor == PRETRAINED:
            known = _expected(rows)[1]
            return known, known
        known = np.array([row.deviations.get(predictor, math.nan) for row in rows])
        return known, known

    def __len__(self) -> int:
        return len(self.table)

    @property
    def best(self) -> str:
        """The name of the first candidate."""
        return str(self.table["name"].iloc[0])

    def to_csv(self, path: str | Path) -> None:
        """Write the table as CSV; the file appears whole or not at all."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        self.table.to_csv(partial, index=False)
        partial.replace(path)

    def to_json(self, front: str | None = None) -> str:
        """The table and the failures as JSON; missing numbers are null.

        Args:
            front: a cost, for the names on :meth:`front` too.
        """
        names = {} if front is None else {"front": self.front(front)["name"].tolist()}
        return json.dumps(
            {
                "by": [term.label for term in self._terms],
                "combine": self._combine,
                "table": json.loads(self.table.to_json(orient="records")),
                "failures": json.loads(self.failures.to_json(orient="records")),
                "excluded": json.loads(self.excluded.to_json(orient="records")),
                "latency": self.latency,
                **names,
            },
            indent=2,
        )

    def front(self, cost: str = "flops") -> pd.DataFrame:
        """The candidates that none beats in score at no more cost, cheapest first.

        Args:
            cost: a column of sizes, or one of :data:`~archrank.costs.limits.COSTS` that was asked
            for.

        Raises:
            InputError: no such cost, or it was not asked for.

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
        """Scores against a cost, with the front; needs the extra ``[plots]``.

        Raises:
            InputError: no such cost, or it was not asked for.
            MissingExtraError: matplotlib is not installed.
        """
        front, column = self.front(cost), self._column_of(cost)
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("plotting", "matplotlib", "plots", error) from error
        from .pictures import draw_front

        figure = draw_front(self.table, front, column, self._title(), Figure)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _column_of(self, cost: str) -> str:
        column = COSTS[checked_cost(cost, "cost")]
        if column not in self.table.columns:
            raise InputError(f"cost: {cost} was not asked for; rank with costs=[{cost!r}]")
        return column

    def plot(self, path: str | Path | None = None) -> Figure:
        """Scores in order beside scores against FLOPs; needs the extra ``[plots]``.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("plotting", "matplotlib", "plots", error) from error
        from .pictures import draw_ranking

        figure = draw_ranking(self.table, self._title(), Figure)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def _title(self) -> str:
        labels = ", ".join(term.label for term in self._terms)
        return labels if len(self._terms) == 1 else f"{self._combine} of {labels}"

    def __str__(self) -> str:
        shown = self.table.drop(columns=["seconds", "same_as"])
        text = shown.to_string(index=False, float_format=lambda v: f"{v:.4g}", na_rep="-")
        if len(self.failures):
            text += "\n\n" + self.failures.to_string(index=False)
        return text

    def _repr_html_(self) -> str:
        html = self.table.to_html(index=False, float_format=lambda v: f"{v:.4g}", na_rep="-")
        if len(self.failures):
            html += "<p>Failures</p>" + self.failures.to_html(index=False)
        return html


def _sign(term: Term) -> float:
    # Residuals of ranks and population scores are oriented already.
    oriented = term.control is not None or term.proxy in POPULATION
    return 1.0 if oriented or _higher_is_better(term.proxy) else -1.0


def _higher_is_better(name: str) -> bool:
    """Whether a proxy's or a predictor's larger values are better."""
    try:
        return get(name).higher_is_better
    except InputError:  # names were checked: it is a predictor's folder
        return _loaded(name).higher_is_better


def _oriented(rows: list[_Row], term: Term) -> Array:
    """(rows, seeds): the term's values, larger = better, NaN where missing."""
    values = _oriented_values(rows, term.proxy)
    if term.control is None:
        return values
    control = _oriented_values(rows, term.control)
    residual = np.full_like(values, np.nan)
    for s in range(values.shape[1]):
        present = np.isfinite(values[:, s]) & np.isfinite(control[:, s])
        if present.sum() > 1:
            residual[present, s] = residual_rank(values[present, s], control[present, s])
    return residual


def _oriented_values(rows: list[_Row], name: str) -> Array:
    seeds = max((len(v) for row in rows for v in row.values.values()), default=1)
    if name == PRETRAINED:
        return np.stack([_expected(rows, s)[0] for s in range(seeds)], axis=1)
    if name not in POPULATION:
        return _oriented_values_of(rows, name, seeds)
    population = POPULATION[name]
    # (rows, proxies, seeds)
    parts = np.stack([_oriented_values(rows, proxy) for proxy in population.proxies], axis=1)
    return np.stack([population.score(parts[:, :, s]) for s in range(seeds)], axis=1)


def _oriented_values_of(rows: list[_Row], proxy: str, seeds: int) -> Array:
    grid = _grid(rows, proxy, seeds)
    return grid if _higher_is_better(proxy) else -grid


def _measured(rows: list[_Row], seed: int | None = None) -> Array:
    """(rows, measurements) that evidence is made of, of one seed or the means over all."""
    seeds = max((len(v) for row in rows for v in row.values.values()), default=1)
    grids = np.stack([_oriented_values_of(rows, name, seeds) for name in MEASURED], axis=1)
    return _mean(grids) if seed is None else grids[:, :, seed]


def _expected(rows: list[_Row], seed: int | None = None) -> tuple[Array, Array]:
    """What the pretrained predictor says of candidates together, and its deviations."""
    table, strange = _measured(rows, seed), np.array([row.strange for row in rows], dtype=bool)
    return _pretrained().judged(table, strange)


def _evidence(rows: list[_Row]) -> dict[str, Array]:
    """Columns of the kinds of evidence (normal scores among the candidates), and of what they are
    made of."""
    table = _measured(rows)
    columns = dict(Evidence.of(table).scores(table))
    for name, values in zip(MEASURED, table.T, strict=True):
        if name not in SIZES:
            columns[name] = values if _higher_is_better(name) else -values
    return columns


def _grid(rows: list[_Row], proxy: str, seeds: int) -> Array:
    grid = np.full((len(rows), seeds), np.nan)
    for i, row in enumerate(rows):
        values = row.values.get(proxy, [])
        grid[i, : len(values)] = values
    return grid


def _mean(oriented: Array) -> Array:
    present = np.isfinite(oriented)
    count = present.sum(axis=2)
    total = np.where(present, oriented, 0.0).sum(axis=2)
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _deviation(values: Array) -> Array:
    """Sample standard deviation over the last axis, NaN for fewer than two values."""
    present = np.isfinite(values)
    count = present.sum(axis=-1)
    mean = np.where(present, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
    square = np.where(present, (values - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    deviation: Array = np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)
    return deviation
