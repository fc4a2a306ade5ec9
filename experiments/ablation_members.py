"""The part ``members`` of the ablations: GENNAPE's members on several encoders, alone and left out.

Encoders are trained without labels on networks of spaces that have no labelled family. They are
kept in the folder ``--work``. Members are fitted in one of two ways: to few labels of the family
that they rank; or to another family, and then they rank this family without labels and again after
adapting to a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from ablation_minutes import LINES
from common import interval, markdown_table

from archrank.metrics import kendall
from archrank.predictors import GENNAPE, KGNN, Pretrained, Pretraining, Sample
from archrank.predictors.neural.corpus import graphs_to_learn_from
from archrank.predictors.neural.gennape.combining import comparable
from archrank.predictors.pretrained.gennape_recipe import EACH, UNLABELLED
from predictors import PROBLEMS, Pool, pool_of

SEEDS = 3
FEW, LEARNT, ADAPTED, TESTED = 78, 500, 50, 500
FAMILY, RANKED = "nasbench101_10k", ("nasbench201", "nasbench_macro")
LEAST = 80.0  # accuracy of a network to learn from, as in the paper
SPACES = ("nasbench_macro", "nasbench201")

# --- encoders -------------------------------------------------------------------------------------

_SHAPE = {"options": {"width": 64, "dropout": 0.1}, "projection": 32}
_CONTRAST = {**_SHAPE, "epochs": 15, "batch_size": 128}
ENCODERS: Mapping[str, Pretraining] = {
    "k-GNN, untrained": Pretraining.published(**_SHAPE, epochs=0),
    "k-GNN, contrast": Pretraining.published(**_CONTRAST),
    "k-GNN, contrast and sizes": Pretraining.published(
        **_CONTRAST, objectives={"spectral": 1.0, "sizes": 1.0}
    ),
    "GIN, untrained": Pretraining(epochs=0),
    "GIN, statistics": Pretraining(),
    "GIN, statistics, many graphs": Pretraining(),
}
"""Name -> how it is trained."""
MANY = "GIN, statistics, many graphs"
"""The encoder that is shipped, which learnt from more graphs."""
FEW_EACH = 60
"""Networks of each space that the others learnt from."""
UNTRAINED = tuple(name for name, how in ENCODERS.items() if not how.epochs)


def encoder(name: str, work: Path, seed: int = 0) -> Pretrained:
    """Train an encoder, or read it from the folder."""
    folder = work / "encoders" / f"{name}-{seed}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        how = ENCODERS[name]
        each = (EACH if name == MANY else FEW_EACH) if how.epochs else 1
        networks = each * len(UNLABELLED)
        graphs = graphs_to_learn_from(UNLABELLED, networks, folder=work / "corpus")
        made = Pretraining(**{**how.get_params(), "random_state": seed})
        made.fit(graphs, folder.with_name(f"{folder.name}.checkpoint")).save(folder)
    return Pretrained.load(folder)


# --- members --------------------------------------------------------------------------------------

_HEADS = ("fuzzy", "single", "fuzzy pairwise", "single pairwise")
_FORMS: Mapping[str, tuple[tuple[str, ...], str | None, str]] = {
    "transformed": (_HEADS, "flops", "mse"),
    "plain": (_HEADS[:2], None, "mse"),
    "ranked": (_HEADS[:2], None, "diff_kendall"),
}
"""Members, transform and loss that are fitted together."""
_NAMES = {
    ("transformed", "fuzzy"): "FCM+T",
    ("transformed", "single"): "T",
    ("transformed", "fuzzy pairwise"): "FCM+pairs",
    ("transformed", "single pairwise"): "pairs",
    ("plain", "single"): "one head",
    ("plain", "fuzzy"): "FCM",
    ("ranked", "single"): "DiffKendall",
    ("ranked", "fuzzy"): "FCM+DiffKendall",
    ("others", "kgnn"): "k-GNN",
    ("others", "flops"): "FLOPs",
}
SIX = ("FCM+T", "T", "FCM+pairs", "pairs", "k-GNN", "FLOPs")
SIX_RANKED = ("FCM+DiffKendall", "DiffKendall", *SIX[2:])
ROWS = (
    *("one head", "FCM", "T", "FCM+T", "DiffKendall", "FCM+DiffKendall", "pairs", "FCM+pairs"),
    *("k-GNN", "FLOPs", "all six", *(f"all six without {name}" for name in SIX)),
    "all six, DiffKendall",
)


@dataclass(frozen=True)
class Voice:
    """What a member says of the tested networks, on the scale that all share, and its weight."""

    scores: np.ndarray
    weight: float = 1.0


def forms(encoder_: Pretrained, seed: int) -> dict[str, GENNAPE]:
    """Return GENNAPE in the forms whose members read an encoder."""
    return {
        form: GENNAPE(members, transform, loss=loss, pretrained=encoder_, random_state=seed)
        for form, (members, transform, loss) in _FORMS.items()
    }


def others(seed: int, epochs: int) -> GENNAPE:
    """Return the members that read no encoder; the k-GNN learns to rank, as what is shipped."""
    how = {"loss": "diff_kendall", "epochs": epochs, "learning_rate": 1e-3, "fold": True}
    kgnn = KGNN(**how, random_state=seed)
    return GENNAPE(("kgnn", "flops"), kgnn=kgnn, random_state=seed)


def voices(
    form: str,
    made: GENNAPE,
    asked: Sequence[Sample],
    known: Sequence[Sample] = (),
    labels: np.ndarray | None = None,
) -> dict[str, Voice]:
    """Return what members say; weighed by their tau on labels that they were adapted to, if any."""
    weights = dict.fromkeys(made.members, 1.0)
    if known:
        told = made.explain(known)
        weights = {name: float(np.exp(np.nan_to_num(kendall(told[name], labels)))) for name in told}
    return {
        _NAMES[form, name]: Voice(
            comparable(values, made.ordered_[name], made.combination), weights[name]
        )
        for name, values in made.explain(asked).items()
    }


def mixed(said: Mapping[str, Voice], names: Sequence[str]) -> np.ndarray:
    """Return the weighted mean of members."""
    return np.average(
        [said[name].scores for name in names],
        axis=0,
        weights=[said[name].weight for name in names],
    )


def taus(said: Mapping[str, Voice], truth: np.ndarray) -> Iterator[tuple[str, float]]:
    """Compute tau of each member, of the mean of six, and of it without each."""
    for name, voice in said.items():
        yield name, kendall(voice.scores, truth)
    yield "all six", kendall(mixed(said, SIX), truth)
    for name in SIX:
        rest = [other for other in SIX if other != name]
        yield f"all six without {name}", kendall(mixed(said, rest), truth)
    yield "all six, DiffKendall", kendall(mixed(said, SIX_RANKED), truth)


# --- fits -----------------------------------------------------------------------------------------


@cache
def pool(key: str) -> Pool:
    """Read a family once; its labels in percent."""
    sizes = {"tested": 1, "labelled": 2 * LEARNT} if key == FAMILY else {"tested": TESTED}
    of = pool_of(replace(PROBLEMS[key], counts=(FEW,), **sizes))
    unit = 100.0 if np.nanmax(of.labels) <= 1.0 else 1.0
    return replace(of, labels=unit * of.labels)


def few_labels(key: str, seed: int, encoders: Sequence[str], work: Path) -> None:
    """Judge members that were fitted to a few labels of the family that they rank."""
    of = pool(key)
    labelled, tested = of.split(FEW, seed)
    learnt, asked = [of.plain[i] for i in labelled], [of.plain[i] for i in tested]
    told: dict[str, Voice] = {}
    for name in encoders:
        for form, made in _fitted(name, seed, work, 0 if told else 40).items():
            made.fit(learnt, of.labels[labelled])
            told |= voices(form, made, asked)
        _keep("few labels", key, seed, name, told, of.truth[tested])


def other_family(seed: int, encoders: Sequence[str], work: Path) -> None:
    """Judge members that learnt from another family: as they are, and adapted to a few labels."""
    source = pool(FAMILY)
    good = np.flatnonzero(source.labels >= LEAST)
    rows = np.random.default_rng(seed).permutation(good)[:LEARNT]
    learnt, labels = [source.plain[i] for i in rows], source.labels[rows]
    told: dict[tuple[str, bool], dict[str, Voice]] = {}
    for name in encoders:
        for form, made in _fitted(name, seed, work, 0 if told else 10).items():
            made.fit(learnt, labels)
            for key in RANKED:
                for adapted in (False, True):
                    told.setdefault((key, adapted), {}).update(
                        _ranked(form, made, key, seed, adapted)
                    )
        for (key, adapted), said in told.items():
            how = "adapted" if adapted else "no labels"
            _keep(how, key, seed, name, said, pool(key).truth[_split(key, seed)[1]])


def _fitted(name: str, seed: int, work: Path, epochs: int) -> dict[str, GENNAPE]:
    """Return forms to fit; with epochs for a k-GNN those without an encoder, too."""
    made = forms(encoder(name, work, seed if name in UNTRAINED else 0), seed)
    return {"others": others(seed, epochs), **made} if epochs else made


def _ranked(form: str, made: GENNAPE, key: str, seed: int, adapted: bool) -> dict[str, Voice]:
    of = pool(key)
    labelled, tested = _split(key, seed)
    asked = [of.plain[i] for i in tested]
    if not adapted:
        return voices(form, made, asked)
    known, labels = [of.plain[i] for i in labelled], of.labels[labelled]
    own = deepcopy(made)
    own.adapt(known, labels)
    return voices(form, own, asked, known, labels)


def _split(key: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw what members are adapted to and ranked on; without labels the same are ranked."""
    labelled, tested = pool(key).split(ADAPTED, seed)
    return labelled, tested[:TESTED]


def _keep(
    how: str, key: str, seed: int, name: str, told: Mapping[str, Voice], truth: np.ndarray
) -> None:
    facts = {"part": "members", "how": how, "space": key, "seed": seed, "encoder": name}
    LINES.keep(facts, taus=dict(taus(told, truth)))


OF_OTHERS = tuple(name for name in ENCODERS if name != "k-GNN, contrast and sizes")
"""Those that learn from another family, too: of that one `gennape.md` has more."""


def run(work: Path, seeds: int, only: Sequence[str] = ()) -> None:
    """Do what no line holds: few labels first, then other families, seed by seed."""
    ways = only or ("few labels", "other family")
    for seed in range(seeds if "few labels" in ways else 0):
        for key in SPACES:
            lacking = _lacking("few labels", key, seed)
            if lacking:
                few_labels(key, seed, lacking, work)
    for seed in range(seeds if "other family" in ways else 0):
        lacking = [one for one in _lacking("adapted", RANKED[-1], seed) if one in OF_OTHERS]
        if lacking:
            other_family(seed, lacking, work)


def _lacking(how: str, key: str, seed: int) -> list[str]:
    found = LINES.read(part="members", how=how, space=key, seed=seed)
    return [name for name in ENCODERS if name not in {line["encoder"] for line in found}]


# --- the page -------------------------------------------------------------------------------------

HOW = {
    "few labels": ("With 78 labels of the family", SPACES),
    "no labels": ("Of another family, no labels", RANKED),
    "adapted": ("Of another family, adapted to 50 labels", RANKED),
}


def table_of_members() -> list[str]:
    """Tabulate one row per member, one column per encoder."""
    found = LINES.read(part="members")
    if not found:
        return []
    lines = ["", "## GENNAPE's members and encoders", "", TEXT]
    for how, (title, keys) in HOW.items():
        for key in keys:
            mine = [line for line in found if line["how"] == how and line["space"] == key]
            names = [name for name in ENCODERS if seeds_of(mine, name) == SEEDS]
            if names:
                lines += ["", f"### {title}: {PROBLEMS[key].name}", ""]
                rows = [
                    [row, *(interval(member_taus(mine, name, row)) for name in names)]
                    for row in ROWS
                ]
                lines += markdown_table(("tau", *names), rows)
    return lines


def seeds_of(lines: Sequence[Mapping[str, object]], name: str) -> int:
    """Count the seeds of an encoder; those of fewer than all are not shown."""
    return sum(line["encoder"] == name for line in lines)


def member_taus(lines: Sequence[Mapping], name: str, row: str) -> list[float]:
    """Read the taus of a row on an encoder, seed by seed."""
    mine = sorted((line for line in lines if line["encoder"] == name), key=lambda one: one["seed"])
    return [line["taus"][row] for line in mine]


TEXT = (
    "One head or eight weighed by fuzzy clusters (FCM) on a frozen encoder, which saw no network "
    f"of a labelled family: it learnt from {FEW_EACH} networks each of {', '.join(UNLABELLED)}; "
    f"*many graphs*: from {EACH}. Each was trained once, so that ± does not cover the luck of its "
    "training; *untrained*: random weights, of each seed's own. *contrast*: GENNAPE's objective "
    "alone, 15 epochs; *statistics*: the default of `Pretraining`. T: labels divided by "
    "log10(FLOPs); pairs: which of two is better. Heads learn by squared error, as in the paper, "
    "or by DiffKendall where said; the k-GNN learns to rank on folded graphs. *all six*: the mean "
    "of FCM+T, T, FCM+pairs, pairs, k-GNN and FLOPs, as in the paper: equal weights, adapted the "
    "softmax of tau; *DiffKendall*: with heads that learn by it in place of T. Rows that read no "
    f"encoder are the same in all columns. Of another family: {LEARNT} networks of "
    f"{PROBLEMS[FAMILY].name} of {LEAST:.0f} % and more, the paper's family to learn from. Tested "
    f"on {TESTED} networks at most."
)
