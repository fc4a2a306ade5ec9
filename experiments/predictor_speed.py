"""How long predictors take to fit and to predict, and their memory.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/predictor_speed.py``. The script
may be killed at any moment; started again, it continues where it was. Finished figures are lines of
``experiments/results/stores/predictor_speed.jsonl``. ``--tables`` writes
``experiments/results/predictor_speed.md`` from the lines and measures nothing. Each figure comes
from a new process with one thread that has imported archrank and has not made any graph. Seconds
are processor time, so that other work on the machine counts for little.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write

LINES, PAGE = Lines(STORES / "predictor_speed.jsonl"), RESULTS / "predictor_speed.md"
SPACE, LABELS = "nasbench201", "cifar10-valid"
SEEDS = 3
FEW = 78
JOBS = {
    **{f"fit to {count:,} labels": ("fit", count) for count in (FEW, 469, 1563)},
    "predict all cells": ("predict", "all"),
    "predict one of each class of equal cells": ("predict", "distinct"),
    "without labels: 1,000 random cells": ("judge", 1000),
    "without labels: all cells": ("judge", 15625),
}
"""What is measured, and the words that say so to a fresh process."""


def labelled(count: int, seed: int) -> tuple[list[str], list[float]]:
    """Take the first of a seeded shuffle of all cells, and their validation accuracy."""
    from archrank.data import table

    labels = table(SPACE).labels(LABELS).dropna()
    names = sorted(labels.index)
    random.Random(seed).shuffle(names)
    return names[:count], labels.loc[names[:count]].tolist()


def fit(count: int, seed: int, folder: Path) -> dict[str, float]:
    """Fit from strings, and save."""
    from archrank.predictors import ArchRank

    archs, labels = labelled(count, seed)
    start = time.process_time()
    predictor = ArchRank(space=SPACE, random_state=seed).fit(archs, labels)
    seconds = time.process_time() - start
    predictor.save(folder)
    return {"s": seconds}


def predict(which: str, folder: Path) -> dict[str, float]:
    """Predict all cells, or one of each class of equal ones, from strings."""
    from archrank import load_predictor
    from archrank.data import space
    from archrank.predictors import predicting

    archs = list(space(SPACE))
    if which == "distinct":
        archs = sorted({space(SPACE).canonical(arch) for arch in archs})
    predictor = load_predictor(folder)
    start = time.process_time()
    predicting.predict(predictor, archs, jobs=1)
    return {"s": time.process_time() - start, "cells": len(archs)}


def judge(count: int, seed: int) -> dict[str, float]:
    """Judge cells from strings by the shipped predictor, that has no labels of the space."""
    from archrank import load_predictor
    from archrank.data import space

    archs = space(SPACE).sample(count, seed)
    predictor = load_predictor().set_params(space=SPACE)
    start = time.process_time()
    predictor.predict(archs)
    return {"s": time.process_time() - start, "cells": count}


def in_fresh_process(*words: object) -> dict[str, float]:
    """Return what a process of its own measures."""
    command = [sys.executable, __file__, *map(str, words)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    return json.loads(done.stdout.splitlines()[-1])


def measure(seeds: int) -> None:
    """Measure what is not in the file yet."""
    keys = [{"what": what, "seed": seed} for seed in range(seeds) for what in JOBS]
    with tempfile.TemporaryDirectory() as work:
        for key in LINES.missing(keys):
            words, seed = JOBS[key["what"]], key["seed"]
            folder = Path(work, f"{seed}-{words[1] if words[0] == 'fit' else FEW}")
            if words[0] == "predict" and not folder.exists():
                in_fresh_process("fit", FEW, seed, folder)
            LINES.keep(key, **in_fresh_process(*words, seed, folder))


def answer(what: str, which: str, seed: str, folder: str) -> None:
    """Measure one figure in this process, and print it for the one that waits."""
    if what == "judge":
        found = judge(int(which), int(seed))
    elif what == "fit":
        found = fit(int(which), int(seed), Path(folder))
    else:
        found = predict(which, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({**found, "peak MB": peak}))


def row(what: str, found: Sequence[Mapping[str, float]]) -> list[str]:
    """Write the median of a figure, its range, cells a second, and the most memory."""
    seconds = [one["s"] for one in found]
    middle = float(np.median(seconds))
    spread = f" ({min(seconds):.1f} to {max(seconds):.1f})" if len(found) > 1 else ""
    rate = f"{found[0]['cells'] / middle:,.0f}" if "cells" in found[0] else "-"
    peak = max(one["peak MB"] for one in found) / 1e3
    return [what, f"{middle:.1f}{spread}", rate, f"{peak:.2f} GB", str(len(found))]


def tables() -> list[str]:
    """Write the page from the lines."""
    headings = ("", "seconds", "cells a second", "peak memory", "runs")
    by_job = {what: LINES.read(what=what) for what in JOBS}
    return [
        "# Speed and memory of predictors",
        "",
        f"{made_by('predictor_speed.py', '--tables', also='OMP_NUM_THREADS=1')} NAS-Bench-201, "
        "from architecture strings, graphs included. Each run is a fresh process with a seed of "
        "its own, which draws the labelled cells. Seconds are of the processor: the median of the "
        f"runs, and their range. Predictions are those of `ArchRank` fitted to {FEW} labels. "
        "*Without labels*: the shipped predictor, which needs sizes alone; it includes the look at "
        "a hundred graphs of each thousand for cells that are out of distribution. Peak memory is "
        "of the whole process.",
        "",
        *markdown_table(headings, [row(what, found) for what, found in by_job.items() if found]),
        "",
        "Equal cells (5,390 classes among 15,625) are read once. How long pretraining takes stands "
        "in `ablations.md`.",
    ]


def main() -> None:
    """Measure what is missing, and write the page; or answer a process that waits."""
    if sys.argv[1:2] in (["fit"], ["predict"], ["judge"]):
        answer(*sys.argv[1:])
    else:
        measure_and_write(__doc__, PAGE, measure, tables, SEEDS)


if __name__ == "__main__":
    main()
