"""Real networks with a few labels: what the expert fitted to other families adds.

    python experiments/imagenet_zoo_labels.py GRAPHS

GRAPHS is the folder of ``imagenet_zoo.py``. Whole families are held out in five folds, as there. In
each fold, k random networks are labelled with their top-1, and the others are the test. A seed
draws the same networks for every predictor. The script may be killed at any moment; started again,
it continues where it was. ``--tables`` writes the page from the finished work.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from common import (
    RESULTS,
    STORES,
    Lines,
    interval,
    made_by,
    markdown_table,
    parser,
    write_page,
)
from imagenet_zoo import FOLDS, folds

from archrank.metrics import kendall
from archrank.predictors import ArchRank, GraphEnsemble, Reference, Sample, TransferRank
from archrank.predictors.pretrained.shipped import shipped
from archrank.predictors.pretrained.training_recipes import context_of
from archrank.predictors.pretrained.transfer_recipe import expert_on
from archrank.predictors.pretrained.zoo import best_plain, checkpoints, graphs_of

PAGE = RESULTS / "imagenet_zoo_labels.md"
LINES = Lines(STORES / "imagenet_zoo_labels.jsonl")
COUNTS, SEEDS = (5, 10, 20, 50), 5
SIZES = ("params", "flops", "activations")
NAMES = ("adapted", "labels alone", "no labels", *SIZES)


def judge(folder: Path, seeds: int) -> None:
    """Do what is missing: tau of every predictor by fold, number of labels and seed."""
    rows = checkpoints()
    graphs = graphs_of(list(rows["network"]), folder)
    samples = [
        Sample(graphs[n], context=context_of(r))
        for n, r in zip(rows["network"], rows["recipe"], strict=True)
    ]
    labels, best = rows["top1"].to_numpy(), best_plain(rows).reset_index(drop=True)
    fold_of = dict(zip(best["family"], folds(best["family"]), strict=True))
    fold = rows["family"].map(fold_of).fillna(-1).to_numpy()
    for held in range(FOLDS):
        todo = LINES.missing(
            [
                {"fold": held, "count": count, "seed": seed}
                for count in COUNTS
                for seed in range(seeds)
            ]
        )
        if not todo:
            continue
        train = np.flatnonzero(fold != held)
        families = rows["family"].iloc[train].tolist()
        expert = expert_on([samples[i] for i in train], labels[train], families)
        own = best[best["family"].map(fold_of) == held]
        networks, truth = [Sample(graphs[n]) for n in own["network"]], own["top1"].to_numpy()
        for key in todo:
            LINES.keep(
                key, **one_draw(networks, truth, expert, int(key["count"]), int(key["seed"]))
            )


def one_draw(
    networks: list[Sample], truth: np.ndarray, expert: GraphEnsemble, count: int, seed: int
) -> dict[str, float]:
    """Return tau of every predictor on the networks that one draw does not label."""
    order = np.random.default_rng(seed).permutation(len(truth))
    given, tested = np.sort(order[:count]), np.sort(order[count:])
    known, asked = ([networks[i] for i in some] for some in (given, tested))
    reference = Reference.read(shipped().reference_)
    predictors = {
        "adapted": TransferRank.without_labels(reference, expert=expert, random_state=seed),
        "labels alone": ArchRank(random_state=seed),
    }
    said = {n: p.fit(known, truth[given]).predict(asked) for n, p in predictors.items()}
    said["no labels"] = expert.predict(asked)
    for size in SIZES:
        said[size] = np.array([float(getattr(s.graph, size)) for s in asked])
    return {name: kendall(values, truth[tested]) for name, values in said.items()}


def page() -> list[str]:
    """Return the page, from the lines of seeds that all folds have."""
    found: dict[tuple[str, int], list[float]] = {}
    lines, whole = LINES.read(), FOLDS * len(COUNTS)
    seeds = [s for s in range(SEEDS) if sum(line["seed"] == s for line in lines) == whole]
    for line in lines:
        if line["seed"] in seeds:
            for name in NAMES:
                found.setdefault((name, line["count"]), []).append(line[name])
    rows = [[n, *(interval(found[n, count]) for count in COUNTS)] for n in NAMES]
    rows += [
        [f"adapted less {n}", *(interval(_differences(found, n, c)) for c in COUNTS)]
        for n in ("labels alone", "no labels")
    ]
    return [
        "# Real networks with a few labels",
        "",
        made_by(f"imagenet_zoo_labels.py --seeds {len(seeds)} GRAPHS"),
        "",
        "Kendall's tau on the networks of a fold that are not labelled; mean over "
        f"{FOLDS} folds of whole families and {len(seeds)} seeds, with its 95 % interval. Labels "
        "are published ImageNet top-1 of the best checkpoint trained on ImageNet-1k. *Adapted* "
        "is the shipped kind of predictor, whose expert and trust were learnt from other families; "
        "*labels alone* is `ArchRank` fitted to the same labels; sizes need none.",
        "",
        *markdown_table(("predictor", *(f"{c} labels" for c in COUNTS)), rows),
        "",
        "Looked at while designing, with other seeds (100 to 102) of the same folds: that the "
        "expert's word is one more column for all members, that each of them learns around a line "
        "of it, and how much a handful of labels counts.",
    ]


def _differences(found: dict[tuple[str, int], list[float]], other: str, count: int) -> list[float]:
    return np.subtract(found["adapted", count], found[other, count]).tolist()


def main() -> None:
    options = parser(__doc__, tables=True)
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument("graphs", type=Path, help="folder of graphs, one file per network")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    if not arguments.tables:
        judge(arguments.graphs, arguments.seeds)
    write_page(PAGE, page())


if __name__ == "__main__":
    main()
