"""Does the pretrained predictor notice networks unlike all that it learnt of?

Run from the repository: ``python experiments/familiarity.py``; about ten minutes. For each group of
spaces an encoder and ``archrank.predictors.Distribution`` learn of random networks of all
other spaces. Fresh networks of those spaces should be familiar (the limit lets 1 % of known ones be
strange), networks of the group strange. It writes ``experiments/results/familiarity.md``. Finished
groups are lines of ``experiments/results/stores/familiarity.jsonl`` and not repeated.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import numpy as np
import torch
from proxy_results import machine

from archrank.data import space, spaces
from archrank.graphs import Graph
from archrank.predictors import Distribution, Pretraining
from predictors import append, read

FOLDER = Path(__file__).parent / "results"
LINES = FOLDER / "stores" / "familiarity.jsonl"
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
    """Random networks of every space."""
    return {name: [space(name).graph(a) for a in space(name).sample(count, seed)] for name in NAMES}


NAMES = [str(getattr(one, "name", one)) for one in spaces()]


def judge(group: str, learnt: dict[str, list[Graph]], fresh: dict[str, list[Graph]]) -> None:
    """Learn without a group, and count whom it takes for strange."""
    start = time.perf_counter()
    known = [graph for name in NAMES if name not in GROUPS[group] for graph in learnt[name]]
    pretraining = Pretraining(
        options={"width": 64, "dropout": 0.1},
        projection=32,
        statistics=1.0,
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
        made[f"{of} strange"] = float(np.mean(~report.in_distribution))
    seconds = time.perf_counter() - start
    facts = {"group": group, "learnt": len(known), "others": len(others), "tested": len(inside)}
    append(LINES, {**facts, **made, "seconds": seconds})
    print(group, made, flush=True)


def page() -> str:
    """The table."""
    lines = [
        "# Networks unlike all that was learnt of",
        "",
        f"`python experiments/familiarity.py`, {datetime.date.today()}. Machine: {machine()}, one "
        f"thread. {LEARNT} networks of every space outside the group (seed 0), {EPOCHS} epochs of "
        f"the encoder; tested on {FRESH} others of every space (seed 1). *strange*: share that is "
        "warned of; *distance*: mean distance to known networks, 1 being the limit; *unknown*: "
        "mean share of nodes whose operator no known network has.",
        "",
        "| group left out | strange, of the group | strange, of other spaces | distance, group "
        "| distance, others | unknown, group | tested |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in read(LINES):
        lines.append(
            f"| {r['group']} ({', '.join(GROUPS[r['group']])}) | {r['group strange']:.2f} | "
            f"{r['others strange']:.3f} | {r['group distance']:.2f} | {r['others distance']:.2f} | "
            f"{r['group unknown']:.3f} | {r['tested']} and {r['others']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Judge what is missing, and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    done = {r["group"] for r in read(LINES)}
    todo = [group for group in GROUPS if group not in done]
    if todo:
        learnt, fresh = drawn(0, LEARNT), drawn(1, FRESH)
        for group in todo:
            judge(group, learnt, fresh)
    (FOLDER / "familiarity.md").write_text(page())


if __name__ == "__main__":
    main()
