"""How much faster a space makes a graph than building and tracing the network.

Run from the repository: ``python experiments/spaces.py [--networks N]``. It writes
``experiments/results/spaces.md``. Every architecture is new to the process. Parts that networks
share stay in memory, as in ordinary use.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch
from common import RESULTS, command_line, made_by, markdown_table, parser, write_page

import archrank
from archrank.data import space, spaces

RESULT = RESULTS / "spaces.md"
CELLS = (
    *("nasbench201", "nats_sss", "nasbench101", "nasbench301", "darts"),
    *("transnas101_micro", "nasbench_macro", "enas"),
)
"""Spaces of cells, for which the target is 20."""
TARGET = 20
WARM = 300  # networks before the clock starts: what a search has seen after its first minute
SEED = 0


def measured(name: str, networks: int) -> tuple[float, float, int]:
    """Take median seconds of ``graph`` and of build and trace, and nodes, of fresh networks."""
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
    options = parser(__doc__)
    options.add_argument("--networks", type=int, default=20)
    options.add_argument("--spaces", nargs="*", default=spaces())
    options.add_argument("--out", type=Path, default=RESULT)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    rows, missed = [], []
    for name in arguments.spaces:
        graph, trace, nodes = measured(name, arguments.networks)
        target = f"{TARGET}" if name in CELLS else ""
        times = [f"{1e3 * trace:.1f}", f"{1e3 * graph:.2f}", f"{trace / graph:.0f}"]
        rows.append([f"`{name}`", nodes, *times, target])
        print(*rows[-1], flush=True)
        if target and trace / graph < TARGET:
            missed.append(name)
    made = made_by(command_line(), also="1 thread")
    headings = ("space", "nodes", "build and trace, ms", "`graph`, ms", "ratio", "target")
    lines = [
        "# Graphs of search spaces",
        "",
        f"{made} Seed {SEED}; medians over {arguments.networks} networks not asked for before, "
        f"after {WARM} others.",
        "",
        *markdown_table(headings, rows, numbers=True),
    ]
    write_page(arguments.out, lines)
    if missed:
        print(f"below the target: {', '.join(missed)}")


if __name__ == "__main__":
    main()
