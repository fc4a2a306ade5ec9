"""One predictor for several datasets and lengths of training, compared with one for each.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/recipes.py``. The script may be
killed at any moment; started again, it continues where it was. Finished fits are lines of
``experiments/results/stores/recipes.jsonl``. At the end the script writes
``experiments/results/recipes.md``. ``--tables`` writes the page alone.

Protocol: NAS-Bench-201 with three datasets and 12 or 200 epochs has six conditions. Each condition
has labelled cells of its own, drawn by the seed (validation accuracy). The context of a cell is its
condition: two columns for the dataset and one for log2 of the epochs. ``joint`` is one ``ArchRank``
on all labels; ``separate`` is one for each condition, on that condition's part of the same labels.
The test is a fixed random 1,000 cells that are never labelled, with their test accuracy in that
condition. The graph is that of the CIFAR-10 network in all conditions. No setting was chosen on
these labels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, measure_and_write

from archrank.data import space, table
from archrank.metrics import kendall
from archrank.predictors import ArchRank, Sample, samples, with_context
from predictors import SIZES

LINES, PAGE = Lines(STORES / "recipes.jsonl"), RESULTS / "recipes.md"
DATASETS, EPOCHS = ("cifar10", "cifar100", "ImageNet16-120"), (12, 200)
Condition = tuple[str, int]
CONDITIONS: list[Condition] = [(dataset, epochs) for epochs in EPOCHS for dataset in DATASETS]
LABELLED = {
    "13 labels in each condition": (13, 13),
    "39 labels in each condition": (39, 39),
    "78 labels of 12 epochs, 13 of 200": (78, 13),
}
"""How many labels of a dataset, after 12 and after 200 epochs."""
SEEDS, TESTED, LABELLABLE = 5, 1000, 2000


def column(dataset: str, epochs: int, of: str = "") -> str:
    """Name a condition's accuracy in the table."""
    return f"{dataset}{of}" + ("@12" if epochs == 12 else "")


def context(dataset: str, epochs: int) -> list[float]:
    """Write a condition as numbers."""
    return [*(float(dataset == other) for other in DATASETS[1:]), float(np.log2(epochs))]


@dataclass(frozen=True)
class Cells:
    """Cells of which all is known: those that are tested, and those that may be labelled."""

    known: dict[str, Sample]
    tested: list[str]
    rest: list[str]
    labels: dict[Condition, pd.Series]
    truth: dict[Condition, pd.Series]

    def asked(self, condition: Condition, names: Sequence[str]) -> list[Sample]:
        """Return cells in a condition."""
        return with_context(
            [self.known[name] for name in names], [context(*condition)] * len(names)
        )


def read_cells() -> Cells:
    """Read a fixed random share of all cells."""
    found = table("nasbench201")
    labels = {c: found.labels(column(*c, "-valid")).dropna() for c in CONDITIONS}
    truth = {c: found.labels(column(*c)) for c in CONDITIONS}
    names = sorted(set.intersection(*(set(labels[c].index) for c in CONDITIONS)))
    random.Random("recipes").shuffle(names)
    names = names[: TESTED + LABELLABLE]
    known = dict(zip(names, samples(names, space=space("nasbench201")), strict=True))
    return Cells(known, names[:TESTED], names[TESTED:], labels, truth)


def measure(cells: Cells, counts: Sequence[int], seed: int) -> dict[str, dict[str, float]]:
    """Compute tau of every way in every condition."""
    rng = np.random.default_rng(seed)
    given, values = {}, {}
    for c in CONDITIONS:
        drawn = rng.choice(cells.rest, counts[EPOCHS.index(c[1])], replace=False).tolist()
        given[c], values[c] = cells.asked(c, drawn), cells.labels[c].loc[drawn].to_numpy(float)
    joint = ArchRank(random_state=seed).fit(
        [sample for c in CONDITIONS for sample in given[c]],
        np.concatenate([values[c] for c in CONDITIONS]),
    )
    taus = {}
    for c in CONDITIONS:
        asked = cells.asked(c, cells.tested)
        predicted = {
            "joint": joint.predict(asked),
            "separate": ArchRank(random_state=seed).fit(given[c], values[c]).predict(asked),
            **{size: [float(getattr(s.graph, size)) for s in asked] for size in SIZES},
        }
        actual = cells.truth[c].loc[cells.tested].to_numpy(float)
        taus[column(*c)] = {how: kendall(np.array(p), actual) for how, p in predicted.items()}
    return taus


def run(seeds: int) -> None:
    """Do all fits that are not in the file yet."""
    todo = LINES.missing([{"labels": name, "seed": s} for name in LABELLED for s in range(seeds)])
    cells = read_cells() if todo else None
    for one in todo:
        taus = measure(cells, LABELLED[one["labels"]], one["seed"])
        LINES.append({**one, "tau": taus})
        print(*one.values(), taus["cifar10"], flush=True)


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    lines = [
        "# One predictor of several datasets and lengths of training",
        "",
        f"{made_by('recipes.py')} "
        f"{SEEDS} seeds: Kendall's tau-b on {TESTED:,} cells of NAS-Bench-201 that were not "
        "labelled, mean and 95 % interval of the mean. Labels are validation accuracies, the truth "
        "is test accuracy in the same condition. *joint*: one `ArchRank` on the labels of all six "
        "conditions, the condition as context; *separate*: one for each, on the same labels. "
        "*difference*: joint less separate, paired by seed.",
    ]
    for name in LABELLED:
        mine = [r for r in results if r["labels"] == name]
        if not mine:
            continue
        rows = []
        for c in CONDITIONS:
            here = [r["tau"][column(*c)] for r in mine]
            cells = [f"{here[0][size]:.3f}" for size in SIZES]
            cells += [interval([r[how] for r in here]) for how in ("separate", "joint")]
            cells.append(interval([r["joint"] - r["separate"] for r in here]))
            rows.append([f"{c[0]}, {c[1]} epochs", *cells])
        headings = ("condition", *SIZES, "separate", "joint", "difference")
        lines += ["", f"## {name}", "", *markdown_table(headings, rows)]
    return lines


def main() -> None:
    """Measure what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, run, tables, SEEDS)


if __name__ == "__main__":
    main()
