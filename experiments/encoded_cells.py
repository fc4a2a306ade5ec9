"""What graph neural networks on cells add to `ArchRank`: one trained on labels, one never trained.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/encoded_cells.py [PROBLEM ...]``.
The script may be killed at any moment; started again, it continues where it was. Finished draws
are lines of ``experiments/results/stores/encoded_cells.jsonl``. ``--tables`` writes
``experiments/results/encoded_cells.md`` from them.

The members on encoded cells of ``ArchRank`` were chosen by these draws of labels, which no other
page reports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import trained_cells
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, parser, write_page

from archrank.metrics import kendall
from archrank.predictors import ArchRank
from archrank.predictors.ensemble import archrank
from archrank.predictors.ensemble.library import members_on_encoded_cells
from archrank.predictors.features.cells import cells
from archrank.predictors.features.columns import Features, read_columns
from predictors import PROBLEMS, Pool, pool_of

LINES = Lines(STORES / "encoded_cells.jsonl")
PAGE = RESULTS / "encoded_cells.md"
SEEDS = (100, 101, 102)
"""Of draws of labels; other pages have those from 0 on."""
COUNTS: Mapping[str, tuple[int, ...]] = {
    "nasbench301": (32, 64, 128),
    "nasbench201": (78, 156),
    "transnas101_micro": (32,),
    "nasbench101_10k": (100,),
    "enas": (50, 100),
    "nasbench_graph-cora": (50,),
    "nasbench_macro": (50,),
}
TESTED = 1000
TRAINED = "trained network on cells"
ENCODED = tuple(members_on_encoded_cells())
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "trained": (TRAINED,),
    "encoded": ENCODED,
    "both": (TRAINED, *ENCODED),
}
"""What joins the other members."""


@dataclass(frozen=True)
class Said:
    """What one member predicts, as normal scores: of labels held out, and of the test."""

    held_out: np.ndarray
    tested: np.ndarray


class Watched(ArchRank):
    """An ``ArchRank`` that keeps what its members predicted of labels held out."""

    def _validated(self, samples: list[Any], targets: np.ndarray) -> Any:
        self.validated, self.targets = super()._validated(samples, targets), targets
        return self.validated


def measure(pool: Pool, count: int, seed: int) -> dict[str, Any]:
    """Return tau of each member alone and of the mixtures, on one draw of labels."""
    labelled, tested = pool.split(count, seed)
    known, asked = ([pool.plain[i] for i in rows] for rows in (labelled, tested))
    watched = Watched(random_state=seed).fit(known, pool.labels[labelled])
    members, targets = watched.validated.library, watched.targets
    read = read_columns(asked, watched._parts_read(members.values()))
    said = {}
    for name, member in members.items():
        fitted = archrank._fitted(member, watched.validated.columns, targets)
        said[name] = Said(watched.validated.held_out[name], archrank._predicted(fitted, read)[0])
    said[TRAINED] = by_trained(known, asked, targets, seed)
    truth = pool.truth[tested]
    plain = [name for name in members if name not in ENCODED]
    mixed = {"neither": plain, **{name: [*plain, *more] for name, more in LIBRARIES.items()}}
    return {
        "alone": {name: kendall(one.tested, truth) for name, one in said.items()},
        "mixed": {
            name: mixture({key: said[key] for key in some}, targets, truth)
            for name, some in mixed.items()
        },
    }


def mixture(said: Mapping[str, Said], targets: np.ndarray, truth: np.ndarray) -> float:
    """Return tau of the mean of members, by the weights that ``ArchRank`` gives them."""
    weights = archrank._trusted({name: one.held_out for name, one in said.items()}, targets)
    return kendall(sum(w * said[name].tested for name, w in weights.items()), truth)


def by_trained(known: list[Any], asked: list[Any], targets: np.ndarray, seed: int) -> Said:
    """Return what trained networks say of each fold and of the test, on the scale of targets."""
    fold = archrank._folds(known, 5, seed)
    held_out = np.zeros(len(known))
    for number in range(fold.max() + 1):
        out = np.flatnonzero(fold == number)
        held_out[out] = one_training(known, fold != number, [known[i] for i in out], targets)
    said = one_training(known, fold >= 0, asked, targets)
    slope = np.clip(np.cov(held_out, targets)[0, 1] / held_out.var(), 0.1, 1.5)
    return Said(slope * held_out, slope * said)


def one_training(
    known: list[Any], learnt: np.ndarray, asked: Iterable[Any], targets: np.ndarray
) -> np.ndarray:
    """Train on some of the labelled networks and predict others."""
    own = [sample for sample, chosen in zip(known, learnt, strict=True) if chosen]
    others = list(asked)
    columns = [read_columns(some, ("statistics",)) for some in (own, others)]
    scaled = Features(("statistics",)).fit(columns[0])
    return trained_cells.trained(
        [cells(sample.graph) for sample in own],
        [cells(sample.graph) for sample in others],
        (scaled.transform(columns[0]), scaled.transform(columns[1])),
        targets[learnt],
    )


def run(key: str) -> None:
    """Measure those draws of one problem that are not in the file yet."""
    keys = [{"problem": key, "count": c, "seed": s} for c in COUNTS[key] for s in SEEDS]
    todo = LINES.missing(keys)
    if not todo:
        return
    pool = pool_of(replace(PROBLEMS[key], tested=TESTED, counts=COUNTS[key], our_scores=False))
    for one in todo:
        LINES.append({**one, **measure(pool, one["count"], one["seed"])})
        print(*one.values(), LINES.read(**one)[0]["mixed"], file=sys.stderr, flush=True)


def differences(found: list[dict[str, Any]], name: str) -> list[float]:
    """Return by how much a mixture is above that without networks on cells, draw by draw."""
    return [line["mixed"][name] - line["mixed"]["neither"] for line in found]


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    alone, mixed, gains = [], [], {name: [] for name in LIBRARIES}
    for key, counts in COUNTS.items():
        for count in counts:
            found = [r for r in results if r["problem"] == key and r["count"] == count]
            if not found:
                continue
            where = (f"{PROBLEMS[key].heading}, {count} labels", len(found))
            taus = [interval([r["alone"][name] for r in found]) for name in (TRAINED, *ENCODED)]
            alone.append((*where, *taus))
            for name, gained in gains.items():
                gained.append(differences(found, name))
            mixed.append(
                (
                    *where,
                    interval([r["mixed"]["neither"] for r in found]),
                    *(interval(gained[-1]) for gained in gains.values()),
                )
            )
    means = [[float(np.mean(one)) for one in gained] for gained in gains.values()]
    mixed.append(("*mean of the settings*", "", "", *map(interval, means)))
    mixed.append(("*smallest mean of a setting*", "", "", *(f"{min(one):.3f}" for one in means)))
    return [
        "# Graph neural networks on cells, trained and not",
        "",
        f"{made_by('encoded_cells.py', '--tables')} Kendall's tau-b on networks that were not "
        f"labelled ({TESTED:,} where there are more), mean and 95 % interval over draws of labels "
        "that no other page reports. The members on encoded cells were chosen by these draws of "
        "NAS-Bench-301, so their figures there are optimistic; [predictors](predictors.md) has "
        "other draws.",
        "",
        "The *trained network* passes messages along the arcs of cells, both ways, and reads "
        "sizes at its head; it learns the order of pairs, and the mean of "
        f"{trained_cells.MEMBERS} is taken. *Encoded cells* are what a network with random "
        "weights makes of the same arcs, and a Gaussian process learns from them.",
        "",
        "## As members of `ArchRank`",
        "",
        "Tau without them, and the differences with them. Weights come from cross-validation on "
        "the labels, as in `ArchRank`.",
        "",
        *markdown_table(("setting", "draws", "neither", "+ trained", "+ encoded", "+ both"), mixed),
        "",
        "## Alone",
        "",
        *markdown_table(("setting", "draws", TRAINED, *ENCODED), alone),
    ]


def main() -> None:
    """Measure what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("problems", nargs="*", metavar="PROBLEM", help=", ".join(COUNTS))
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    torch.set_num_threads(1)
    for key in arguments.problems or COUNTS:
        run(key)


if __name__ == "__main__":
    main()
