"""How long the default predictor takes to fit and to predict, and its memory.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/predictor_speed.py``, on a
machine that does nothing else. It writes ``experiments/results/predictor_speed.md``. Each figure
comes from a fresh process that has imported archrank, in which no graph was made before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, command_line, made_by, markdown_table, parser, write_page

RESULT = RESULTS / "predictor_speed.md"
SPACE, LABELS = "nasbench201", "cifar10-valid"
COUNTS = (78, 1563)
SEED = 0
DISTINCT = 0  # instead of a number of processes


def labelled(count: int) -> tuple[list[str], list[float]]:
    """Take the first of a seeded shuffle of all cells, and their validation accuracy."""
    from archrank.data import table

    labels = table(SPACE).labels(LABELS).dropna()
    names = sorted(labels.index)
    random.Random(SEED).shuffle(names)
    return names[:count], labels.loc[names[:count]].tolist()


def fit(count: int, folder: Path) -> dict[str, float]:
    """Fit from strings, and save."""
    from archrank.predictors import ArchRank

    archs, labels = labelled(count)
    start = time.perf_counter()
    predictor = ArchRank(space=SPACE, random_state=SEED).fit(archs, labels)
    seconds = time.perf_counter() - start
    predictor.save(folder)
    return {"labels": count, "s": seconds}


def predict(how: int, folder: Path) -> dict[str, float]:
    """Predict all cells, or one of each class of equal ones, from strings; see ``main``."""
    from archrank import load_predictor
    from archrank.data import space
    from archrank.predictors import predicting

    archs = list(space(SPACE))
    if how == DISTINCT:
        archs = sorted({space(SPACE).canonical(arch) for arch in archs})
    predictor = load_predictor(folder)
    start = time.perf_counter()
    predicting.predict(predictor, archs, jobs=max(how, 1))
    seconds = time.perf_counter() - start
    return {"cells": len(archs), "s": seconds, "a second": len(archs) / seconds}


def measured(*words: object) -> dict[str, float]:
    """Return what a fresh process measures."""
    command = [sys.executable, __file__, "--measure", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure everything and write the page."""
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--out", type=Path, default=RESULT)
    options.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        what, number, folder = arguments.measure
        found = {"fit": fit, "predict": predict}[what](int(number), Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps({**found, "peak MB": peak}))
        return
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = f"{work}/{COUNTS[0]}"
        jobs = [(f"fit to {n} labels", ("fit", n, f"{work}/{n}")) for n in COUNTS]
        jobs += [
            ("predict all cells", ("predict", 1, folder)),
            ("predict all cells, `--jobs 2` (start of processes included)", ("predict", 2, folder)),
            ("predict one of each class of equal cells", ("predict", DISTINCT, folder)),
        ]
        for label, words in jobs:
            found = sorted(
                (measured(*words) for _ in range(arguments.repeats)), key=lambda one: one["s"]
            )
            middle = found[len(found) // 2]
            rate = f"{middle['a second']:,.0f}" if "a second" in middle else "-"
            seconds = f"{middle['s']:.1f} ({found[0]['s']:.1f} to {found[-1]['s']:.1f})"
            peak = f"{max(one['peak MB'] for one in found) / 1e3:.2f} GB"
            rows.append([label, seconds, rate, peak])
            print(*rows[-1], flush=True)
    threads = f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}"
    made = made_by(command_line(), also=threads)
    lines = [
        "# Speed and memory of the default predictor",
        "",
        f"{made} NAS-Bench-201, seed {SEED}; "
        "from architecture strings, graphs included, each figure in a fresh process; the median of "
        f"{arguments.repeats} and their range. Peak memory is of the whole process.",
        "",
        *markdown_table(("", "seconds", "cells a second", "peak memory"), rows),
        "",
        "Equal cells (5,390 classes among 15,625) are read once. How long pretraining takes stands "
        "in `ablations.md`.",
    ]
    write_page(arguments.out, lines)


if __name__ == "__main__":
    main()
