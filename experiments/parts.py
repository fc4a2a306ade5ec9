"""Write what each part is worth: tables of ``docs/what_each_part_is_worth.md``, and a picture.

Run from the repository: ``python experiments/parts.py`` draws ``docs/pictures/parts.png``;
``experiments/document_tables.py`` writes the tables. Both read only the lines of other experiments
and measure nothing. The worth of a part is the difference of Kendall's tau (in some tables of
Spearman's rho, which they say) with and without the part, seed by seed, all else equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from common import STORES, Lines, markdown_table, parser
from worth import Worth, shown, table, together

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "parts.png"

# --- lines --------------------------------------------------------------------------------------


@cache
def lines(store: str) -> tuple[dict, ...]:
    """Read the lines of a store once."""
    return tuple(Lines(STORES / f"{store}.jsonl").read())


def having(store: str, **key: object) -> list[dict]:
    """Choose the lines of a store with these entries."""
    return [line for line in lines(store) if key.items() <= line.items()]


# --- pretraining ----------------------------------------------------------------------------------

FAMILIES = {
    "nasbench201": "NAS-Bench-201",
    "nasbench_macro": "NAS-Bench-Macro",
    "nasbench101_10k": "NAS-Bench-101",
    "zoo": "timm",
}
FEW = "80"
OBJECTIVES = {
    "free statistics": ("statistics", "untrained"),
    "counts of paths and edges": ("counts", "untrained"),
    "statistics and counts": ("statistics + counts", "untrained"),
    "the same, of 21,000 networks": (
        "statistics + 0.3 counts, width 128, large corpus",
        "untrained, width 128",
    ),
    "masked parts": ("masked", "untrained"),
    "contrast by operators (Weisfeiler-Lehman)": ("contrast", "untrained"),
    "contrast by spectra (GENNAPE), on the GIN": ("spectral (GENNAPE)", "untrained"),
    "GENNAPE's form: contrast by spectra, k-GNN": ("GENNAPE's form, k-GNN", "untrained, k-GNN"),
}


def frozen(way: str, family: str, count: str) -> np.ndarray:
    """Read tau of a frozen encoder, seed by seed of the labels, the mean over encoders."""
    found = having("ablation_pretraining", way=way, family=family)
    return np.mean([line["taus"][count] for line in found], axis=0) if found else np.array([])


def pretrained(way: str, control: str, family: str, count: str = FEW) -> Worth | None:
    """Return what pretraining adds to an untrained encoder of the same shape."""
    with_it, without = frozen(way, family, count), frozen(control, family, count)
    return Worth((with_it - without).tolist()) if len(with_it) and len(without) else None


def pretraining_table() -> str:
    """Tabulate objectives, each against an untrained encoder."""
    rows = {
        name: [pretrained(*ways, family) for family in FAMILIES]
        for name, ways in OBJECTIVES.items()
    }
    rows["no encoder: ridge on the statistics"] = [
        pretrained("ridge on statistics", "untrained", family) for family in FAMILIES
    ]
    return table(rows, tuple(FAMILIES.values()))


# --- GENNAPE --------------------------------------------------------------------------------------

SPACES = {"nasbench_macro": "Macro", "nasbench201": "201"}
HOW = {
    "few labels": "78 labels",
    "one space": "1,800 labels",
    "no labels": "no labels",
    "adapted": "50 labels",
}
SETTINGS = tuple((how, space) for how in HOW for space in SPACES)
WITHIN = {"one head": "CL", "FCM": "CL+FCM", "T": "CL+T", "FCM+T": "CL+FCM+T"}
"""Names of rows, of which an encoder learnt the space's own networks."""
SIX = ("FCM+T", "T", "FCM+pairs", "pairs", "k-GNN", "FLOPs")
HEADS = {
    "fuzzy clusters, squared error": ("FCM", "one head"),
    "fuzzy clusters, with T": ("FCM+T", "T"),
    "fuzzy clusters, DiffKendall": ("FCM+DiffKendall", "DiffKendall"),
    "fuzzy clusters, pairs": ("FCM+pairs", "pairs"),
    "FLOPs transform (T), one head": ("T", "one head"),
    "FLOPs transform (T), fuzzy clusters": ("FCM+T", "FCM"),
    "DiffKendall instead of squared error, one head": ("DiffKendall", "one head"),
    "pairs instead of squared error, one head": ("pairs", "one head"),
    "all six instead of FCM+T alone": ("all six", "FCM+T"),
    **{f"{name}, in the mean of six": ("all six", f"all six without {name}") for name in SIX},
    "DiffKendall instead of T, in the mean of six": ("all six, DiffKendall", "all six"),
}
"""Parts of GENNAPE: with and without."""
SHIPPED, FORMER = "GIN, statistics, many graphs", "GIN, statistics, timm not learnt"
ENCODERS = {
    "contrast (GENNAPE's form)": ("k-GNN, contrast", "k-GNN, untrained"),
    "contrast and sizes": ("k-GNN, contrast and sizes", "k-GNN, untrained"),
    "free statistics": ("GIN, statistics", "GIN, untrained"),
    "free statistics, many graphs": ("GIN, statistics, many graphs", "GIN, untrained"),
}


def member(how: str, space: str, encoder: str, row: str) -> np.ndarray:
    """Read tau of a member on an encoder, seed by seed."""
    found = having("ablations", part="members", how=how, space=space, encoder=encoder)
    return np.array([line["taus"][row] for line in sorted(found, key=lambda one: one["seed"])])


def judged(how: str, space: str) -> list[str]:
    """Return the encoders that a setting judged with as many seeds as any."""
    found = having("ablations", part="members", how=how, space=space)
    seeds = [line["encoder"] for line in found]
    most = max((seeds.count(name) for name in seeds), default=0)
    return [name for name in dict.fromkeys(seeds) if seeds.count(name) == most > 1]


def head(how: str, space: str, with_it: str, without: str) -> Worth | None:
    """Return what a part of GENNAPE adds, the mean over encoders."""
    if how == "one space":
        both = [ablated("gennape", space, 1800, WITHIN.get(row, "")) for row in (with_it, without)]
        return difference(*both)
    worths = [
        Worth((member(how, space, e, with_it) - member(how, space, e, without)).tolist())
        for e in judged(how, space)
    ]
    return together(worths) if worths else None


def frozen_for_heads(how: str, space: str, encoder: str, control: str) -> Worth | None:
    """Return what a pretrained encoder adds under one head trained by DiffKendall."""
    if not {encoder, control} <= set(judged(how, space)):
        return None
    both = [member(how, space, name, "DiffKendall") for name in (encoder, control)]
    return Worth((both[0] - both[1]).tolist())


def gennape_table() -> str:
    """Tabulate GENNAPE's parts, in every setting."""
    settings = [one for one in SETTINGS if one[0] == "one space" or judged(*one)]
    rows = {
        f"encoder: {name}": [frozen_for_heads(*one, *ways) for one in settings]
        for name, ways in ENCODERS.items()
    } | {name: [head(*one, *ways) for one in settings] for name, ways in HEADS.items()}
    return table(rows, [f"{HOW[how]}, {SPACES[space]}" for how, space in settings])


def by_family(encoder: str, predictor: str, count: int = 0) -> dict[str, float]:
    """Read tau of what learnt all other families and so many labels, the mean over seeds."""
    found: dict[str, list[float]] = {}
    for line in having("gennape", count=count, encoder=encoder, predictor=predictor):
        found.setdefault(line["family"], []).append(line["tau"])
    return {family: float(np.mean(taus)) for family, taus in found.items()}


def family_table() -> str:
    """Tabulate what the shipped form of GENNAPE owes to its encoder and members, over families."""
    shipped = by_family(SHIPPED, "GENNAPE")
    without = {
        "free statistics instead of random weights": by_family("GIN, untrained", "GENNAPE"),
        "many graphs and real networks instead of few graphs": by_family(FORMER, "GENNAPE"),
        **{
            f"{name}, in the mean of six": by_family(SHIPPED, f"without {name}")
            for name in ("fuzzy", "single", "fuzzy pairwise", "single pairwise", "kgnn", "flops")
        },
        "all of it instead of FLOPs": by_family(SHIPPED, "flops"),
        "all of it instead of parameters": by_family(SHIPPED, "params"),
    }
    both = {name: (shipped, base) for name, base in without.items()}
    adapted, control = (by_family(one, "GENNAPE", 50) for one in (SHIPPED, "GIN, untrained"))
    both |= {
        "50 labels: free statistics instead of random weights": (adapted, control),
        "50 labels: many graphs and real networks instead of few graphs": (
            adapted,
            by_family(FORMER, "GENNAPE", 50),
        ),
        "50 labels: few graphs, free statistics instead of contrast and sizes": (
            by_family(FORMER, "GENNAPE", 50),
            by_family("k-GNN, contrast and sizes", "GENNAPE", 50),
        ),
        "50 labels: all six instead of the k-GNN": (adapted, by_family(SHIPPED, "kgnn", 50)),
    }
    return over_families(both, "tau")


def over_families(
    both: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]], figure: str
) -> str:
    """Tabulate differences over the families that both sides of a row have."""
    rows = []
    for name, (with_it, base) in both.items():
        worth = Worth([with_it[family] - base[family] for family in with_it if family in base])
        better = sum(value > 0 for value in worth.values)
        rows.append([name, shown(worth), f"{better} of {len(worth.values)}"])
    headings = ("part", f"{figure}, over families", "families better with it")
    return "\n".join(markdown_table(headings, rows))


# --- ParZC, losses, encoders ----------------------------------------------------------------------

PARZC = {
    "mixing across segments": ("across", "small"),
    "Bayesian layers": ("small", "not Bayesian"),
    "weights drawn when it predicts": ("drawn", "small"),
    "mixer blocks": ("small", "no blocks"),
    "mixer instead of perceptron": ("small", "perceptron"),
    "places by module": ("modules", "small"),
    "logarithm instead of least to largest": ("log", "small"),
    "logarithm, places by module": ("log, modules", "small"),
    "normal scores instead of standardised labels": ("normal scores", "small"),
    "DiffKendall instead of squared error": ("small", "MSE"),
    "DiffKendall instead of pairwise logistic": ("small", "pairwise logistic"),
    "three proxies instead of `synflow` alone": ("small", "synflow alone"),
    "three proxies instead of `snip` alone": ("small", "snip alone"),
    "three proxies instead of `grad_norm` alone": ("small", "grad_norm alone"),
    "released size": ("released size", "small"),
    "transformer joined to the mixer": ("joined", "small"),
    "mixer joined to the transformer": ("joined", "transformer alone"),
}
"""Parts of ParZC: with and without."""
PUBLISHED = ("original", "product", "hard")
LOSSES = (
    *("diff_kendall", *(f"diff_kendall, {form}" for form in PUBLISHED)),
    *("pairwise_hinge", "pairwise_logistic", "weighted_ranking", "list_mle"),
)
VALUES = ("huber",)
"""Losses that learn values, which are served one way alone."""


def ablated(part: str, space: str, count: int, what: str) -> np.ndarray:
    """Read tau of a variant, seed by seed."""
    found = having("ablations", part=part, space=space, count=count, what=what)
    return np.array([line["tau"] for line in sorted(found, key=lambda one: one["seed"])])


def difference(with_it: np.ndarray, without: np.ndarray) -> Worth | None:
    """Return a difference of two variants, where both have the same seeds, all three."""
    whole = len(with_it) == len(without) >= 3
    return Worth((with_it - without).tolist()) if whole else None


def parzc(with_it: str, without: str) -> Worth | None:
    """Return what a part of ParZC adds."""
    both = [ablated("parzc parts", "nasbench201", 78, what) for what in (with_it, without)]
    return difference(*both)


def parzc_table() -> str:
    """Tabulate ParZC's parts."""
    worths = {name: [parzc(*ways)] for name, ways in PARZC.items()}
    return table({name: one for name, one in worths.items() if one[0]}, ["NAS-Bench-201"])


def loss(part: str, space: str, count: int, what: str) -> Worth | None:
    """Return what a loss adds to mean squared error, which learns the same either way."""
    without = ablated("losses", space, count, "mse")
    return difference(ablated(part, space, count, what), without)


def loss_table() -> str:
    """Tabulate losses, served and as published, against mean squared error."""
    settings = [
        *(("losses served", space, 78) for space in ("nasbench_macro", "nasbench201")),
        *(("losses", space, n) for n in (78, 469) for space in ("nasbench_macro", "nasbench201")),
    ]
    rows = {what: [loss(*one, what) for one in settings] for what in (*LOSSES, *VALUES)}
    served = {"losses served": "served", "losses": "standardised"}
    return table(rows, [f"{served[part]}, {n}, {SPACES[space]}" for part, space, n in settings])


def serving_table() -> str:
    """Tabulate what serving adds to each loss that orders."""
    rows = {
        what: [
            difference(
                ablated("losses served", space, 78, what), ablated("losses", space, 78, what)
            )
            for space in SPACES
        ]
        for what in LOSSES
    }
    return table(rows, [f"78, {name}" for name in SPACES.values()])


def encoder_table() -> str:
    """Tabulate encoders against the k-GNN."""
    counts = (78, 469)
    names = dict.fromkeys(line["what"] for line in having("ablations", part="encoders"))
    taus = {
        (name, n): ablated("encoders", "nasbench201", n, name) for name in names for n in counts
    }
    rows = {
        name: [difference(taus[name, n], taus["kgnn", n]) for n in counts]
        for name in names
        if name != "kgnn"
    }
    return table(rows, [f"{count} labels, 201" for count in counts])


# --- the flagship and the expert ------------------------------------------------------------------

FEW_LABELS = 100
"""At most, of the problems that members are looked at on."""


def archrank_table() -> str:
    """Tabulate what members of ``ArchRank`` say alone against its mean, over problems."""
    reports: dict[tuple[str, int], list[dict]] = {}
    for line in having("predictors", predictor="ArchRank"):
        if line["count"] <= FEW_LABELS:
            reports.setdefault((line["problem"], line["count"]), []).append(line["report"])
    names = dict.fromkeys(name for mine in reports.values() for one in mine for name in one["tau"])
    rows = []
    for name in names:
        mine = {key: [one for one in found if name in one["tau"]] for key, found in reports.items()}
        alone = [
            float(np.mean([one["tau"][name] - one["tau of the mean"] for one in found]))
            for found in mine.values()
            if found
        ]
        weight = np.mean(
            [one["weights"].get(name, 0.0) for found in mine.values() for one in found]
        )
        rows.append((float(weight), [name, f"{weight:.2f}", shown(Worth(alone)), len(alone)]))
    heading = ("member", "mean weight", "alone, against the mean of members", "settings")
    return "\n".join(markdown_table(heading, [row for _, row in sorted(rows, reverse=True)]))


EXPERT = {
    "evidence of proxies, beside sizes": ("fixed scale", "TransferRank, sizes alone"),
    "all evidence instead of parameters": ("fixed scale", "params"),
    "all evidence instead of FLOPs": ("fixed scale", "flops"),
    "all evidence instead of the mean rank of proxies": ("fixed scale", "mean rank of proxies"),
    "the fixed scale instead of ranks among candidates": ("fixed scale", "former rule"),
    "the level of evidence chosen by input size": ("TransferRank", "fixed scale"),
}
"""Parts of the expert without labels: with and without."""
APART = (", every cell", ", without none", ", all 725")
"""Pools that hold the networks of another one."""


def rhos(predictor: str, count: int = 0) -> dict[str, float]:
    """Read rho with so many labels, the mean over tasks and seeds, by family."""
    found: dict[str, list[float]] = {}
    for line in having("transfer", predictor=predictor, count=count):
        if not line["pool"].endswith(APART):
            found.setdefault(line["pool"], []).append(float(np.ravel(line["rho"])[0]))
    return {pool: float(np.mean(values)) for pool, values in found.items()}


def expert_table() -> str:
    """Tabulate what the expert without labels owes to its parts, over families."""
    both = {name: (rhos(with_it), rhos(without)) for name, (with_it, without) in EXPERT.items()}
    return over_families(both, "rho")


def prior_table() -> str:
    """Tabulate what other families add to a few labels of this one."""
    both = {
        f"other families, beside {count} labels": (
            rhos("TransferRank", count),
            rhos("ArchRank from scratch", count),
        )
        for count in (10, 20, 50)
    }
    return over_families(both, "rho")


# --- the picture ----------------------------------------------------------------------------------


def bars() -> dict[str, tuple[Worth, str]]:
    """Return what the picture shows: worth by part, and what kind of part it is."""
    found: dict[str, tuple[Worth | None, str]] = {}
    for name, ways in OBJECTIVES.items():
        worths = [pretrained(*ways, family) for family in FAMILIES]
        if name in PICTURED and all(worths):
            mean = together([worth for worth in worths if worth])
            found[f"pretraining: {name}"] = (mean, "pretraining")
    few = [one for one in SETTINGS if one[0] == "few labels" and judged(*one)]
    for name, ways in ENCODERS.items():
        worths = [frozen_for_heads(*one, *ways) for one in few]
        if name in PICTURED and worths and all(worths):
            found[f"GENNAPE: encoder, {name}"] = (together([w for w in worths if w]), "GENNAPE")
    for name, ways in HEADS.items():
        worths = [head(*one, *ways) for one in few]
        if worths and name in PICTURED:
            found[f"GENNAPE: {name}"] = (together([w for w in worths if w]), "GENNAPE")
    for name, ways in PARZC.items():
        if name in PICTURED:
            found[f"ParZC: {name}"] = (parzc(*ways), "ParZC")
    for what in LOSSES:
        of = [loss("losses served", space, 78, what) for space in ("nasbench_macro", "nasbench201")]
        if what in PICTURED and all(of):
            found[f"loss: {what} instead of squared error"] = (
                together([w for w in of if w]),
                "losses",
            )
    return {name: (worth, kind) for name, (worth, kind) in found.items() if worth is not None}


PICTURED = (
    *("free statistics", "the same, of 21,000 networks", "free statistics, many graphs"),
    *("masked parts", "contrast by operators (Weisfeiler-Lehman)"),
    *("contrast by spectra (GENNAPE), on the GIN", "contrast (GENNAPE's form)"),
    *("fuzzy clusters, squared error", "fuzzy clusters, DiffKendall"),
    *("FLOPs transform (T), one head", "DiffKendall instead of squared error, one head"),
    *("k-GNN, in the mean of six", "FLOPs, in the mean of six"),
    *("mixing across segments", "Bayesian layers", "places by module"),
    *("logarithm, places by module", "mixer joined to the transformer", "released size"),
    *("diff_kendall", "pairwise_logistic"),
)
COLOURS = {"pretraining": "#4c72b0", "GENNAPE": "#dd8452", "ParZC": "#55a868", "losses": "#8172b3"}


def draw() -> None:
    """Draw one bar per part, with its interval."""
    from matplotlib.figure import Figure

    from archrank.files import written_whole

    found = list(bars().items())
    figure = Figure(figsize=(8.0, 0.6 + 0.2 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, (_, (worth, kind)) in enumerate(found):
        told = worth.conclusion != "unclear"
        axes.barh(place, worth.mean, color=COLOURS[kind], alpha=1.0 if told else 0.35)
        axes.errorbar(
            worth.mean, place, xerr=worth.half, color="#333333", capsize=1.5, linewidth=0.8
        )
    axes.axvline(0, color="#333333", linewidth=1)
    axes.set_yticks(range(len(found)), [name for name, _ in found])
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("difference of Kendall's tau, 95 % interval; pale: unclear", fontsize=8)
    axes.tick_params(labelsize=8)
    with written_whole(PICTURE) as partial:
        figure.savefig(partial, format="png", dpi=110)


def chance_line() -> str:
    """Say how many differences the tables hold, how many are bold, and how many chance explains."""
    cells = [
        cell.strip()
        for made in TABLES.values()
        if made is not chance_line
        for row in made().splitlines()
        for cell in row.split("|")
        if "±" in cell
    ]
    bold = sum(cell.startswith("**") for cell in cells)
    return (
        f"The tables hold {len(cells)} differences, and {bold} of them are bold. If no part had "
        f"any effect, about {len(cells) / 20:.0f} would be bold by chance."
    )


TABLES: Mapping[str, Callable[[], str]] = {
    "parts-chance": chance_line,
    "parts-pretraining": pretraining_table,
    "parts-gennape": gennape_table,
    "parts-gennape-families": family_table,
    "parts-parzc": parzc_table,
    "parts-losses": loss_table,
    "parts-serving": serving_table,
    "parts-encoders": encoder_table,
    "parts-archrank": archrank_table,
    "parts-expert": expert_table,
    "parts-prior": prior_table,
}
"""Mark -> what ``document_tables.py`` writes between its two comments."""


def main() -> None:
    """Draw the picture."""
    parser(__doc__).parse_args()
    draw()


if __name__ == "__main__":
    main()
