"""Compare every network's parameters and multiply-adds with the published tables.

Run from the repository, with the tables in the data folder (``archrank data list`` says where):
``python experiments/published_figures.py [--tables NAME ...]``. The script writes
``experiments/results/published_figures.md`` and keeps the rows of tables that are not named. Each
table takes minutes, because every architecture's graph is made.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from common import RESULTS, command_line, made_by, markdown_table, parser, write_page

from archrank.data import Table, space, table
from archrank.data.spaces.graph_networks.graphgym import SETTINGS
from archrank.errors import InputError
from archrank.graphs import Graph

RESULT = RESULTS / "published_figures.md"


def params(graph: Graph) -> float:
    """Count all parameters."""
    return graph.params


def products(graph: Graph) -> float:
    """Count multiply-adds of convolutions and linear layers."""
    return graph.product_flops


def accel_macs(graph: Graph) -> float:
    """Count as Accel-NASBench: 4 per normed element, H W + 1 per globally pooled channel too."""
    extra = 0
    for node in graph.nodes:
        if node.operator == "batch_norm":
            extra += 4 * math.prod(node.out_shape)
        elif node.operator == "global_avg_pool":
            extra += node.in_shape[1] * (math.prod(node.in_shape[2:]) + 1)
    return graph.product_flops + extra


Check = tuple[str, str | None, str, Callable[[Graph], float]]
HEADS = {"class_object": "class_object-100", "class_scene": "class_scene-63"}
CHECKS: list[Check] = [
    ("nasbench201", "cifar10", "params", params),
    ("nasbench201", "cifar10", "macs", products),
    ("nasbench201", "ImageNet16-120", "params/ImageNet16-120", params),
    ("nasbench201", "ImageNet16-120", "macs/ImageNet16-120", products),
    ("nasbench101", None, "params", params),
    ("nasbench101_10k", None, "params", params),
    ("ec_nas", None, "params", params),
    ("nasbench301", "cifar10-zerocost", "params/cifar10", params),
    *(("nasbench301", task, f"params/{task}", params) for task in ("svhn", "scifar100", "ninapro")),
    *(
        (f"transnas101_{kind}", HEADS.get(task, task), f"params/{task}", params)
        for kind in ("micro", "macro")
        for task in (
            *("class_object", "class_scene", "room_layout", "jigsaw", "segmentsemantic"),
            *("normal", "autoencoder"),
        )
    ),
    ("nas_bench_macro", None, "params", params),
    ("nas_bench_macro", None, "macs", products),
    ("accel_nasbench", None, "params", params),
    ("accel_nasbench", None, "macs", accel_macs),
    ("ofa_mobilenetv3", None, "params", params),
    ("ofa_mobilenetv3", None, "macs", products),
    ("imagenet_zoo", None, "params", params),
]

GRAPH_SETS = (
    *("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv", "proteins"),
)
FORMULAS = [
    ("gpt", None, "params", "params"),
    ("gpt", None, "macs", "macs"),
    *(("nasbench_graph", name, f"params/{name}", "params") for name in GRAPH_SETS),
    *(
        ("graphgym", name, f"params/{name}", "params")
        for name in SETTINGS
        if not name.endswith("-link")
    ),
]
"""By the space's own formula, which the tests compare with its graphs."""


def figures(
    name: str, task: str | None, checks: list[Callable[[Graph], float]], arch: str
) -> list[float]:
    """Count the asked-for figures of one architecture."""
    torch.set_num_threads(1)
    graph = space(name).graph(arch, task)
    return [check(graph) for check in checks]


def checked_rows(
    measured: Table, task: str | None, pool: ProcessPoolExecutor
) -> Iterator[list[str]]:
    """Compare a table with the networks that are built of all its rows, a row for each column."""
    name = measured.name
    own = [c for c in CHECKS if c[:2] == (name, task)]
    costs = measured.costs[[column for *_, column, _ in own]].dropna()
    assert measured.space is not None
    work = partial(figures, measured.space, task, [check for *_, check in own])
    start = time.perf_counter()
    found = list(pool.map(work, map(str, costs.index), chunksize=64))
    seconds = time.perf_counter() - start
    for i, (_, _, column, _) in enumerate(own):
        # tables in millions keep six or seven digits, so half a unit of the last is equal
        off = [
            (arch, ours[i], theirs)
            for (arch, theirs), ours in zip(costs[column].items(), found, strict=True)
            if abs(ours[i] - theirs) > rounding(name, column, theirs)
        ]
        row = [name, task or "", f"`{column}`", f"{len(costs):,}", f"{len(off):,}"]
        print(*row, f"{seconds:.0f} s", off[:3], flush=True)
        yield row


def formula_row(name: str, task: str | None, column: str, formula: str) -> list[str]:
    """Compare a column of a table with what a space counts by a formula."""
    measured = table(name)
    known = measured.costs[column].dropna()
    assert measured.space is not None
    count = getattr(space(measured.space), formula)
    context = () if task is None else (task,)
    differs = sum(abs(count(arch, *context) - theirs) > 1 for arch, theirs in known.items())
    row = [name, task or "", f"`{column}`", f"{len(known):,}", f"{differs:,}"]
    print(*row, flush=True)
    return row


def main() -> None:
    """Compare all and write the table."""
    options = parser(__doc__)
    options.add_argument(
        "--tables", nargs="*", default=list(dict.fromkeys(c[0] for c in (*CHECKS, *FORMULAS)))
    )
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--out", type=Path, default=RESULT)
    arguments = options.parse_args()
    rows: list[list[str]] = []
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for name, task in dict.fromkeys((c[0], c[1]) for c in CHECKS if c[0] in arguments.tables):
            try:
                measured = table(name)
            except InputError as error:
                print(error, file=sys.stderr)
                continue
            rows += checked_rows(measured, task, pool)
    rows += [formula_row(*one) for one in FORMULAS if one[0] in arguments.tables]
    compared = list(dict.fromkeys(name for name, *_ in rows))
    earlier = kept(arguments.out, set(compared))
    note = f" Compared now: {', '.join(compared)}; other rows are of earlier runs." * bool(earlier)
    lines = [
        "# Published figures",
        "",
        f"{made_by(command_line())} Every row of the tables that holds the figure; equal "
        f"means to the unit, or to the digits that the table keeps.{note}",
        "",
        *markdown_table(
            ("table", "network", "column", "architectures", "not equal"), earlier + rows, True
        ),
        "",
        *NOTES.splitlines(),
    ]
    write_page(arguments.out, lines)


NOTES = """\
The three of `nasbench101` differ by 1: the table keeps millions in single precision. Cells of
`nasbench101_10k` that differ have their vertices in another order than was trained, and channels
that cannot be shared evenly go elsewhere; the table that `archrank data fetch` makes has none.
`gpt`, `graphgym` and `nasbench_graph` are compared by the space's formula, which the tests compare
with graphs. The published count of `nasbench_graph` is a mean of three runs that were not all
alike: on `physics` 1,567 rows are the count of no network (in 1,478 of them one of the three runs
had width 128 and no layer before the nodes; 89 are unexplained). `flops` columns of the zero-cost
study count other things (see the table's `definitions`) and are not compared."""


def kept(path: Path, anew: set[str]) -> list[list[str]]:
    """Keep rows that an earlier run wrote of tables that were not compared now."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "`" in line[:60]]
    return [row for row in rows if len(row) == 5 and row[0] not in anew]


def rounding(name: str, column: str, value: float) -> float:
    """Give the rounding of a figure: of millions in single precision, or of printed digits."""
    key = name, column.partition("/")[0]
    return max(0.5, ROUNDED.get(key, 0.0) * value, PRINTED.get(key, 0.0))


ROUNDED = {
    ("nasbench201", "macs"): 1e-7,
    ("accel_nasbench", "params"): 1e-6,
    ("accel_nasbench", "macs"): 1e-6,
}
PRINTED = {("imagenet_zoo", "params"): 5_001.0}  # millions with two digits


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
