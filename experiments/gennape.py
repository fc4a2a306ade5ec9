"""GENNAPE on unseen families: without labels, and adapted to a few.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/gennape.py --work FOLDER [FOLD
...]``. The script may be killed at any moment; started again, it continues where it was. Finished
work is lines of ``experiments/results/stores/gennape.jsonl``; encoders and predictors lie in the
folder ``--work``, outside the repository. ``--tables`` writes ``experiments/results/gennape.md``
from the lines and fits nothing.

Protocol: encoders (``ablation_members.ENCODERS``) are trained on networks of spaces to which no
labelled family belongs. Families are left out in six groups, with relatives in the same group.
GENNAPE learns the labelled families of the other groups, and families of timm's models
(``archrank.predictors.pretrained.gennape_recipe``), with three seeds. It ranks up to 100 networks
of each family left out: first without labels, then the remaining ones after it was given k random
labels. A label is the mean of normal scores over the tasks of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from ablation_members import ENCODERS, FEW_EACH, MANY, UNTRAINED, encoder
from common import (
    RESULTS,
    STORES,
    Lines,
    folder_of,
    interval,
    made_by,
    markdown_table,
    parser,
    write_page,
)

from archrank.metrics import kendall, spearman
from archrank.predictors import GENNAPE, Sample
from archrank.predictors.neural.gennape.combining import comparable
from archrank.predictors.pretrained.family_sources import SOURCES, source
from archrank.predictors.pretrained.gennape_recipe import (
    EACH,
    MOBILE_IN_TIMM,
    MOST,
    SMALLEST,
    UNLABELLED,
    Labelled,
    families_of_timm,
    labelled,
    learnt,
)
from archrank.predictors.pretrained.zoo import best_plain, checkpoints, graphs_of

LINES = Lines(STORES / "gennape.jsonl")
PAGE = RESULTS / "gennape.md"
FOLDS = {
    "ImageNet and digits": ("accel_nasbench", "ofa_mobilenetv3", "digits"),
    "cells of NAS-Bench-201": ("nasbench201", "transnas101_micro", "nats_sss"),
    "cells of NAS-Bench-101 and DARTS": ("nasbench101", "ec_nas", "nasbench301"),
    "macro": ("nasbench_macro", "transnas101_macro", "enas"),
    "transformers": ("gpt", "flexibert"),
    "real networks": ("timm",),
}
"""Families that are left out together, with all their relatives."""
TIMM = "timm"
CHOSEN_ON = FOLDS["ImageNet and digits"]
SEEDS = 3
COUNTS = (50,)
HELD_OUT = "weighed by labels held out"
MOST_LABELLED = 0.6  # of a family: the rest is the test
SIZES = ("params", "flops")
SHIPPED, CONTROL = MANY, "GIN, untrained"
FORMER, CONTRAST = "GIN, statistics, timm not learnt", "k-GNN, contrast and sizes"
"""Encoders that learnt from few graphs; heads on them did not learn from timm's models."""


@dataclass(frozen=True)
class Maker:
    """Makes what was not learnt from a fold, and keeps it in a folder."""

    fold: str
    work: Path

    def predictor(self, name: str, seed: int) -> GENNAPE:
        """Return the predictor on an encoder that learnt from the families outside the fold."""
        folder = self.work / self.fold.replace(" ", "_") / f"{name}-{seed}"
        if not folder.exists():
            others = [one for one in SOURCES if one.family not in FOLDS[self.fold]]
            families = {one.family: self.labelled(one.family) for one in others}
            if TIMM not in FOLDS[self.fold]:
                families |= families_of_timm(self.graphs, FOLDS[self.fold])
            of = encoder(name, self.work, seed if name in UNTRAINED else 0)
            learnt(families, of, seed, folder.with_name(f"{folder.name}-checkpoint")).save(folder)
        return GENNAPE.load(folder)

    def labelled(self, family: str) -> Labelled:
        """Read a family, of timm's models up to 100 of all."""
        return _timm(self.graphs) if family == TIMM else family_of(family)

    @property
    def graphs(self) -> Path:
        """The folder of the graphs of timm's models."""
        return self.work / TIMM


@cache
def family_of(family: str) -> Labelled:
    """Read a family once."""
    return labelled(source(family))


@cache
def _timm(folder: Path) -> Labelled:
    rows = best_plain(checkpoints()).sample(MOST, random_state=0)
    graphs = graphs_of(list(rows["network"]), folder)
    return [Sample(graphs[network]) for network in rows["network"]], rows["top1"].to_numpy(float)


def zero_shot(maker: Maker, name: str, seed: int) -> None:
    """Judge the prediction without labels, each member, and the mean without it; sizes, too."""
    for family in _missing(maker.fold, name, seed, 0):
        read, labels = maker.labelled(family)
        made = maker.predictor(name, seed)
        said = made.explain(read)
        outputs = {**said, "GENNAPE": made.predict(read)}
        for left_out in said:
            outputs[f"without {left_out}"] = _mean(
                made, said, {one: float(one != left_out) for one in said}
            )
        for size in SIZES:
            outputs[size] = np.array([getattr(one.graph, size) for one in read], float)
        for predictor, order in outputs.items():
            LINES.keep(_key(family, name, seed, 0, predictor), **_figures(order, labels))


def adapted(maker: Maker, name: str, seed: int, count: int) -> None:
    """Judge what the predictor makes of a few labels."""
    for family in _missing(maker.fold, name, seed, count):
        read, labels = maker.labelled(family)
        if count > MOST_LABELLED * len(labels):
            continue
        order = np.random.default_rng(seed).permutation(len(labels))
        given, tested = np.sort(order[:count]), np.sort(order[count:])
        known, rest = ([read[i] for i in rows] for rows in (given, tested))
        made = maker.predictor(name, seed)
        made.adapt(known, labels[given])
        for predictor, scores in {**made.explain(rest), "GENNAPE": made.predict(rest)}.items():
            key = _key(family, name, seed, count, predictor)
            weight = made.weights_.get(predictor)
            LINES.keep(key, **_figures(scores, labels[tested]), weight=weight)


def _mean(
    made: GENNAPE, said: Mapping[str, np.ndarray], weights: Mapping[str, float]
) -> np.ndarray:
    """Return the mean of members with other weights than the predictor's own."""
    scores = [comparable(said[one], made.ordered_[one], made.combination) for one in weights]
    return np.average(scores, axis=0, weights=list(weights.values()))


def _key(family: str, name: str, seed: int, count: int, predictor: str) -> dict[str, object]:
    facts = {"family": family, "seed": seed, "count": count, "predictor": predictor}
    return {**facts, "encoder": name}


def _missing(fold: str, name: str, seed: int, count: int) -> list[str]:
    """Choose the families of a fold that no line holds; the predictor's own comes last."""
    done = LINES.read(encoder=name, seed=seed, count=count, predictor="GENNAPE")
    return [one for one in FOLDS[fold] if one not in {line["family"] for line in done}]


def _figures(order: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {"tau": kendall(order, truth), "rho": spearman(order, truth), "tested": len(order)}


# --- the page -------------------------------------------------------------------------------------


def results() -> list[dict]:
    """Read the lines, the last of each key: what was interrupted is done again."""
    parts = ("family", "seed", "count", "predictor", "encoder")
    return list({tuple(line[part] for part in parts): line for line in LINES.read()}.values())


def tables() -> list[str]:
    """Write the page from the lines."""
    found = results()
    lines = [
        "# GENNAPE on families that it never saw",
        "",
        f"{made_by('gennape.py --work FOLDER', '--tables')} Mean over seeds ({SEEDS}, else as "
        "said) and 95 % interval of the mean. What is learnt for a family comes from families of "
        "other groups alone: "
        + "; ".join(", ".join(families) for families in FOLDS.values())
        + f". To those come the families of timm's models with {SMALLEST} networks or more, and "
        "their top-1 (`imagenet_zoo`): all but "
        f"{' and '.join(sorted(MOBILE_IN_TIMM))} for ImageNet and digits, none for *{TIMM}*, "
        f"which is {MOST} of all these models. Encoders are trained on {', '.join(UNLABELLED)} "
        f"(`ablation_members.py`): the one shipped, *{SHIPPED}*, on {EACH} networks of each. "
        f"*former*, *{FORMER}* and *{CONTRAST}* learnt from {FEW_EACH} of each, and their heads "
        "from none of timm. A seed draws the heads' weights and the labelled networks; up to "
        "100 networks of a family are ranked, so that there is no column of 100 labels; to 20 it "
        "was not adapted, which takes as long as to 50. Adapted, "
        "members weigh softmax(tau) of the labels learnt, as in the paper; "
        f"*{HELD_OUT}*: softmax(tau / s), tau on two folds held out, s what chance moves it by. "
        "Losses, what heads read, their training and the encoder were chosen on tasks of "
        f"{', '.join(CHOSEN_ON)} and on jigsaw of TransNAS-Bench-101 micro (`losses.md`), marked "
        "*. So were the number of graphs, the real networks and the two epochs of heads "
        "(`gennape_choice.md`; *former*: "
        "ten), of which without labels those families gained most. That heads read sizes beside "
        "the encoder's vectors came of a first run, in which heads on vectors alone "
        "ordered most families that they had not seen worse than chance (Once-for-all -0.22, "
        "NAS-Bench-301 -0.19, NAS-Bench-201 0.26).",
    ]
    for figure, title in (("tau", "Kendall's tau"), ("rho", "Spearman's rho")):
        lines += ["", f"## {title}", "", *_table(found, figure)]
    lines += ["", "## Encoders: tau, mean over families that all have", "", *_encoders(found)]
    lines += ["", "## Members, without labels: tau", "", *_members(found, 0)]
    lines += ["", "## Without a member, without labels: tau", "", *_left_out(found)]
    for count in sorted(COUNTS):
        if any(line["count"] == count for line in _of(found, encoder=SHIPPED)):
            title = f"## Members, adapted to {count} labels: tau"
            lines += ["", title, "", *_members(found, count)]
    return lines


def _of(found: list[dict], **key: object) -> list[dict]:
    return [line for line in found if key.items() <= line.items()]


def _mark(family: str) -> str:
    return family + ("*" if family in (*CHOSEN_ON, "transnas101_micro") else "")


def _cell(found: list[dict], figure: str, **key: object) -> str:
    values = [line[figure] for line in _of(found, **key)]
    if not values:
        return "-"
    same = key.get("predictor") in SIZES
    some = "" if len(values) == SEEDS or same else f" ({len(values)})"
    return (f"{values[0]:.3f}" if same else interval(values)) + some


def _table(found: list[dict], figure: str) -> list[str]:
    columns = {
        **{size: {"predictor": size, "count": 0} for size in SIZES},
        "no labels": {"count": 0},
        "no labels, untrained encoder": {"count": 0, "encoder": CONTROL},
        "no labels, former": {"count": 0, "encoder": FORMER},
        **{f"{count} labels": {"count": count} for count in COUNTS},
        **{
            f"{COUNTS[-1]} labels, {said}": {"count": COUNTS[-1], "encoder": name}
            for said, name in {
                "untrained encoder": CONTROL,
                "former": FORMER,
                CONTRAST: CONTRAST,
            }.items()
        },
        f"{COUNTS[-1]} labels, former, {HELD_OUT}": {
            "count": COUNTS[-1],
            "predictor": HELD_OUT,
            "encoder": FORMER,
        },
    }
    usual = {"predictor": "GENNAPE", "encoder": SHIPPED}
    rows = [
        [
            _mark(family),
            *(_cell(found, figure, family=family, **{**usual, **key}) for key in columns.values()),
        ]
        for family in _families(found)
    ]
    return markdown_table(("family", *columns), rows)


def _families(found: list[dict], **key: object) -> list[str]:
    known = {line["family"] for line in _of(found, **{"encoder": SHIPPED, **key})}
    return [one for families in FOLDS.values() for one in families if one in known]


def _encoders(found: list[dict]) -> list[str]:
    """Tabulate the mean tau of encoders over the families that all have; in brackets how many."""
    rows = []
    for name in (*ENCODERS, FORMER):
        cells = []
        for count in (0, *COUNTS):
            mine = _of(found, count=count, encoder=name, predictor="GENNAPE")
            taus = [line["tau"] for line in mine if line["family"] in _common(found, count)]
            cells.append(f"{np.mean(taus):.3f} ({len(_common(found, count))})" if taus else "-")
        if set(cells) != {"-"}:
            rows.append([name, *cells])
    return markdown_table(("encoder", "no labels", *(f"{count} labels" for count in COUNTS)), rows)


def _common(found: list[dict], count: int) -> list[str]:
    """Choose the families that all encoders judged at so many labels have, with all seeds."""
    judged = list(_of(found, count=count, predictor="GENNAPE"))
    names = {line["encoder"] for line in judged}
    return [
        family
        for family in _families(found, count=count)
        if all(len(_of(judged, family=family, encoder=name)) == SEEDS for name in names)
    ]


def _members(found: list[dict], count: int) -> list[str]:
    mine = _of(found, count=count, encoder=SHIPPED)
    others = (*SIZES, HELD_OUT)
    known = dict.fromkeys(
        line["predictor"]
        for line in mine
        if line["predictor"] not in others and not line["predictor"].startswith("without ")
    )
    names = sorted(known, key=lambda name: name != "GENNAPE")
    rows = [
        [_mark(family), *(_cell(mine, "tau", family=family, predictor=name) for name in names)]
        for family in _families(mine)
    ]
    taus = [[line["tau"] for line in _of(mine, predictor=name)] for name in names]
    rows.append(["*mean*", *(f"{np.mean(of):.3f}" if of else "-" for of in taus)])
    if count:
        found_weights = [
            [line["weight"] for line in _of(mine, predictor=name) if line.get("weight")]
            for name in names
        ]
        rows.append(["*mean weight*", *(f"{np.mean(w):.2f}" if w else "-" for w in found_weights)])
    return markdown_table(("family", *names), rows)


def _left_out(found: list[dict]) -> list[str]:
    """Tabulate what the mean of six loses without a member, over families."""
    mine = _of(found, count=0, encoder=SHIPPED)
    rows = []
    for name in dict.fromkeys(line["predictor"] for line in mine):
        if name.startswith("without "):
            lost = losses_without(mine, name)
            better = sum(value > 0 for value in lost)
            rows.append([name, interval(lost), f"{better} of {len(lost)}"])
    return markdown_table(
        ("", "tau of all six less tau without it, over families", "families better with it"), rows
    )


def losses_without(found: list[dict], name: str) -> list[float]:
    """Compute tau of all members less that without one, the mean over seeds, by family."""
    means = {
        (line["family"], line["predictor"]): np.mean(
            [one["tau"] for one in _of(found, family=line["family"], predictor=line["predictor"])]
        )
        for line in found
        if line["predictor"] in ("GENNAPE", name)
    }
    families = dict.fromkeys(family for family, _ in means)
    return [float(means[family, "GENNAPE"] - means[family, name]) for family in families]


def main() -> None:
    """Judge what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("folds", nargs="*", metavar="FOLD", help=", ".join(FOLDS))
    options.add_argument("--work", type=Path, help="folder for encoders and predictors")
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument("--encoders", nargs="+", choices=ENCODERS, default=(SHIPPED, CONTROL))
    options.add_argument("--counts", nargs="+", type=int, default=(0, *COUNTS), help="of labels")
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    work = folder_of(arguments.work)
    torch.set_num_threads(1)
    makers = [Maker(fold, work) for fold in arguments.folds or FOLDS]
    seeds = range(arguments.seeds)
    for count, name, maker, seed in product(arguments.counts, arguments.encoders, makers, seeds):
        if count:
            adapted(maker, name, seed, count)
        else:
            zero_shot(maker, name, seed)


if __name__ == "__main__":
    main()
