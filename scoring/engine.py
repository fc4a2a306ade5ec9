"""Engines that run work in turn, in processes or on a Ray cluster, and yield results as they
arrive."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from typing import Any, Literal, get_args

from ..errors import InputError, checked_choice, checked_count
from .processes import in_processes
from .work import Scored, Work, gave_up, score_work

EngineName = Literal["local", "ray"]
ENGINES = get_args(EngineName)
Done = tuple[Work, Scored]


def checked_engine(engine: str, address: str | None, jobs: int, device: str) -> None:
    """Refuse arguments that the engine cannot use.

    Raises:
        InputError: the engine does not exist or cannot use an argument.
    """
    checked_choice("engine", engine, ENGINES)
    if engine != "ray" and address is not None:
        raise InputError(f"address: got {address!r}, which needs engine 'ray', not {engine!r}")
    if engine == "ray" and device not in ("auto", "cpu"):
        raise InputError(
            f"device: got {device!r}, but engine 'ray' runs on processor cores; use 'cpu'"
        )
    checked_count("jobs", jobs)


def run_works(
    works: Iterable[Work],
    engine: str = "local",
    jobs: int = 1,
    address: str | None = None,
    seen: set[str] | None = None,
) -> Generator[Done, None, None]:
    """Score every piece of work; the next one is read when there is room for it.

    Args:
        works: the pieces of work; they are read lazily, so that the caller can look up what is
            missing.
        engine: ``"local"`` or ``"ray"``.
        jobs: the number of processes on this machine.
        address: the address of a Ray cluster; None to start one on this machine.
        seen: hashes of graphs that need no scoring any more; the caller may add to it. Work in
            other processes does not see it.

    Raises:
        ArchrankError: the whole run ends: there are no data, no process starts, or the cluster is
            lost.

    Example:
        >>> from archrank.scoring.candidates import collect
        >>> from archrank.scoring.data import GivenData
        >>> from torch import nn
        >>> (net,) = collect(nn.Linear(4, 2))
        >>> ((work, scored),) = run_works([Work(net, ((0, ("params",)),), GivenData((4,)))])
        >>> scored.results[0][1][0].value
        10.0
    """
    if engine == "ray":
        from .ray_cluster import on_cluster

        return on_cluster(works, address)
    if jobs == 1:
        return in_turn(works, seen)
    return in_processes(score_work, works, jobs, gave_up)


def in_turn(
    works: Iterable[Work], seen: set[str] | None = None
) -> Generator[tuple[Work, Any], None, None]:
    """Score the pieces of work one after another, in this process."""
    score = partial(score_work, seen=frozenset() if seen is None else seen)
    for work in works:
        yield work, score(work)
