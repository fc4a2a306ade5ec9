"""Pieces of work: build, trace, weigh and score a network, and turn errors into reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import nn

from ..basics import Array
from ..errors import ArchrankError, InputError
from ..graphs import Graph, trace
from ..graphs.randomness import seeded
from ..proxies import Result, Scores, get, score
from ..proxies.given_data import first_input
from ..proxies.planner import batches_needed
from .candidates import Candidate
from .data import Data


@dataclass(frozen=True)
class Weighed:
    """The costs of a network, and the reasons why it is left out, if it is.

    Attributes:
        costs: name of a cost -> the network's cost.
        excluded: one reason for each limit that the network exceeds, as records of the caller.
        failures: (cost, status, reason) of costs that cannot be determined.
    """

    costs: Mapping[str, float] = field(default_factory=dict)
    excluded: tuple[Any, ...] = ()
    failures: tuple[tuple[str, str, str], ...] = ()


class Scale(Protocol):
    """A scale that finds costs before scoring; networks beyond a limit are not scored."""

    def __call__(
        self, candidate: Candidate, model: nn.Module | None, inputs: Any, graph: Graph
    ) -> Weighed: ...


@dataclass(frozen=True)
class Work:
    """One candidate, and its missing proxies for each seed.

    Attributes:
        candidate: the candidate to build.
        missing: (seed, names of proxies), in the order of the seeds.
        data: the data that the network runs on, and its loss.
        device: the device that it runs on.
        scale: finds the costs of the network first; None if no costs are needed.
        threads: the number of threads; None for torch's default. Sums depend on it, so scores in a
            store are computed with one thread.
        per_node: whether values per node with the first seed are needed as well.
        unbuilt: whether the scale needs only the graph, not the network.
        enough: says for which graphs no proxy is needed; such networks are traced without weights
            if their builder allows it. None if all need proxies.
    """

    candidate: Candidate
    missing: tuple[tuple[int, tuple[str, ...]], ...]
    data: Data
    device: str = "cpu"
    scale: Scale | None = None
    threads: int | None = None
    per_node: bool = False
    unbuilt: bool = False
    enough: Callable[[Graph], bool] | None = None


@dataclass(frozen=True)
class Scored:
    """The outcome of a piece of work.

    Attributes:
        graph: the graph of the network; None if it could not be traced.
        results: (seed, results of the proxies) for every seed that was scored.
        node_scores: proxy -> its values per node with the first seed, if they were asked for.
        weighed: the costs of the network.
        failure: (status, reason) if nothing could be scored at all.
        repeats: whether this network was not scored, since one with the same graph was.
        seconds: the time that the work took.
    """

    graph: Graph | None = None
    results: tuple[tuple[int, tuple[Result, ...]], ...] = ()
    node_scores: Mapping[str, Array] = field(default_factory=dict)
    weighed: Weighed = Weighed()
    failure: tuple[str, str] | None = None
    repeats: bool = False
    seconds: float = 0.0

    def of_every_proxy(self, work: Work) -> list[tuple[int, list[Result]]]:
        """Return the results of all proxies; a failure of the network is that of every proxy."""
        if self.failure is None:
            return [(seed, list(results)) for seed, results in self.results]
        status, reason = self.failure
        count = sum(len(names) for _, names in work.missing)
        each = self.seconds / max(count, 1)
        return [
            (
                seed,
                [Result(n, get(n).version, None, status, reason, each, None) for n in names],
            )
            for seed, names in work.missing
        ]


def score_work(work: Work, seen: frozenset[str] | set[str] = frozenset()) -> Scored:
    """Build and score a candidate; an error becomes the reason of a failure.

    Args:
        work: what to score.
        seen: hashes of graphs that need no scoring any more.

    Raises:
        ArchrankError: there are no data for any network.
    """
    start = time.perf_counter()
    candidate = work.candidate
    without_weights = _of_graph_alone(work, seen)
    if without_weights is not None:
        return replace(without_weights, seconds=time.perf_counter() - start)
    drawn = [
        (seed, names, work.data.draw(candidate, seed, batches_needed(names)))
        for seed, names in work.missing
    ]
    scored = Scored()
    try:
        with threads_set(work.threads):
            for seed, names, given in drawn:
                scored = _score_under(work, scored, seed, names, given, seen)
                if scored.repeats or scored.weighed.excluded or _is_enough(work, scored.graph):
                    break
    except ArchrankError as error:
        scored = replace(scored, failure=("unsupported", str(error)))
    except (MemoryError, torch.OutOfMemoryError) as error:
        scored = replace(scored, failure=("out of memory", str(error)))
    except Exception as error:
        # A user's own builder or module may raise anything: one network fails, others go on.
        scored = replace(scored, failure=("error", f"{type(error).__name__}: {error}"))
    return replace(scored, seconds=time.perf_counter() - start)


def _score_under(
    work: Work,
    scored: Scored,
    seed: int,
    names: tuple[str, ...],
    given: Any,
    seen: frozenset[str] | set[str],
) -> Scored:
    """Add the scores with one seed; the first seed also traces and weighs the network."""
    candidate, graph = work.candidate, scored.graph
    with seeded(seed):
        model = candidate.built()
        inputs = candidate.inputs_for(model, given)
        if graph is None:
            graph = work.data.graph(candidate)
            if graph is None:
                graph = trace(model, first_input(model, inputs))
            scored = replace(scored, graph=graph)
            if graph.hash in seen:
                return replace(scored, repeats=True)
            scored = replace(scored, weighed=_weigh(work, model, inputs, graph))
            if scored.weighed.excluded or _is_enough(work, graph):
                return scored
        scores = score(
            model,
            inputs,
            work.data.targets,
            names or ("params",),  # which takes no pass: only the graph is asked for
            work.data.loss(candidate),
            seed,
            work.device,
            work.data.batch,
            graph=graph,
        )
    if work.per_node and not scored.results:
        scored = replace(scored, node_scores=_per_node(scores, names))
    found = tuple(scores[name] for name in names)
    return replace(scored, results=(*scored.results, (seed, found)))


def _of_graph_alone(work: Work, seen: frozenset[str] | set[str]) -> Scored | None:
    """Trace a network without weights; None if that is impossible or the graph is not enough."""
    if work.enough is None or not (work.unbuilt or work.scale is None):
        return None
    try:
        model = work.candidate.built_without_weights()
        if model is None:
            return None
        given = work.data.draw(work.candidate, work.missing[0][0], 1)
        inputs = work.candidate.inputs_for(model, given)
        graph = trace(model, first_input(model, inputs))
    # Constructors that look at weights raise anything: the network is built with weights then.
    except Exception:
        return None
    if not work.enough(graph):
        return None
    if graph.hash in seen:
        return Scored(graph, repeats=True)
    weighed = Weighed() if work.scale is None else work.scale(work.candidate, None, inputs, graph)
    return Scored(graph, weighed=weighed)


def _is_enough(work: Work, graph: Graph | None) -> bool:
    return work.enough is not None and graph is not None and work.enough(graph)


def _per_node(scores: Scores, names: tuple[str, ...]) -> dict[str, Array]:
    found = {}
    for name in names:
        with suppress(InputError):  # one number for the whole network, or none
            found[name] = scores.nodes(name)
    return found


def _weigh(work: Work, model: nn.Module, inputs: Any, graph: Graph) -> Weighed:
    return Weighed() if work.scale is None else work.scale(work.candidate, model, inputs, graph)


@contextmanager
def threads_set(count: int | None) -> Iterator[int]:
    """Set torch's number of threads, if one is given, and put it back; give what is set.

    Sums, and therefore scores, depend on it.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def gave_up(work: Work, how: str) -> Scored:
    """Return the failure of work that ended each process that tried it."""
    return Scored(failure=("error", f"{how}, for want of memory perhaps"))
