"""GENNAPE on families that it never saw: without labels, and adapted to a few.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/gennape.py --work FOLDER [FOLD
...]``. It may be killed at any moment and goes on where it was: finished work is lines of
``experiments/results/stores/gennape.jsonl``; encoders and predictors lie in the folder ``--work``,
outside the repository. ``--tables`` writes ``experiments/results/gennape.md`` from the lines and
fits nothing.

Protocol: one encoder is trained on networks of spaces that no labelled family is of. Families are
left out in five groups, relatives together, and GENNAPE learns the labelled families of the others
(``archrank.predictors.pretrained.gennape_recipe``), with three seeds. It ranks
up to 100 networks of a family left out without labels, or those that are left when k random ones
are given. Labels are means of normal scores over a table's tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, parser, write_page

from archrank.metrics import kendall, spearman
from archrank.predictors import GENNAPE, Pretrained
from archrank.predictors.pretrained.gennape_recipe import (
    UNLABELLED,
    Labelled,
    encoder_of,
    labelled,
    learnt,
)
from archrank.predictors.pretrained.sources import SOURCES, source

LINES = Lines(STORES / "gennape.jsonl")
PAGE = RESULTS / "gennape.md"
FOLDS = {
    "ImageNet and digits": ("accel_nasbench", "ofa_mobilenetv3", "digits"),
    "cells of NAS-Bench-201": ("nasbench201", "transnas101_micro", "nats_sss"),
    "cells of NAS-Bench-101 and DARTS": ("nasbench101", "ec_nas", "nasbench301"),
    "macro": ("nasbench_macro", "transnas101_macro", "enas"),
    "transformers": ("gpt", "flexibert"),
}
"""Families that are left out together, with all their relatives."""
CHOSEN_ON = FOLDS["ImageNet and digits"]
SEEDS = 3
COUNTS = (20, 50)
FIRST = (50, 20)  # in which order they are done
MOST_LABELLED = 0.6  # of a family: the rest is the test
SIZES = ("params", "flops")


@dataclass(frozen=True)
class Maker:
    """Makes what was not learnt of a fold, and keeps it in a folder."""

    fold: str
    work: Path

    @property
    def folder(self) -> Path:
        """Where it keeps its files."""
        return self.work / self.fold.replace(" ", "_")

    def encoder(self, trained: bool) -> Pretrained:
        """Return the encoder, which saw no network of any labelled family."""
        folder = self.work / ("encoder" if trained else "untrained")
        if not folder.exists():
            file = self.work / "encoder.safetensors" if trained else None
            encoder_of(file, **({} if trained else {"epochs": 0})).save(folder)
        return Pretrained.load(folder)

    def predictor(self, seed: int, trained: bool = True) -> GENNAPE:
        """Return the predictor that learnt of the families outside the fold."""
        name = f"{'trained' if trained else 'untrained'}-{seed}"
        folder = self.folder / name
        if not folder.exists():
            others = [one for one in SOURCES if one.family not in FOLDS[self.fold]]
            families = {one.family: _labelled(one.family) for one in others}
            checkpoint = self.folder / f"{name}-checkpoint"
            learnt(families, self.encoder(trained), seed, checkpoint).save(folder)
        return GENNAPE.load(folder)


@cache
def _labelled(family: str) -> Labelled:
    """Read a family once."""
    return labelled(source(family))


def zero_shot(maker: Maker, seed: int, trained: bool) -> None:
    """Judge the prediction without labels; of the trained encoder its members and sizes, too."""
    what = "GENNAPE" if trained else "untrained encoder"
    for family in _missing(maker.fold, seed, 0, what):
        read, labels = _labelled(family)
        made = maker.predictor(seed, trained)
        outputs = {what: made.predict(read)}
        if trained:
            outputs |= made.explain(read)
            sizes = {size: [getattr(one.graph, size) for one in read] for size in SIZES}
            outputs |= {size: np.array(values, float) for size, values in sizes.items()}
        for predictor, order in outputs.items():
            key = {"family": family, "seed": seed, "count": 0, "predictor": predictor}
            LINES.keep(key, **_figures(order, labels))


def adapted(maker: Maker, seed: int, count: int) -> None:
    """Judge what the predictor makes of a few labels."""
    for family in _missing(maker.fold, seed, count, "GENNAPE"):
        read, labels = _labelled(family)
        if count > MOST_LABELLED * len(labels):
            continue
        order = np.random.default_rng(seed).permutation(len(labels))
        given, tested = np.sort(order[:count]), np.sort(order[count:])
        made = maker.predictor(seed)
        made.adapt([read[i] for i in given], labels[given])
        rest = [read[i] for i in tested]
        outputs = {"GENNAPE": made.predict(rest)} | made.explain(rest)
        for predictor, scores in outputs.items():
            key = {"family": family, "seed": seed, "count": count, "predictor": predictor}
            weight = made.weights_.get(predictor)
            LINES.keep(key, **_figures(scores, labels[tested]), weight=weight)


def _missing(fold: str, seed: int, count: int, predictor: str) -> list[str]:
    """Choose the families of a fold that no line holds."""
    done = {r["family"] for r in LINES.read(seed=seed, count=count, predictor=predictor)}
    return [family for family in FOLDS[fold] if family not in done]


def _figures(order: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {"tau": kendall(order, truth), "rho": spearman(order, truth), "tested": len(order)}


# --- the page -------------------------------------------------------------------------------------


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    lines = [
        "# GENNAPE on families that it never saw",
        "",
        f"{made_by('gennape.py --work FOLDER', '--tables')} Mean over seeds ({SEEDS}, else as "
        "said) and 95 % interval of the mean. What is learnt for a family comes from families of "
        "other groups alone: "
        + "; ".join(", ".join(families) for families in FOLDS.values())
        + f". The encoder is one for all, trained on {', '.join(UNLABELLED)}. A seed draws the "
        "heads' weights and the labelled networks; up to 100 networks of a family are ranked. "
        "*untrained encoder*, where measured: the same on random weights. Losses, what heads read "
        "and their training were chosen on tasks of "
        f"{', '.join(CHOSEN_ON)} and on jigsaw of TransNAS-Bench-101 micro (`losses.md`), marked "
        "*. That heads read sizes beside the encoder's vectors came of a first run, in which heads "
        "on vectors alone ordered most families that they had not seen worse than chance "
        "(Once-for-all -0.22, NAS-Bench-301 -0.19, NAS-Bench-201 0.26).",
    ]
    for figure, title in (("tau", "Kendall's tau"), ("rho", "Spearman's rho")):
        lines += ["", f"## {title}", "", *_table(results, figure)]
    lines += ["", "## Members and encoder, without labels: tau", "", *_members(results, 0)]
    lines += ["", "## Members, adapted to 50 labels: tau", "", *_members(results, 50)]
    return lines


def _mark(family: str) -> str:
    return family + ("*" if family in (*CHOSEN_ON, "transnas101_micro") else "")


def _cell(results: list[dict], figure: str, family: str, count: int, predictor: str) -> str:
    key = {"family": family, "count": count, "predictor": predictor}
    values = [r[figure] for r in results if key.items() <= r.items()]
    if not values:
        return "-"
    same = predictor in SIZES
    some = "" if len(values) == SEEDS or same else f" ({len(values)})"
    return (f"{values[0]:.3f}" if same else interval(values)) + some


def _table(results: list[dict], figure: str) -> list[str]:
    rows = [
        [
            _mark(family),
            *(_cell(results, figure, family, 0, size) for size in SIZES),
            *(_cell(results, figure, family, count, "GENNAPE") for count in (0, *COUNTS)),
        ]
        for families in FOLDS.values()
        for family in families
        if any(r["family"] == family for r in results)
    ]
    counts = [f"{count} labels" for count in COUNTS]
    return markdown_table(("family", "params", "FLOPs", "no labels", *counts), rows)


def _members(results: list[dict], count: int) -> list[str]:
    of_count = [r for r in results if r["count"] == count]
    known = dict.fromkeys(r["predictor"] for r in of_count if r["predictor"] not in SIZES)
    rows = [
        [_mark(family), *(_cell(of_count, "tau", family, count, name) for name in known)]
        for families in FOLDS.values()
        for family in families
        if any(r["family"] == family for r in of_count)
    ]
    means = []
    for name in known:
        mine = [r["tau"] for r in of_count if r["predictor"] == name]
        means.append(f"{np.mean(mine):.3f}" if mine else "-")
    weights = []
    for name in known:
        found = [r["weight"] for r in of_count if r["predictor"] == name and r.get("weight")]
        weights.append(f"{np.mean(found):.2f}" if found else "-")
    last = [["*mean weight*", *weights]] if count else []
    return markdown_table(("family", *known), [*rows, ["*mean*", *means], *last])


def main() -> None:
    """Judge what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("folds", nargs="*", metavar="FOLD", help=", ".join(FOLDS))
    options.add_argument("--work", type=Path, help="folder for encoders and predictors")
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument("--untrained", action="store_true", help="the control alone")
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    if arguments.work is None:
        options.error("--work: say a folder outside the repository")
    torch.set_num_threads(1)
    makers = [Maker(fold, arguments.work) for fold in arguments.folds or FOLDS]
    seeds = range(arguments.seeds)
    for maker, seed in product(makers, seeds):
        zero_shot(maker, seed, not arguments.untrained)
    for count, maker, seed in product(() if arguments.untrained else FIRST, makers, seeds):
        adapted(maker, seed, count)


if __name__ == "__main__":
    main()
