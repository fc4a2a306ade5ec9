"""The page of ``transfer.py``, from its lines."""

from __future__ import annotations

import numpy as np
from common import interval, made_by, markdown_table
from transfer_pools import CELLS, COUNTS, LINES, POOLS, SEEDS

from archrank.predictors.features.evidence import MEASURED, SIZES

PUBLISHED = {
    "nasbench201, without none": ("GENNAPE .815 / .910", ".88 / .945"),
    "nasbench201, every cell": ("AZ-NAS .913", ".92 / .955"),
    "nasbench201": ("AZ-NAS .913", ".92 / .955"),
    "nasbench301, all 725": ("GENNAPE .321 / .883", ".70 / .89"),
    "nasbench301": ("GENNAPE .321 / .883", ".70 / .89"),
    "ofa_mobilenetv3": ("GENNAPE .866 / .945", ".90 / .955"),
}
"""Rho without labels / with 50: published, and what this project wants to reach."""
OURS, SCRATCH = "TransferRank", "ArchRank from scratch"


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    zero_shot = {
        name: mine
        for name in POOLS
        if (mine := [r for r in results if r["pool"] == name and not r["count"] and "rho" in r])
    }
    headings = (
        *("pool", "n", "TransferRank", "fixed scale", "sizes alone", "params", "FLOPs"),
        *("activations", "former rule", "mean rank", "best proxy", "published", "to reach"),
    )
    others = ("pool", "tau", "params", "FLOPs", "activations", "NDCG@10", "params", "FLOPs")
    return [
        "# Families that nothing was learnt from",
        "",
        f"{made_by('transfer.py', '--tables')} What is learnt for a family comes from the others "
        "of the recipe, without "
        "its relatives (`archrank.predictors.pretrained.family_sources.SOURCES`); proxies at "
        "initialisation, seed 0, one batch "
        "as the recipe says. In brackets 95 % bootstrap intervals over architectures; after ± 95 % "
        "intervals of the mean over seeds. Spearman's rho unless said. Of *every cell* and "
        "*without none* near, meco_opt, swap and synflow are known (8 images): four kinds of "
        "evidence. Of *all 725* none is, and sizes are judged; published naswot and synflow are "
        "there to learn from. Predictors with "
        f"labels are tested on {CELLS:,} random cells of the first two.",
        "",
        "What is learnt never saw the family of a row. The design did see some: kinds of evidence "
        "and the formula were found by hand looking at NAS-Bench-201, TransNAS-Bench-101, "
        "NAS-Bench-Macro, the size space, NAS-Bench-101, NAS-Bench-301, FlexiBERT and digits; "
        "Accel-NASBench, OFA, EC-NAS, ENAS and GPT were scored afterwards. How a slope is taken "
        "from families was changed after a first run of this page had shown harm on ENAS and "
        "EC-NAS, with their labels. That members learn around a line of the evidence, and how "
        "steep it is, and how much a handful of labels counts, was chosen by other draws of labels "
        "(seeds 100 to 103) of the same families. "
        "Nothing was chosen by *nasbench101_10k* and *graphgym*.",
        "",
        "## Without labels",
        "",
        '*TransferRank* is what `by="auto"` ranks by: the expected top-1 of networks of images of '
        "96 pixels and more (TransNAS-Bench-101, Accel-NASBench, OFA), the fixed scale of others. "
        "*fixed scale* is what the scale says of all, *sizes alone* what it says without proxies, "
        "*former rule* the default before 0.2, for which every candidate moved the others; *mean "
        "rank*: of the six proxies that were the default before that, as far as they were scored. "
        "*best proxy* is the best of the twelve on the very "
        "labels, which nobody knows beforehand. Tasks of a table are averaged.",
        "",
        *markdown_table(headings, [_zero_row(*one) for one in zero_shot.items()]),
        "",
        "Kendall's tau, and NDCG@10, of the same:",
        "",
        *markdown_table(others, [_other_row(*one) for one in zero_shot.items()]),
        *_few_tables(results),
        *_expected_table(results),
    ]


def _other_row(name: str, mine: list[dict]) -> list[str]:
    taus = [_mean(mine, p, "tau") for p in ("TransferRank", *SIZES)]
    return [name, *taus, *(_mean(mine, p, "ndcg") for p in ("TransferRank", "params", "flops"))]


def _zero_row(name: str, mine: list[dict]) -> list[str]:
    proxies = [p for p in MEASURED[len(SIZES) :] if any(r["predictor"] == p for r in mine)]
    best = max(proxies, key=lambda p: _value(mine, p, "rho"), default=None)
    shown = "-" if best is None else f"{_mean(mine, best, 'rho')} `{best}`"
    ours = ("TransferRank", "fixed scale", "TransferRank, sizes alone")
    columns = (*ours, *SIZES, "former rule", "mean rank of proxies")
    cells = [_mean(mine, p, "rho") for p in columns]
    published, wanted = PUBLISHED.get(name, ("-", "above all"))
    return [name, f"{mine[0]['n']:,}", *cells, shown, published, wanted.split(" / ")[0]]


def _value(mine: list[dict], predictor: str, figure: str) -> float:
    found = [r[figure][0] for r in mine if r["predictor"] == predictor]
    return float(np.mean(found)) if found else float("nan")


def _mean(mine: list[dict], predictor: str, figure: str) -> str:
    """Write the mean over tasks, with the interval where there is one task."""
    found = [r[figure] for r in mine if r["predictor"] == predictor]
    if not found:
        return "-"
    value = f"{np.mean([f[0] for f in found]):.3f}"
    return value if len(found) > 1 else f"{value} [{found[0][1]:.2f}, {found[0][2]:.2f}]"


def _few_tables(results: list[dict]) -> list[str]:
    lines = []
    for figure, title in (("rho", "rho"), ("tau", "tau"), ("ndcg", "NDCG@10")):
        rows = []
        for name in POOLS:
            mine = [r for r in results if r["pool"] == name and r["count"] > 0]
            rows += [[name, *row] for row in _few_rows(mine, figure)] if mine else []
        lines += [
            "",
            f"## With a few labels: {title}",
            "",
            "The second row of a pool is `ArchRank`, fitted from scratch to the same labels and "
            "scores; the third the difference, paired. In brackets how many seeds, if not "
            f"{SEEDS}.",
            "",
            *markdown_table(("pool", "predictor", *(f"{c} labels" for c in COUNTS)), rows),
        ]
    return lines


def _few_rows(mine: list[dict], figure: str) -> list[list[str]]:
    """Tabulate both predictors and their difference, by number of labels."""
    by = {(r["count"], r["seed"], r["predictor"]): r[figure] for r in mine}
    rows: dict[str, list[str]] = {}
    for count in COUNTS:
        found = [[by.get((count, seed, name)) for name in (OURS, SCRATCH)] for seed in range(SEEDS)]
        pairs = [(a, b) for a, b in found if a is not None and b is not None]
        some = f" ({len(pairs)})" if 0 < len(pairs) < SEEDS else ""
        columns = {
            OURS: [a for a, _ in pairs],
            SCRATCH: [b for _, b in pairs],
            "difference": [a - b for a, b in pairs],
        }
        for row, values in columns.items():
            rows.setdefault(row, []).append(interval(values) + some if values else "-")
    return [[row, *cells] for row, cells in rows.items()]


def _expected_table(results: list[dict]) -> list[str]:
    rows = []
    for name in POOLS:
        mine = [r for r in results if (r["pool"], r["predictor"]) == (name, "expected correlation")]
        if mine:
            found = np.mean([r["found"] for r in mine])
            expected, spread = (mine[0][what] for what in ("expected", "spread"))
            rows.append([name, f"{expected:.2f}", f"{found:.2f}", f"{spread:.2f}"])
    headings = ("pool", "expected", "found, mean of tasks", "deviation over families")
    return [
        "",
        "## Does it know how much to be believed?",
        "",
        "The correlation of its score with labels (as normal scores) that other families let "
        "expect, and the one found.",
        "",
        *markdown_table(headings, rows),
    ]
