"""Scoring of samples of measured tables into a store that keeps every score.

``run`` scores the architectures of a table into a ``Store``, on
this machine or on a Ray cluster; ``archrank.benchmark`` joins the labels and judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..basics import Callback, Finished, Progress
from ..data import space as get_space
from ..data import table as get_table
from ..data.tables.catalogue import TABLES
from ..errors import InputError, checked_count
from ..progress import shown, tell_of_kept
from ..proxies import Result, get
from ..proxies.planner import chosen, usable_device
from .candidates import in_space
from .data import SpaceData
from .engine import checked_engine, run_works
from .estimates import announce
from .rows import Plan
from .store import Failure, Store
from .work import Work


@dataclass(frozen=True)
class Settings:
    """The settings of a run: a seeded sample of the architectures of a table, under one condition.

    Attributes:
        space, table, task: the architectures, and the labels that they will be judged by.
        sample: the number of architectures; None for all that have a label of the task.
        sample_seed: the seed of the sample.
        batch: samples per batch.
        data: the source of images, a name that ``archrank.data.images`` takes.
        resolution: the size of images; None for that of the networks.
    """

    space: str
    table: str
    task: str
    sample: int | None
    sample_seed: int
    batch: int
    data: str
    resolution: int | None

    @property
    def condition(self) -> dict[str, Any]:
        """What a score depends on in addition to architecture, proxy and seed."""
        return {
            "task": self.build_task,
            "batch": self.batch,
            "data": self.data,
            "resolution": self.resolution,
        }

    @property
    def build_task(self) -> str:
        """The space's task behind the task of the labels: ``cifar10`` for ``cifar10-valid@12``."""
        known = get_space(self.space).tasks
        name = self.task.partition("@")[0]
        for candidate in (self.task, name, name.removesuffix("-valid")):
            if candidate in known:
                return candidate
        return next(iter(known))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        run: its number in the store.
        scored: pieces of work (architectures under a seed) done now.
        total: pieces of work that the store now holds of this run.
        failures: the proxies without a value for some architecture.
    """

    run: int
    scored: int
    total: int
    failures: list[Failure]


def settings_for(
    space: str,
    task: str | None = None,
    *,
    table: str | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
    batch_size: int = 64,
    data: str = "random",
    resolution: int | None = None,
) -> Settings:
    """Return checked settings; the default table is named like the space, or else its first one.

    Raises:
        InputError: no such space, table or task, or the table has too few labels.
    """
    get_space(space)
    # Not through table(): the others need not be on this machine.
    measured = {name: one.space for name, one in TABLES.items() if one.space and one.tasks}
    known = [name for name in measured if measured[name] == space]
    if table is None:
        if not known:
            raise InputError(
                f"space: no table has measured figures of {space!r}; those with some are "
                f"{', '.join(sorted(set(measured.values())))}"
            )
        table = space if space in known else known[0]
    elif table not in known:
        raise InputError(
            f"table: got {table!r}, expected a table of {space}: {', '.join(known) or 'none'}"
        )
    tasks = get_table(table).tasks
    if task is None:
        task = next(iter(tasks))
    if task not in tasks:
        raise InputError(f"task: got {task!r}, but table {table!r} has {', '.join(tasks)}")
    for name, number in (
        ("sample", sample),
        ("batch_size", batch_size),
        ("resolution", resolution),
    ):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise InputError(f"{name}: got {number!r}, expected a whole number of at least 1")
    if not isinstance(sample_seed, int) or sample_seed < 0:
        raise InputError(f"sample_seed: got {sample_seed!r}, expected a whole number from 0")
    return Settings(space, table, task, sample, sample_seed, batch_size, data, resolution)


def sample_of(settings: Settings) -> list[str]:
    """Draw architectures with a label at random without repetition, in the order of the draw.

    Raises:
        InputError: the table has fewer architectures with a label.
    """
    labels = get_table(settings.table).labels(settings.task)
    labelled = sorted(labels.index[np.isfinite(labels.to_numpy())])
    count = len(labelled) if settings.sample is None else settings.sample
    if count > len(labelled):
        raise InputError(
            f"sample: got {count}, but table {settings.table!r} has {len(labelled)} labels of "
            f"{settings.task!r}"
        )
    order = np.random.default_rng(settings.sample_seed).permutation(len(labelled))
    return [labelled[i] for i in order[:count]]


def run(
    store: str | Path,
    space: str,
    task: str | None = None,
    *,
    table: str | None = None,
    proxies: str | Iterable[str] = "all",
    sample: int | None = None,
    sample_seed: int = 0,
    seeds: int = 1,
    device: str = "cpu",
    batch_size: int = 64,
    data: str = "random",
    resolution: int | None = None,
    jobs: int = 1,
    engine: str = "local",
    address: str | None = None,
    progress: Progress | bool | None = None,
    callback: Callback | None = None,
) -> Outcome:
    """Score a sample of the architectures of a table; scores in the store are not repeated.

    If it stops at any moment, call it again with the same arguments to continue. Later calls can
    add proxies, seeds or a larger sample to the same store.

    Args:
        store: the path of the file, which is created if it does not exist.
        space: the space of the networks.
        task: the task of the labels, by default the table's first; networks are built for it.
        table: the table with the labels; only labelled architectures are sampled. By default the
            table of the space.
        proxies: names, or ``"all"``.
        sample: the number of architectures; by default all that have a label.
        sample_seed: the seed of the sample.
        seeds: the number of initialisations and batches for each architecture: seeds 0, 1, ...
        batch_size, data, resolution: see ``Settings``.
        jobs: the number of processes (``engine="local"``), with one thread each.
        device: the device to score on, such as ``"cpu"`` or ``"cuda"``.
        engine: ``"local"``, or ``"ray"`` to use every core of a Ray cluster.
        address: the address of the Ray cluster; by default a cluster is started on this machine.
        progress: called with (done, total, architecture) after each piece of work; True for a bar,
            False for none, by default a bar in a terminal or a notebook.
        callback: called with the ``Finished`` result of each architecture and seed that is scored
            now, once the store holds it.

    Returns:
        What this call scored, and which proxies lack values.

    Raises:
        InputError: an argument is invalid, or the images are not available.
        MissingExtraError: a package for the images, or Ray, is not installed.
        StoreError: the store cannot be written; what was finished is kept.

    Example:
        >>> import tempfile
        >>> from archrank import benchmark
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/run.sqlite"
        ...     first = benchmark.run(path, "digits", proxies="params,flops", sample=3)
        ...     again = benchmark.run(path, "digits", proxies="params,flops", sample=3)
        >>> first.scored, again.scored, again.total, again.failures
        (3, 0, 3, [])
    """
    checked_engine(engine, address, jobs, device)
    device = "cpu" if engine == "ray" else usable_device(device)
    checked_count("seeds", seeds)
    settings = settings_for(
        space,
        task,
        table=table,
        sample=sample,
        sample_seed=sample_seed,
        batch_size=batch_size,
        data=data,
        resolution=resolution,
    )
    names = [proxy.name for proxy in chosen(proxies)]
    architectures = sample_of(settings)
    wanted = {(name, get(name).version): name for name in names}
    total, done, scored = len(architectures) * seeds, 0, 0
    with Store(store) as opened:
        number = opened.begin(asdict(settings), space, architectures)

        def missing() -> Iterator[Work]:
            """Yield what the store lacks, looked up in its turn: another process may write."""
            nonlocal done
            for seed in range(seeds):
                for arch in architectures:
                    finished = opened.finished(settings.condition, space, arch, seed)
                    left = tuple(name for key, name in wanted.items() if key not in finished)
                    if left:
                        if not scored:
                            tell_of_kept(store, done, total, "(architecture, seed) pairs")
                        yield work_on(settings, arch, seed, left, device)
                    else:
                        done += 1

        _announce(settings, architectures, names, seeds, device, jobs)
        works = run_works(missing(), engine, jobs, address)
        with shown(progress) as report, closing(works) as results:
            for work, found in results:
                arch = work.candidate.name
                for seed, of_proxies in found.of_every_proxy(work):
                    opened.add(settings.condition, space, arch, seed, of_proxies)
                    if callback is not None:
                        callback(_finished(done + 1, arch, seed, of_proxies))
                done, scored = done + 1, scored + 1
                if report is not None:
                    report(done, total, arch)
        if not scored:
            tell_of_kept(store, total, total, "(architecture, seed) pairs")
        failures = opened.failures(number, settings.condition)
    asked = [failure for failure in failures if (failure.proxy, failure.version) in wanted]
    return Outcome(number, scored, total, asked)


def _announce(
    settings: Settings,
    architectures: Sequence[str],
    proxies: Sequence[str],
    seeds: int,
    device: str,
    jobs: int,
) -> None:
    """Say about how long a run takes from its beginning to its end."""
    works = [work_on(settings, arch, 0, (), device) for arch in architectures]
    plan = Plan(tuple(proxies), works[0].data, tuple(range(seeds)), device, jobs=jobs, threads=1)
    announce([work.candidate for work in works], plan)


def _finished(number: int, arch: str, seed: int, results: Iterable[Result]) -> Finished:
    """Return the scores of one piece of work as a result of its own."""
    values, failures = {}, {}
    for result in results:
        if result.value is None:
            failures[result.name] = result.reason or "no reason given"
        else:
            values[result.name] = result.value
    return Finished(number, arch, values, failures, seed)


def work_on(
    settings: Settings, arch: str, seed: int, proxies: tuple[str, ...], device: str = "cpu"
) -> Work:
    """Return the work of scoring one architecture under one seed."""
    return Work(
        in_space(settings.space, arch, settings.build_task),
        ((seed, proxies),),
        SpaceData(settings.batch, settings.data, settings.resolution),
        device,
        threads=1,
    )
