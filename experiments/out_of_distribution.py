"""Whether the pretrained predictor notices networks that are out of distribution.

Run from the repository: ``python experiments/out_of_distribution.py``; it takes about ten minutes.
For each group of spaces, an encoder and ``archrank.predictors.Distribution`` learn from random
networks of all other spaces. New networks of those other spaces should be in distribution (the
limit leaves 1 % of the known ones outside), and networks of the group should be out of
distribution. The script writes ``experiments/results/out_of_distribution.md``. Finished groups are
lines of ``experiments/results/stores/out_of_distribution.jsonl`` and are not repeated.
"""

from __future__ import annotations

import time

import numpy as np
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write

from archrank.data import space, spaces
from archrank.graphs import Graph
from archrank.predictors import Distribution, Pretraining

LINES, PAGE = Lines(STORES / "out_of_distribution.jsonl"), RESULTS / "out_of_distribution.md"
GROUPS = {
    "language models": ("flexibert", "gpt", "gpt_m", "gpt_l"),
    "vision transformers": ("autoformer_tiny", "autoformer_small", "autoformer_base", "pit"),
    "graph networks": ("nasbench_graph",),
    "NAS-Bench-201's kind": ("nasbench201", "transnas101_micro", "nats_sss"),
    "inverted bottlenecks": ("mnasnet", "fbnet", "ofa_mobilenetv3", "proxylessnas"),
    "ENAS": ("enas", "nds_enas"),
}
LEARNT, FRESH, EPOCHS = 50, 10, 5


def drawn(seed: int, count: int) -> dict[str, list[Graph]]:
    """Draw random networks of every space."""
    return {name: [space(name).graph(a) for a in space(name).sample(count, seed)] for name in NAMES}


NAMES = [str(getattr(one, "name", one)) for one in spaces()]


def judge(group: str, learnt: dict[str, list[Graph]], fresh: dict[str, list[Graph]]) -> None:
    """Learn without a group, and count what it takes for out of distribution."""
    start = time.perf_counter()
    known = [graph for name in NAMES if name not in GROUPS[group] for graph in learnt[name]]
    pretraining = Pretraining.published(
        options={"width": 64, "dropout": 0.1},
        projection=32,
        objectives={"spectral": 1.0, "sizes": 1.0},
        epochs=EPOCHS,
        batch_size=128,
    )
    distribution = Distribution(pretraining.fit(known)).fit(known)
    others = [graph for name in NAMES if name not in GROUPS[group] for graph in fresh[name]]
    inside = [graph for name in GROUPS[group] for graph in fresh[name]]
    reports = {"others": distribution.report(others), "group": distribution.report(inside)}
    made = {
        f"{of} {what}": float(np.mean(getattr(report, what)))
        for of, report in reports.items()
        for what in ("distance", "entropy", "unknown")
    }
    for of, report in reports.items():
        made[f"{of} out"] = float(np.mean(~report.in_distribution))
    seconds = time.perf_counter() - start
    facts = {"group": group, "learnt": len(known), "others": len(others), "tested": len(inside)}
    LINES.append({**facts, **made, "seconds": seconds})
    print(group, made, flush=True)


def run() -> None:
    """Judge all groups that are not in the file yet."""
    todo = LINES.missing([{"group": group} for group in GROUPS])
    if todo:
        learnt, fresh = drawn(0, LEARNT), drawn(1, FRESH)
        for one in todo:
            judge(one["group"], learnt, fresh)


def tables() -> list[str]:
    """Write the page from the lines."""
    rows = [
        [
            f"{r['group']} ({', '.join(GROUPS[r['group']])})",
            f"{r['group out']:.2f}",
            f"{r['others out']:.3f}",
            f"{r['group distance']:.2f}",
            f"{r['others distance']:.2f}",
            f"{r['group unknown']:.3f}",
            f"{r['tested']} and {r['others']}",
        ]
        for r in LINES.read()
    ]
    headings = (
        *("group left out", "outside, of the group", "outside, of other spaces"),
        *("distance, group", "distance, others", "unknown, group", "tested"),
    )
    return [
        "# Networks out of distribution",
        "",
        f"{made_by('out_of_distribution.py', also='one thread')} {LEARNT} networks of every space "
        f"outside the group (seed 0), {EPOCHS} epochs of "
        f"the encoder; tested on {FRESH} others of every space (seed 1). *outside*: share that is "
        "warned of; *distance*: mean distance to known networks, 1 being the limit; *unknown*: "
        "mean share of nodes whose operator no known network has.",
        "",
        *markdown_table(headings, rows),
    ]


def main() -> None:
    """Measure what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, run, tables)


if __name__ == "__main__":
    main()
