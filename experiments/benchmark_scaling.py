"""The cost of long runs: growth of memory, overhead per task, and the gain of a second Ray node.

Run from the repository, on a machine that does nothing else: ``ARCHRANK_DATA=FOLDER python
experiments/benchmark_scaling.py``. It writes ``experiments/results/scaling.md``. It needs the extra
[ray] and the table ``nats_sss``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, command_line, made_by, markdown_table, parser, write_page

from archrank import benchmark
from archrank.scoring import table_runs as runs
from archrank.scoring.engine import Done, in_turn
from archrank.scoring.processes import in_processes
from archrank.scoring.ray_cluster import on_cluster
from archrank.scoring.store import Store
from archrank.scoring.work import Work, gave_up, score_work

RESULT = RESULTS / "scaling.md"
SEED = 0
SETTINGS: dict[str, Any] = {"space": "nats_sss", "batch_size": 1}
PROXIES = ("params", "flops", "synflow")
TOLERANCE = 0.1
WARM = 8  # pieces of work before the clock starts: processes import torch meanwhile
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}

Engine = Callable[[Iterable[Work]], Iterator[Done]]


# --- memory ---------------------------------------------------------------------------------------


def memory(count: int, jobs: int) -> dict[str, float]:
    """Measure peaks, in MB, of the driver and of its largest worker, from a process of its own."""
    command = [sys.executable, __file__, "--child", str(count), "--jobs", str(jobs)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure_memory(count: int, jobs: int) -> None:
    """Be the process that ``memory`` starts."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.sqlite"
        benchmark.run(path, **SETTINGS, proxies=PROXIES, sample=count, sample_seed=SEED, jobs=jobs)
        size = path.stat().st_size / 1e6
    found = {
        "driver": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
        "file": size,
        "seconds": time.perf_counter() - start,
    }
    print(json.dumps(found))


# --- time -----------------------------------------------------------------------------------------


def works(count: int) -> list[Work]:
    """List pieces of work as long runs have them."""
    settings = runs.settings_for(**SETTINGS, sample=count, sample_seed=SEED)
    return [runs.work_on(settings, arch, SEED, PROXIES) for arch in runs.sample_of(settings)]


def empty_works(count: int) -> list[Work]:
    """List pieces of work that end at once: their string is no architecture."""
    settings = runs.settings_for("digits", sample=1, batch_size=1)
    return [runs.work_on(settings, "none", seed, ("params",)) for seed in range(count)]


def seconds_per_task(engine: Engine, tasks: list[Work]) -> float:
    """Take the time from the last warm-up result to the last one."""
    results = engine(tasks)
    for _ in islice(results, WARM):
        start = time.perf_counter()
    rest = sum(1 for _ in results)
    return (time.perf_counter() - start) / rest


def seconds_per_write(tasks: list[Work]) -> float:
    """Take the time of writing one piece of work into a store."""
    work, scored = next(in_turn(tasks[:1]))
    ((seed, results),) = scored.of_every_proxy(work)
    condition = runs.settings_for(**SETTINGS, sample=1).condition
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "run.sqlite") as store:
        start = time.perf_counter()
        for work in tasks:
            store.add(condition, "digits", work.candidate.name, seed, results)
        return (time.perf_counter() - start) / len(tasks)


def on_nodes(count: int, measure: Callable[[Engine], float]) -> float:
    """Return what ``measure`` says of a cluster of one-core nodes on this machine, warmed up."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            cluster.add_node(**NODE)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")

        def engine(tasks: Iterable[Work]) -> Iterator[Done]:
            return on_cluster(tasks, None)

        for _ in engine(works(WARM * count)):
            pass
        return measure(engine)
    finally:
        ray.shutdown()
        cluster.shutdown()


# --- report ---------------------------------------------------------------------------------------


def memory_section(small: int, large: int, jobs: int) -> list[str]:
    """Compare peaks of memory of a short run and of a long one."""
    peaks = {count: memory(count, jobs) for count in (small, large)}
    rows = [
        [
            f"{count:,}",
            *(f"{one[what]:.0f}" for what in ("driver", "worker")),
            f"{one['file']:.1f}",
            f"{one['seconds']:.0f}",
        ]
        for count, one in peaks.items()
    ]
    headings = (
        *("architectures", "driver's peak, MB", "largest worker's peak, MB"),
        *("store, MB", "s"),
    )
    whom = ("driver", "worker") if jobs > 1 else ("driver",)
    growth = max(peaks[large][who] / peaks[small][who] - 1 for who in whom)
    outcome = "met" if growth <= TOLERANCE else "missed"
    return [
        "## Memory",
        "",
        f"Architectures of `nats_sss` scored with `{','.join(PROXIES)}`, batch 1, {jobs} "
        f"processes. Target: the longer run takes at most {TOLERANCE:.0%} more; it takes "
        f"{growth:+.1%} ({outcome}).",
        "",
        *markdown_table(headings, rows, numbers=True),
    ]


def overhead_section(count: int) -> list[str]:
    """Tabulate what a task costs where it does nothing."""
    tasks = empty_works(count)
    alone = seconds_per_task(in_turn, tasks)
    process = seconds_per_task(lambda some: in_processes(score_work, some, 1, gave_up), tasks)
    cluster = on_nodes(1, lambda engine: seconds_per_task(engine, tasks))
    write = seconds_per_write(tasks)
    return [
        "## Overhead per task",
        "",
        f"{count} pieces of work that end at once, {1e3 * alone:.2f} ms each in a plain loop. "
        "What comes on top where one core does it:",
        "",
        *markdown_table(
            ("where", "ms per task"),
            [
                ("one process beside the driver", f"{1e3 * (process - alone):.2f}"),
                ("one Ray node", f"{1e3 * (cluster - alone):.2f}"),
                ("writing it into the store (either)", f"{1e3 * write:.2f}"),
            ],
            numbers=True,
        ),
    ]


def speed_section(count: int) -> list[str]:
    """Tabulate what a second node brings."""
    tasks = works(count)
    one, two = (on_nodes(nodes, lambda engine: seconds_per_task(engine, tasks)) for nodes in (1, 2))
    return [
        "## Two Ray nodes of one core against one",
        "",
        f"{count} architectures of `nats_sss`, as above. The nodes, the driver and Ray's own "
        "processes share this machine's cores.",
        "",
        *markdown_table(
            ("nodes", "ms per task", "speed-up"),
            [(1, f"{1e3 * one:.1f}", "1.00"), (2, f"{1e3 * two:.1f}", f"{one / two:.2f}")],
            numbers=True,
        ),
    ]


def main() -> None:
    """Measure, and write the tables."""
    options = parser(__doc__)
    options.add_argument("--small", type=int, default=1_000)
    options.add_argument("--large", type=int, default=10_000)
    options.add_argument("--tasks", type=int, default=500, help="for overhead and speed-up")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--out", type=Path, default=RESULT)
    options.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.child is not None:
        measure_memory(arguments.child, arguments.jobs)
        return
    torch.set_num_threads(1)
    sections = [
        memory_section(arguments.small, arguments.large, arguments.jobs),
        overhead_section(arguments.tasks),
        speed_section(arguments.tasks),
    ]
    import ray

    made = made_by(command_line(), also=f"ray {ray.__version__}")
    lines = ["# How benchmarks scale", "", f"{made} Seed {SEED}."]
    for section in sections:
        lines += ["", *section]
    write_page(arguments.out, lines)
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
