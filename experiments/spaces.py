"""How much sooner a space gives a graph than building and tracing the network does.

Run from the repository: ``python experiments/spaces.py [--networks N]``. It writes
``experiments/results/spaces.md``. Every architecture is one that was not asked for before; parts
that networks share stay in memory, as in use.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

import archrank
from archrank.data import space, spaces

RESULT = Path(__file__).parent / "results" / "spaces.md"
CELLS = (
    *("nasbench201", "nats_sss", "nasbench101", "nasbench301", "darts"),
    *("transnas101_micro", "nasbench_macro", "enas"),
)
"""Spaces of cells, for which the target is 20."""
TARGET = 20
WARM = 300  # networks before the clock starts: what a search has seen after its first minute
SEED = 0


def measured(name: str, networks: int) -> tuple[float, float, int]:
    """Median seconds of ``graph`` and of build and trace, and nodes, over fresh networks."""
    one = space(name)
    archs = one.sample(min(networks + WARM, one.size or networks + WARM), SEED)
    warm, fresh = archs[networks:], archs[:networks]
    for arch in warm:
        one.graph(arch)
    assembled, traced, nodes = [], [], []
    for arch in fresh:
        start = time.perf_counter()
        graph = one.graph(arch)
        assembled.append(time.perf_counter() - start)
        start = time.perf_counter()
        whole = archrank.trace(one.build(arch), one.inputs(arch=arch))
        traced.append(time.perf_counter() - start)
        if graph != whole:
            raise AssertionError(f"{name}: the graph of {arch} is not the traced one")
        nodes.append(len(graph))
    return statistics.median(assembled), statistics.median(traced), round(statistics.median(nodes))


def main() -> None:
    """Measure all spaces and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--spaces", nargs="*", default=spaces())
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, missed = [], []
    for name in arguments.spaces:
        graph, trace, nodes = measured(name, arguments.networks)
        target = f"{TARGET}" if name in CELLS else ""
        rows.append(
            f"| `{name}` | {nodes} | {1e3 * trace:.1f} | {1e3 * graph:.2f} | "
            f"{trace / graph:.0f} | {target} |"
        )
        print(rows[-1], flush=True)
        if target and trace / graph < TARGET:
            missed.append(name)
    text = f"""# Graphs of search spaces

Command: `python {" ".join(["experiments/spaces.py", *sys.argv[1:]])}`. Date:
{datetime.date.today().isoformat()}. Machine: {processor()}, 1 thread, torch {torch.__version__}.
Seed {SEED}; medians over {arguments.networks} networks not asked for before, after {WARM} others.

| space | nodes | build and trace, ms | `graph`, ms | ratio | target |
| --- | ---: | ---: | ---: | ---: | ---: |
""" + "\n".join(rows)
    arguments.out.write_text(text + "\n")
    if missed:
        print(f"below the target: {', '.join(missed)}")


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
