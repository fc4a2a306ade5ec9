"""Scoring of candidates into rows: graph, scores, costs and failures; a store can keep them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..basics import Array, Callback, Finished, Progress
from ..errors import ArchrankWarning, InputError
from ..graphs import Graph
from ..progress import begin, tell_of_kept
from ..proxies import Result, get
from .candidates import Candidate
from .data import Data
from .engine import run_works
from .store import Store
from .work import Scale, Scored, Weighed, Work

Place = tuple[dict[str, Any], str, str]
"""Where a store keeps a network: the condition, where it comes from, and its name there."""


@dataclass
class Row:
    """Everything known about one candidate.

    Attributes:
        candidate: the candidate.
        graph: its graph; None if it could not be built or traced.
        scores: proxy -> its values, one for each seed with a value.
        node_scores: proxy -> its values per node of the graph with the first seed, if they were
            asked for.
        costs: cost -> its value.
        excluded: the reasons why it is left out, if it is.
        failures: (proxy or ``"all"``, status, reason).
        seconds: the time that scoring took.
        same_as: the candidate with the same graph that was scored instead.
    """

    candidate: Candidate
    graph: Graph | None = None
    scores: dict[str, list[float]] = field(default_factory=dict)
    node_scores: dict[str, Array] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    excluded: list[Any] = field(default_factory=list)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: float = 0.0
    same_as: str = ""

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    def fail(self, proxy: str, status: str, reason: str | None) -> None:
        """Add a failure, once."""
        failure = (proxy, status, reason or "no reason given")
        if failure not in self.failures:
            self.failures.append(failure)

    def take(self, scored: Scored) -> None:
        """Add what a piece of work found."""
        self.graph = scored.graph
        self.seconds += scored.seconds
        self.node_scores = {**self.node_scores, **scored.node_scores}
        self.weigh(scored.weighed)
        for _, results in scored.results:
            for result in results:
                self.add(result)
        if scored.failure is not None:
            self.fail("all", *scored.failure)

    def weigh(self, weighed: Weighed) -> None:
        """Add what the network costs."""
        self.costs = dict(weighed.costs)
        self.excluded = [replace(one, name=self.name) for one in weighed.excluded]
        for failure in weighed.failures:
            self.fail(*failure)

    def add(self, result: Result) -> None:
        """Add one proxy's value, or why it has none."""
        if result.value is None:
            self.fail(result.name, result.status, result.reason)
        else:
            self.scores.setdefault(result.name, []).append(result.value)

    def finished(self, number: int) -> Finished:
        """Return the row as a result for callbacks."""
        means = {name: float(np.mean(values)) for name, values in self.scores.items()}
        failures = {name: reason for name, _, reason in self.failures}
        failures.update({one.cost: one.reason for one in self.excluded})
        return Finished(number, self.name, {**means, **self.costs}, failures)

    def copy_from(self, other: Row) -> None:
        """Copy everything from a candidate with the same graph."""
        self.graph, self.scores, self.costs = other.graph, other.scores, other.costs
        self.node_scores = other.node_scores
        self.failures = list(other.failures)
        self.excluded = [replace(one, name=self.name) for one in other.excluded]
        self.same_as = other.same_as or other.name


@dataclass(frozen=True)
class Plan:
    """How candidates are scored.

    Attributes:
        proxies: their names.
        data: the data to run networks on.
        seeds: the seeds of weights and data, each an initialisation to score.
        device: the device to run on.
        scale: finds the costs of candidates; None if no costs are needed.
        unbuilt: whether the scale needs only the graph, not the network.
        engine, jobs, address: see ``run_works``.
        store: the file that keeps scores; scores in it are not computed again.
        per_node: whether values per node with the first seed are needed as well.
        enough: says for which graphs no proxy is needed; None if all need proxies.
        threads: the number of threads of each piece of work; by default one if a store keeps the
            scores, otherwise all.
    """

    proxies: tuple[str, ...]
    data: Data
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"
    scale: Scale | None = None
    unbuilt: bool = True
    engine: str = "local"
    jobs: int = 1
    address: str | None = None
    store: str | Path | None = None
    per_node: bool = False
    threads: int | None = None
    enough: Callable[[Graph], bool] | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether work leaves this process."""
        return self.engine == "ray" or self.jobs > 1


def score_candidates(
    candidates: Sequence[Candidate],
    plan: Plan,
    progress: Progress | None = None,
    callback: Callback | None = None,
) -> list[Row]:
    """Score candidates, each once, into rows of the same order.

    Candidates with the same graph are scored once, and the later ones copy the scores of the
    first. A failed candidate is never copied, since its weights may be the cause. Other processes
    do not know graphs that were found meanwhile: tracing everything first would cost more than
    scoring a few duplicates. Duplicates in search spaces are found by their names.

    Raises:
        InputError: a candidate cannot be sent to another process.
        ArchrankError: the whole run ends; the store keeps what it holds.
    """
    if plan.elsewhere:
        _check_sendable(candidates, plan)
    with ExitStack() as stack:
        store = None if plan.store is None else stack.enter_context(Store(plan.store))
        scoring = _Scoring(candidates, plan, store, progress, callback)
        scoring.run()
    return scoring.rows


class _Scoring:
    """One run over candidates: which rows are done, and which graphs were seen."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        plan: Plan,
        store: Store | None,
        progress: Progress | None,
        callback: Callback | None,
    ):
        self._plan, self._store = plan, store
        self._progress, self._callback = progress, callback
        self.rows = [Row(candidate) for candidate in candidates]
        self._by_name = {row.name: row for row in self.rows}
        self._first: dict[str, Row] = {}  # graph -> the row that was scored
        self._seen: set[str] = set()
        self._done = 0
        self._kept, self._told = 0, False  # rows that the store holds whole, and whether it is said
        # Looked up once: a file may import more of its neighbours when its networks are built.
        self._places: dict[str, Place | None] = {}
        shared = max(1, torch.get_num_threads() // plan.jobs) if plan.elsewhere else None
        alone = store is not None or plan.engine == "ray"
        self._threads = plan.threads or (1 if alone else shared)

    def run(self) -> None:
        """Score all of them, doubles of what is known to be one network last."""
        self._run()
        if self._kept and not self._told:
            self._tell_of_kept()

    def _run(self) -> None:
        originals: dict[str, Row] = {}
        for row in self.rows:
            originals.setdefault(row.candidate.network, row)
        unique = list(originals.values())
        self._score(unique if self._plan.elsewhere else self.rows)
        if self._plan.elsewhere:
            doubles = [r for r in self.rows if originals[r.candidate.network] is not r]
            self._score([r for r in doubles if originals[r.candidate.network].failures])
            for row in doubles:
                original = originals[row.candidate.network]
                if not original.failures:
                    row.copy_from(original)
                    self._finish(row)
            self._share_between_equal_graphs()

    def _score(self, rows: Iterable[Row]) -> None:
        plan = self._plan
        works = self._works(rows)
        results = run_works(works, plan.engine, plan.jobs, plan.address, self._seen)
        with closing(results):
            for work, scored in results:
                row = self._by_name[work.candidate.name]
                self._keep(work, scored)
                if scored.repeats:
                    assert scored.graph is not None
                    row.copy_from(self._first[scored.graph.hash])
                    row.seconds += scored.seconds
                else:
                    row.take(scored)
                self._finish(row)

    def _works(self, rows: Iterable[Row]) -> Iterator[Work]:
        """Yield what is missing, looked up when its turn comes: other processes may write, too."""
        plan = self._plan
        for row in rows:
            missing = self._recall(row)
            if not missing:
                self._kept += 1
            elif self._kept and not self._told:
                self._tell_of_kept()
            begin(self._progress, row.name)
            if missing:
                yield Work(
                    row.candidate,
                    missing,
                    plan.data,
                    plan.device,
                    plan.scale,
                    threads=self._threads,
                    per_node=plan.per_node,
                    unbuilt=plan.unbuilt,
                    enough=plan.enough,
                )
            else:
                self._finish(row)

    def _tell_of_kept(self) -> None:
        self._told = True
        tell_of_kept(self._plan.store, self._kept, len(self.rows), "candidates")

    def _finish(self, row: Row) -> None:
        if row.graph is not None and not row.failures and not row.same_as:
            self._first.setdefault(row.graph.hash, row)
            self._seen.add(row.graph.hash)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, len(self.rows), row.name)
        if self._callback is not None:
            self._callback(row.finished(self._done))

    def _share_between_equal_graphs(self) -> None:
        first: dict[str, Row] = {}
        for row in self.rows:
            if row.graph is None:
                continue
            if row.graph.hash in first:
                row.copy_from(first[row.graph.hash])
            elif not row.failures:
                first[row.graph.hash] = row

    # --- the store ------------------------------------------------------------------------------

    def _place(self, candidate: Candidate) -> Place | None:
        """Return where the store keeps a candidate: condition, source and name."""
        if self._store is None:
            return None
        if candidate.name not in self._places:
            condition, identity = self._plan.data.condition(candidate), candidate.identity
            place = None
            if condition is not None and identity is not None:
                place = (condition, *identity)
            elif None not in self._places.values():
                _warn_of_unkept(candidate)
            self._places[candidate.name] = place
        return self._places[candidate.name]

    def _recall(self, row: Row) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """Fill a row with what the store holds, and return what is missing."""
        plan, place = self._plan, self._place(row.candidate)
        everything = tuple((seed, plan.proxies) for seed in plan.seeds)
        if place is None or self._store is None:
            return everything
        graph = self._store.graph(*place) or plan.data.graph(row.candidate)
        if graph is None or not plan.unbuilt:
            return everything
        if plan.enough is not None and plan.enough(graph):
            return self._whole(row, graph)
        held = {seed: self._store.of(*place, seed) for seed in plan.seeds}
        if plan.per_node:
            nodes = self._store.node_scores(*place, plan.seeds[0])
            held = {
                seed: [s for s in scores if s.value is None or (s.name, s.version) in nodes]
                for seed, scores in held.items()
            }
            row.node_scores = {name: values for (name, _), values in nodes.items() if len(values)}
        missing = []
        wanted = {(name, get(name).version) for name in plan.proxies}
        for seed in plan.seeds:
            kept = [s for s in held[seed] if (s.name, s.version) in wanted]
            for score in kept:
                row.add(score)
                row.seconds += score.seconds
            names = {score.name for score in kept}
            left = tuple(name for name in plan.proxies if name not in names)
            if left:
                missing.append((seed, left))
        return tuple(missing) if missing else self._whole(row, graph)

    def _whole(self, row: Row, graph: Graph) -> tuple[()]:
        """Fill in the graph of a row that misses nothing else, and what the network costs."""
        row.graph = graph
        if self._plan.scale is not None:
            row.weigh(self._plan.scale(row.candidate, None, None, graph))
        return ()

    def _keep(self, work: Work, scored: Scored) -> None:
        place = self._place(work.candidate)
        if place is None or self._store is None or scored.graph is None:
            return
        for seed, results in scored.results:
            self._store.add(*place, seed, results)
        if work.per_node and scored.results:
            seed, results = scored.results[0]
            found = {
                (r.name, r.version): scored.node_scores.get(r.name, np.empty(0)) for r in results
            }
            self._store.add_node_scores(*place, seed, found)
        self._store.add_graph(*place, scored.graph)


def _warn_of_unkept(candidate: Candidate) -> None:
    """Say, of the first one that a store cannot keep, why it cannot."""
    why = "a later run could not know it, or its data, again"
    if candidate.identity is None:
        why = (
            "modules and functions of this process have no name that a later run could know them "
            "by; name files (models.py), timm:NAME or SPACE:ARCHITECTURE"
        )
    warnings.warn(
        f"store: scores of {candidate.name!r} and its like are not kept, since {why}",
        ArchrankWarning,
        stacklevel=2,
    )


def _check_sendable(candidates: Sequence[Candidate], plan: Plan) -> None:
    for candidate in candidates:
        try:
            pickle.dumps((candidate, plan.data, plan.scale))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"jobs: candidate {candidate.name!r} cannot be sent to another process ({error}); "
                "use jobs=1, or functions and classes defined at the top of a module"
            ) from None
