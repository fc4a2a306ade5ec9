"""Proxies against measured accuracy: scores a sample of a space, and keeps every score.

``run`` scores the architectures of a table into a :class:`~archrank.store.Store`, on this machine
or on a Ray cluster; :mod:`archrank.report` joins the labels and judges.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data import space as get_space
from .data import table as get_table
from .data import tables
from .errors import ArchrankError, InputError
from .proxies import get, score
from .proxies.scoring import chosen
from .store import Row, Store

ENGINES = ("local", "ray")
_ATTEMPTS = 2  # a piece of work that kills its process twice is given up
_PATIENCE = 2.0  # seconds between a worker's looks at whether its driver is alive

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Settings:
    """What is scored: a seeded sample of a table's architectures, under one condition.

    Attributes:
        space, table, task: whose architectures, and whose labels they will be judged by.
        sample: how many; None for all that the task has labels of.
        sample_seed: which.
        batch: samples per batch.
        data: of images, as :func:`archrank.data.images` takes by name.
        resolution: of images; None for the networks' own.
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
        """What a score depends on besides architecture, proxy and seed."""
        return {
            "task": self.build_task,
            "batch": self.batch,
            "data": self.data,
            "resolution": self.resolution,
        }

    @property
    def build_task(self) -> str:
        """The space's task that the label's task is about: ``cifar10`` of ``cifar10-valid@12``."""
        known = get_space(self.space).tasks
        name = self.task.partition("@")[0]
        for candidate in (self.task, name, name.removesuffix("-valid")):
            if candidate in known:
                return candidate
        return next(iter(known))


@dataclass(frozen=True)
class Work:
    """One piece of work: one architecture under one seed, by the proxies that are missing."""

    settings: Settings
    arch: str
    seed: int
    proxies: tuple[str, ...]
    device: str


def settings_for(
    space: str,
    task: str | None = None,
    *,
    table: str | None = None,
    sample: int | None = None,
    sample_seed: int = 0,
    batch: int = 64,
    data: str = "random",
    resolution: int | None = None,
) -> Settings:
    """Checked settings; the table is the space's own unless several could be meant.

    Raises:
        InputError: no such space, table or task, or the table has too few labels.
    """
    get_space(space)
    known = [name for name in tables() if get_table(name).space == space]
    if table is None:
        if not known:
            raise InputError(
                f"space: no table has measured figures of {space!r}; those with some are "
                f"{', '.join(sorted({str(s) for n in tables() if (s := get_table(n).space)}))}"
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
    for name, number in (("sample", sample), ("batch", batch), ("resolution", resolution)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise InputError(f"{name}: got {number!r}, expected a whole number of at least 1")
    return Settings(space, table, task, sample, sample_seed, batch, data, resolution)


def sample_of(settings: Settings) -> list[str]:
    """The architectures: random without repetition among those with a label, in drawn order.

    Raises:
        InputError: the table has fewer.
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
    batch: int = 64,
    data: str = "random",
    resolution: int | None = None,
    jobs: int = 1,
    device: str = "cpu",
    engine: str = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Score a sample of a table's architectures; what the store holds already is not repeated.

    May be killed at any moment: run it again with the same arguments to go on. More proxies,
    seeds or a larger sample later add to the same store.

    Args:
        store: path of the file, made if it is not there.
        space: whose networks to score.
        task: of the table, its first by default; networks are built for it.
        table: whose labels decide what can be sampled; default the space's.
        proxies: names, or ``"all"``.
        sample: how many architectures; default all that have a label.
        sample_seed: which.
        seeds: how many initialisations and batches to score each under: seeds 0, 1, ...
        batch, data, resolution: see :class:`Settings`.
        jobs: processes (``engine="local"``) that share the work, one thread each.
        device: where to score, as ``"cpu"`` or ``"cuda"``.
        engine: ``"local"``, or ``"ray"`` for a Ray cluster, whose every core takes work.
        address: of the Ray cluster; default one on this machine, started and stopped.
        progress: called with (done, total, architecture) after each piece of work.

    Returns:
        How many pieces of work (architectures under a seed) were done now.

    Raises:
        InputError: an argument is not as above.
        StoreError: the store cannot be written; what was finished is kept.

    Example:
        >>> import tempfile
        >>> from archrank import benchmark
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/run.sqlite"
        ...     first = benchmark.run(path, "digits", proxies="params,flops", sample=3)
        ...     again = benchmark.run(path, "digits", proxies="params,flops", sample=3)
        >>> first, again
        (3, 0)
    """
    if engine not in ENGINES:
        raise InputError(f"engine: got {engine!r}, expected one of {', '.join(ENGINES)}")
    for name, number in (("seeds", seeds), ("jobs", jobs)):
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{name}: got {number!r}, expected a whole number of at least 1")
    settings = settings_for(
        space,
        task,
        table=table,
        sample=sample,
        sample_seed=sample_seed,
        batch=batch,
        data=data,
        resolution=resolution,
    )
    names = [proxy.name for proxy in chosen(proxies)]
    architectures = sample_of(settings)
    with Store(store) as opened:
        opened.begin(asdict(settings), space, architectures)
        total, done, fresh = len(architectures) * seeds, 0, 0

        def missing() -> Iterator[Work]:
            """What the store lacks, looked up when its turn comes: another process may write."""
            nonlocal done
            wanted = {(name, get(name).version): name for name in names}
            for seed in range(seeds):
                for arch in architectures:
                    finished = opened.finished(settings.condition, space, arch, seed)
                    left = tuple(name for key, name in wanted.items() if key not in finished)
                    if left:
                        yield Work(settings, arch, seed, left, device)
                    else:
                        done += 1

        for work, rows in _engine(engine, jobs, address)(missing()):
            opened.add(settings.condition, space, work.arch, work.seed, rows)
            done, fresh = done + 1, fresh + 1
            if progress is not None:
                progress(done, total, work.arch)
    return fresh


def score_work(work: Work) -> list[Row]:
    """Build one network and score it; whatever it raises becomes the reason of every proxy."""
    start = time.perf_counter()
    settings = work.settings
    one, task = get_space(settings.space), settings.build_task
    try:
        with torch.random.fork_rng():
            torch.manual_seed(work.seed)
            model = one.build(work.arch, task)
            needs = {need for name in work.proxies for need in get(name).needs}
            count = 2 if "gradient_statistics" in needs else 1
            batches = [
                one.batch(
                    settings.batch,
                    1000 * i + work.seed,
                    task,
                    work.arch,
                    settings.data,
                    settings.resolution,
                )
                for i in range(count)
            ]
            graph = one.graph(work.arch, task) if settings.resolution is None else None
            scores = score(
                model,
                batches,
                proxies=work.proxies,
                loss=one.loss(task),
                seed=work.seed,
                device=work.device,
                batches=2,
                graph=graph,
            )
    except ArchrankError as error:
        return _all_failed(work, "unsupported", str(error), start)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return _all_failed(work, "out of memory", str(error), start)
    except Exception as error:
        # One network that cannot be built or run must not end a run of thousands.
        return _all_failed(work, "error", f"{type(error).__name__}: {error}", start)
    return [
        Row(r.name, r.version, r.value, r.status, r.reason, r.seconds, r.peak_memory)
        for r in scores.values()
    ]


def _all_failed(work: Work, status: str, reason: str, start: float) -> list[Row]:
    seconds = (time.perf_counter() - start) / len(work.proxies)
    return [
        Row(name, get(name).version, None, status, reason, seconds, None) for name in work.proxies
    ]


# --- engines --------------------------------------------------------------------------------------

Done = tuple[Work, list[Row]]
Engine = Callable[[Iterable[Work]], Iterator[Done]]


def _engine(name: str, jobs: int, address: str | None) -> Engine:
    if name == "ray":
        from .ray_engine import on_cluster

        return lambda works: on_cluster(works, address)
    if jobs == 1:
        return in_turn
    return lambda works: in_processes(works, jobs)


def in_turn(works: Iterable[Work]) -> Iterator[Done]:
    """One after the other, in this process."""
    for work in works:
        yield work, score_work(work)


def in_processes(works: Iterable[Work], jobs: int) -> Iterator[Done]:
    """In ``jobs`` processes, handed out as they come free.

    A process that dies (killed for memory, say) is replaced, and what it was at is tried again;
    what kills its process twice gets that as its reason.
    """
    waiting = iter(works)
    deaths: dict[Work, int] = {}
    again: list[Work] = []
    while True:
        with _pool(jobs) as executor:
            running: dict[Future[list[Row]], Work] = {}
            broken = False
            while True:
                # After a death one at a time, so that only who dies again is to blame.
                room = (1 if again else jobs) - len(running)
                fresh = again[:room] if again else list(islice(waiting, max(0, room)))
                del again[: len(fresh) if again else 0]
                for work in fresh:
                    try:
                        running[executor.submit(score_work, work)] = work
                    except BrokenProcessPool:
                        again.append(work)
                        broken = True
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    work = running.pop(future)
                    try:
                        rows = future.result()
                    except BrokenProcessPool:
                        broken = True
                        deaths[work] = deaths.get(work, 0) + 1
                        if deaths[work] < _ATTEMPTS:
                            again.append(work)
                            continue
                        rows = _all_failed(work, "error", "its process died", time.perf_counter())
                    yield work, rows
                if broken and not running:
                    break
        if not broken and not again:
            return


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=start_worker, initargs=(os.getpid(),)
    )


def start_worker(driver: int) -> None:
    """One thread per process, and no life beyond the driver's."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends it

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(_PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
