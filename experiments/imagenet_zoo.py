"""How well graphs alone order real networks: families of timm held out, top-1 of ImageNet.

    python experiments/imagenet_zoo.py trace GRAPHS     trace every network, on the meta device
    python experiments/imagenet_zoo.py judge GRAPHS     five folds of whole families; the page

GRAPHS is a folder with one file per network. ``trace`` fills it and, if it was stopped, continues.
Nothing was chosen on these folds except what the page says.
"""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from archrank.graphs import Graph
from archrank.predictors import GraphEnsemble, Sample, XGBoost
from archrank.predictors.pretrained.training_recipes import PARTS, WORDS, context_of
from archrank.predictors.pretrained.zoo import best_plain, checkpoints, graphs_of

FOLDS = 5
RESAMPLED = 1000
PAGE = Path(__file__).parent / "results" / "imagenet_zoo.md"
SIZES = ("params", "flops", "activations")


def folds(families: pd.Series) -> np.ndarray:
    """Return the fold of each row: whole families, the largest first into the smallest fold."""
    sizes, fold_of = np.zeros(FOLDS), {}
    for family, count in families.value_counts().items():
        fold_of[family] = int(sizes.argmin())
        sizes[fold_of[family]] += count
    return families.map(fold_of).to_numpy()


def learners(trees: int) -> dict[str, GraphEnsemble | XGBoost]:
    """Return what is compared: the ensemble, and boosting on statistics as everybody has it."""
    return {
        "shipped ensemble": GraphEnsemble("percent", trees),
        "XGBoost on statistics": XGBoost(("statistics",), 400, 4, 0.04, 0.7, 0.3, 3.0, 2),
    }


def held_out(
    rows: pd.DataFrame, graphs: dict[str, Graph], asked: pd.Series, recipe: bool, trees: int
) -> dict[str, np.ndarray]:
    """Return what each learner says of the rows asked for while their whole family is held out.

    All rows of other families are learnt from, with their recipes; ``recipe`` says whether those
    of the rows asked for are given, too. Boosting without recipes learns what is asked alone.
    Columns of a result are means, and of the ensemble deviations, intervals' ends and members.
    """
    samples = [
        Sample(graphs[n], context=context_of(r))
        for n, r in zip(rows["network"], rows["recipe"], strict=True)
    ]
    labels, chosen = rows["top1"].to_numpy(), np.flatnonzero(asked)
    family_fold = dict(zip(rows["family"][asked], folds(rows["family"][asked]), strict=True))
    fold = rows["family"].map(family_fold).fillna(-1).to_numpy()
    said: dict[str, np.ndarray] = {}
    for name, learner in learners(trees).items():
        plain = not recipe and not isinstance(learner, GraphEnsemble)
        if recipe and not isinstance(learner, GraphEnsemble):
            learner.set_params(parts=("statistics", "context"))
        for held in range(FOLDS):
            test = chosen[fold[chosen] == held]
            train = np.flatnonzero(fold != held)
            train = np.intersect1d(train, chosen) if plain else train
            given = [samples[i] if recipe else Sample(samples[i].graph) for i in test]
            learner.fit([samples[i] for i in train], labels[train])
            found = {name: learner.predict(given)}
            if isinstance(learner, GraphEnsemble):
                mean, std = learner.expected(given)
                found |= {"mean": mean, "std": std}
                found |= {f"{k} alone": v for k, v in learner.by_member(given).items()}
            for key, values in found.items():
                said.setdefault(key, np.full(len(rows), np.nan))[test] = values
        print(f"{name}: all {FOLDS} folds", file=sys.stderr)
    for number, size in enumerate(SIZES):
        said[size] = np.array([float(getattr(s.graph, SIZES[number])) for s in samples])
    return {name: values[chosen] for name, values in said.items()}


def tau(values: np.ndarray, labels: np.ndarray) -> float:
    return float(kendalltau(values, labels).statistic)


def interval(values: np.ndarray, labels: np.ndarray, families: np.ndarray) -> tuple[float, float]:
    """Return the ends of the 95 % interval of tau, whole families drawn with replacement."""
    rng, names = np.random.default_rng(0), np.unique(families)
    found = []
    for _ in range(RESAMPLED):
        drawn = rng.choice(names, len(names))
        at = np.concatenate([np.flatnonzero(families == name) for name in drawn])
        found.append(tau(values[at], labels[at]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def within(values: np.ndarray, labels: np.ndarray, families: np.ndarray) -> float:
    """Return the mean tau within families of 10 and more."""
    places = [np.flatnonzero(families == name) for name in np.unique(families)]
    return float(np.mean([tau(values[at], labels[at]) for at in places if len(at) >= 10]))


def lines_of(title: str, rows: pd.DataFrame, said: dict[str, np.ndarray]) -> list[str]:
    """Return a table of one comparison as Markdown."""
    labels, families = rows["top1"].to_numpy(), rows["family"].to_numpy()
    lines = [
        f"## {title}",
        "",
        f"{len(rows)} checkpoints, {len(np.unique(families))} families.",
        "",
        "| what orders them | tau [95 %] | within families | mean error, points |",
        "|---|---|---|---|",
    ]
    for name, values in said.items():
        if name in ("mean", "std"):
            continue
        low, high = interval(values, labels, families)
        error = "-" if name in SIZES else f"{np.abs(values - labels).mean():.2f}"
        lines.append(
            f"| {name} | {tau(values, labels):.3f} [{low:.3f}, {high:.3f}] "
            f"| {within(values, labels, families):.3f} | {error} |"
        )
    covered, stretch = coverage(rows, said)
    return [*lines, "", covered, "", *pairs_told(rows, said, stretch), ""]


def coverage(rows: pd.DataFrame, said: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """Say how many labels 90 % intervals hold, each fold stretched by the other folds' errors."""
    fold = folds(rows["family"])
    ratio = np.abs(said["mean"] + np.log(100.0 - rows["top1"].to_numpy())) / said["std"]
    stretch = np.array([np.quantile(ratio[fold != k], 0.9) / 1.645 for k in range(FOLDS)])[fold]
    held = ratio <= 1.645 * stretch
    each = ", ".join(f"{held[fold == k].mean():.2f}" for k in range(FOLDS))
    return (
        f"The ensemble's 90 % intervals, calibrated on the other folds, hold {held.mean():.3f} of "
        f"the labels (folds: {each}).",
        stretch,
    )


def pairs_told(rows: pd.DataFrame, said: dict[str, np.ndarray], stretch: np.ndarray) -> list[str]:
    """Say how many pairs are right of those told apart with so much certainty."""
    from scipy.stats import norm

    first, second = np.triu_indices(len(rows), 1)
    labels, mean, std = rows["top1"].to_numpy(), said["mean"], said["std"] * stretch
    chance = norm.cdf((mean[first] - mean[second]) / np.hypot(std[first], std[second]))
    sure = np.maximum(chance, 1.0 - chance)
    right = (chance > 0.5) == (labels[first] > labels[second])
    lines = ["| certainty said | pairs | right |", "|---|---|---|"]
    for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 1.01)):
        at = (sure >= low) & (sure < high) & (labels[first] != labels[second])
        lines.append(f"| {low:.2f} to {min(high, 1):.2f} | {at.sum()} | {right[at].mean():.3f} |")
    return lines


def page(parts: list[list[str]], command: str) -> str:
    """Return the whole page."""
    return "\n".join(
        [
            "# Real networks, ordered by their graphs alone",
            "",
            f"`{command}`, {date.today()}, {platform.machine()}, Python "
            f"{platform.python_version()}; seed 0; 5 folds of whole families; intervals over "
            f"{RESAMPLED} draws of families.",
            "",
            "Labels: published ImageNet top-1 of timm's checkpoints (`imagenet_zoo`), recipes as "
            f"{len(WORDS)} words and {len(PARTS)} parts of their tags, published epochs and "
            "strength of augmentation. No weight is made, no pass is run.",
            "",
            "Looked at while designing: which features, groups of them, recipes' words, learners "
            "and weights join was chosen among about thirty on these families, in these folds and "
            "two other draws of them, so that the figures are flattered by that choice; single "
            "learners are listed beside it. `imagenet_zoo_choice.py` repeats the comparison. The "
            "table of torchvision's first weights was made once, after.",
            "",
            *(line for part in parts for line in part),
        ]
    )


def judge(folder: Path, trees: int) -> list[list[str]]:
    rows = checkpoints()
    graphs = graphs_of(list(rows["network"]), folder)
    plain = rows["checkpoint"].isin(best_plain(rows)["checkpoint"])
    every = pd.Series(True, index=rows.index)
    return [
        lines_of(
            "ImageNet-1k alone, up to 256 pixels, the best checkpoint of each",
            rows[plain].reset_index(drop=True),
            held_out(rows, graphs, plain, False, trees),
        ),
        lines_of("All checkpoints, recipe given", rows, held_out(rows, graphs, every, True, trees)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("trace", "judge"))
    parser.add_argument("graphs", type=Path, help="folder of graphs, one file per network")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.what == "trace":
        names = list(checkpoints()["network"])
        graphs_of(names, given.graphs, lambda n, of, name: print(f"{n}/{of} {name}"))
    else:
        command = "python experiments/imagenet_zoo.py judge GRAPHS"
        given.out.write_text(page(judge(given.graphs, given.trees), command))


if __name__ == "__main__":
    main()
