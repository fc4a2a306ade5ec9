"""Ranking a family of architectures that nothing was learnt of: no labels, or up to a hundred.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/transfer.py [POOL ...]``. It may
be killed at any moment and goes on where it was: finished work is lines of
``experiments/results/stores/transfer.jsonl``; scores of proxies are in
``experiments/results/stores/pretraining``, made by ``archrank pretrain --recipe default``.
``--tables`` writes ``experiments/results/transfer.md`` from the lines.

Protocol: for each family all is learnt of the families of
``archrank.predictors.pretrained.recipe.SOURCES`` but itself and its relatives. Labels of k random
architectures of the family are given, the others are the test; a seed draws the same ones for every
predictor. Where a table has several tasks, seed s has task s modulo their number.
"""

from __future__ import annotations

import argparse
import datetime
import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from predictor_scores import read as read_small_scores
from proxy_results import machine

from archrank.data import space, table
from archrank.metrics import bootstrap, kendall, ndcg, spearman
from archrank.predictors import (
    ArchRank,
    Family,
    FamilyPrior,
    OutOfFamilyWarning,
    Predictor,
    Sample,
    TransferRank,
    samples,
)
from archrank.predictors.features.evidence import (
    AUTO,
    KINDS,
    MEASURED,
    SIZES,
    Evidence,
    measurements,
    table_of,
)
from archrank.predictors.features.rank_transform import normal_scores
from archrank.predictors.pretrained.recipe import SOURCES, family_of, source, unrelated
from archrank.ranking.aggregation import combined
from predictors import append, interval, read

FOLDER = Path(__file__).parent / "results"
LINES = FOLDER / "stores" / "transfer.jsonl"
SCORES = FOLDER / "stores" / "pretraining"
COUNTS = (10, 20, 50, 100)
SEEDS = 5
MOST_LABELLED = 0.6  # of a pool: the rest is the test
CELLS = 2000  # of NAS-Bench-201 that predictors are tested on
PUBLISHED = {
    "nasbench201, without none": ("GENNAPE .815 / .910", ".88 / .945"),
    "nasbench201, every cell": ("AZ-NAS .913", ".92 / .955"),
    "nasbench201": ("AZ-NAS .913", ".92 / .955"),
    "nasbench301, all 725": ("GENNAPE .321 / .883", ".70 / .89"),
    "nasbench301": ("GENNAPE .321 / .883", ".70 / .89"),
    "ofa_mobilenetv3": ("GENNAPE .866 / .945", ".90 / .955"),
}
"""Rho without labels / with 50: published, and what this project wants to reach."""


@dataclass(frozen=True)
class Pool:
    """Architectures of a family that are ranked.

    Attributes:
        family: whose experience is left out.
        samples, tasks, labels: labels (tasks, samples), larger is better.
        whole: the measurements and labels that zero-shot is judged on, if not these.
    """

    family: str
    samples: list[Sample]
    tasks: tuple[str, ...]
    labels: np.ndarray
    whole: tuple[np.ndarray, np.ndarray] | None = None


EVERY_DARTS = "nasbench301, all 725"
EXTRA = ("nasbench201, every cell", "nasbench201, without none", EVERY_DARTS)
POOLS = (*(one.family for one in SOURCES), *EXTRA)


def pool_of(name: str) -> Pool:
    """Read a pool."""
    if name not in EXTRA:
        one = source(name)
        family = family_of(one, SCORES)
        return Pool(name, list(family.samples), one.tasks, family.labels)
    if name == EVERY_DARTS:
        return _every_darts_network()
    cells, measured = space("nasbench201"), table("nasbench201")
    tasks = source("nasbench201").tasks
    labels = np.array([measured.labels(task).to_dict() for task in tasks])
    known = read_small_scores()
    archs = sorted(arch for arch in labels[0] if name == EXTRA[0] or "none" not in arch)
    rows, graphs = [], {}
    for arch in archs:
        key = cells.canonical(arch)
        if key not in graphs:
            graphs[key] = measurements(cells.graph(key), known.get(key, {}))
        rows.append(graphs[key])
    truth = np.array([[by[arch] for arch in archs] for by in labels])
    drawn = sorted(random.Random(0).sample(range(len(archs)), CELLS))
    read_ones = [
        replace(s, scores=known[cells.canonical(str(s.arch))])
        for s in samples([archs[i] for i in drawn], space=cells)
    ]
    return Pool("nasbench201", read_ones, tasks, truth[:, drawn], (table_of(rows), truth))


def _every_darts_network() -> Pool:
    """With the scores that NB-Suite-Zero published, of proxies that ours are equal to but for the
    batch."""
    one, measured = source("nasbench301"), table("nasbench301")
    labels = measured.labels(one.tasks[0]).dropna()
    archs = sorted(labels.index)
    columns = {"naswot": "cifar10/nwot", "synflow": "cifar10/synflow"}
    published = measured.proxies.loc[archs]
    scores = [
        {proxy: float(row[column]) for proxy, column in columns.items()}
        for _, row in published.iterrows()
    ]
    read_ones = samples(archs, space=space(one.space))
    scored = [replace(s, scores=known) for s, known in zip(read_ones, scores, strict=True)]
    return Pool("nasbench301", scored, one.tasks, labels.loc[archs].to_numpy(float)[None])


class Families:
    """All families, each read once, and what can be learnt without each."""

    def __init__(self) -> None:
        self.read: dict[str, Family] = {}
        self.learnt: dict[str, tuple[FamilyPrior, float]] = {}

    def of(self, name: str) -> Family:
        if name not in self.read:
            self.read[name] = family_of(source(name), SCORES)
        return self.read[name]

    def without(self, name: str) -> tuple[FamilyPrior, float]:
        """What unrelated families teach, and the seconds that it took."""
        if name not in self.learnt:
            several = [self.of(one.family) for one in unrelated(name)]
            start = time.perf_counter()
            self.learnt[name] = FamilyPrior.of(several), time.perf_counter() - start
        return self.learnt[name]


def zero_shot(name: str, pool: Pool, families: Families) -> None:
    """Judge rankings without labels, task by task."""
    if pool.whole is None:
        rows = table_of([measurements(s.graph, s.scores) for s in pool.samples])
        truths = pool.labels
    else:
        rows, truths = pool.whole
    experience, seconds = families.without(pool.family)
    evidence = Evidence.of(rows)
    orders = {"TransferRank": evidence.score(rows)}
    orders["TransferRank, sizes alone"] = _sizes_alone(rows)
    orders |= {size: rows[:, MEASURED.index(size)] for size in SIZES}
    for proxy in MEASURED[len(SIZES) :]:
        column = rows[:, MEASURED.index(proxy)]
        if np.isfinite(column).mean() > 0.5:
            orders[proxy] = np.where(np.isfinite(column), column, np.nanmin(column) - 1.0)
    six = [MEASURED.index(proxy) for proxy in AUTO if proxy in MEASURED]
    if np.isfinite(rows[:, six]).mean() > 0.5:
        orders["mean rank of proxies"] = combined(rows[:, six], "mean_rank")
    for task, truth in zip(pool.tasks, truths, strict=True):
        known = np.isfinite(truth)
        for predictor, order in orders.items():
            judged = np.nan_to_num(order[known], nan=float(np.nanmin(order)))
            made = {metric: _interval(judged, truth[known], metric) for metric in FIGURES}
            facts = {"pool": name, "count": 0, "task": task, "predictor": predictor}
            append(LINES, {**facts, **made, "n": int(known.sum()), "learning s": seconds})
        slope = experience.slope(list(evidence.kinds))
        z = evidence.score(rows)[known]
        found = float(np.corrcoef(z, normal_scores(truth[known]))[0, 1])
        facts = {"pool": name, "count": 0, "task": task, "predictor": "expected correlation"}
        append(LINES, {**facts, "expected": slope, "found": found, "spread": experience.spread})
    print(name, "zero-shot", flush=True)


FIGURES = ("rho", "tau", "ndcg")
_METRICS = {"rho": spearman, "tau": kendall, "ndcg": lambda s, t: ndcg(s, t, 10)}


def _interval(order: np.ndarray, truth: np.ndarray, metric: str) -> list[float]:
    """The figure, and the 95 % interval of 200 bootstrap resamples."""
    judge = _METRICS[metric]
    resamples = 200 if len(truth) < 5000 else 40
    return [
        float(judge(order, truth)),
        *bootstrap(judge, order, truth, seed=0, resamples=resamples),
    ]


def _sizes_alone(rows: np.ndarray) -> np.ndarray:
    alone = rows.copy()
    alone[:, len(SIZES) :] = np.nan
    return Evidence.of(alone).score(alone)


def few_shot(name: str, pool: Pool, families: Families, seeds: int, counts: Sequence[int]) -> None:
    """Judge predictors that were given some labels."""
    experience, _ = families.without(pool.family)
    known = {(r["count"], r.get("seed"), r["predictor"]) for r in read(LINES) if r["pool"] == name}
    for count in counts:
        for seed in range(seeds):
            task = seed % len(pool.tasks)
            labelled = np.flatnonzero(np.isfinite(pool.labels[task]))
            if count > MOST_LABELLED * len(labelled):
                continue
            order = np.random.default_rng(seed).permutation(labelled)
            given, tested = np.sort(order[:count]), np.sort(order[count:])
            predictors: dict[str, Predictor] = {
                "TransferRank": TransferRank(experience.state(), random_state=seed),
                "ArchRank from scratch": ArchRank(random_state=seed),
            }
            for predictor, fresh in predictors.items():
                if (count, seed, predictor) in known:
                    continue
                start = time.perf_counter()
                fitted = fresh.fit([pool.samples[i] for i in given], pool.labels[task, given])
                seconds = time.perf_counter() - start
                predicted = fitted.predict([pool.samples[i] for i in tested])
                truth = pool.labels[task, tested]
                made = {metric: judge(predicted, truth) for metric, judge in _METRICS.items()}
                facts = {"pool": name, "count": count, "seed": seed, "task": pool.tasks[task]}
                append(LINES, {**facts, "predictor": predictor, **made, "fit s": seconds})
                print(name, count, seed, predictor, f"{made['rho']:.3f}", flush=True)


def weights(families: Families) -> None:
    """Judge ways to weigh kinds of evidence on families that had no part in it."""
    for one in SOURCES:
        if not one.batch:
            continue
        learnt_of = [families.of(other.family) for other in unrelated(one.family) if other.batch]
        table, targets = _kinds_of(families.of(one.family))
        ways = {"equal, log Phi": table.log, "equal": table.plain.mean(axis=1)}
        for penalty in (0.03, 0.3, 3.0):
            ways[f"least squares, penalty {penalty}"] = table.plain @ _fitted(learnt_of, penalty)
        ways["best set of kinds"] = table.plain[:, _best_set(learnt_of)].mean(axis=1)
        for way, score in ways.items():
            rho = float(np.mean([spearman(score, target) for target in targets]))
            append(LINES, {"pool": one.family, "count": -1, "predictor": way, "rho": rho})
    print("weights", flush=True)


@dataclass(frozen=True)
class _Kinds:
    """Scores of kinds (networks, kinds), 0 where a family lacks one, and their log Phi score."""

    plain: np.ndarray
    log: np.ndarray


def _kinds_of(family: Family) -> tuple[_Kinds, list[np.ndarray]]:
    known = np.isfinite(family.labels).all(axis=0)
    some = [family.samples[i] for i in np.flatnonzero(known)]
    rows = table_of([measurements(s.graph, s.scores) for s in some])
    evidence = Evidence.of(rows)
    found = evidence.scores(rows)
    plain = np.column_stack([found.get(kind, np.zeros(len(rows))) for kind in KINDS])
    targets = [normal_scores(task) for task in family.labels[:, known]]
    return _Kinds(plain, evidence.score(rows)), targets


def _fitted(several: Sequence[Family], penalty: float) -> np.ndarray:
    """Weights by least squares over families, drawn towards equal ones."""
    square, moment = np.zeros((len(KINDS), len(KINDS))), np.zeros(len(KINDS))
    for family in several:
        table, targets = _kinds_of(family)
        square += table.plain.T @ table.plain / len(table.plain) / len(several)
        moment += table.plain.T @ np.mean(targets, axis=0) / len(table.plain) / len(several)
    equal = np.full(len(KINDS), moment.sum() / square.sum())
    return np.linalg.solve(square + penalty * np.eye(len(KINDS)), moment + penalty * equal)


def _best_set(several: Sequence[Family]) -> list[int]:
    """The kinds whose mean is best over families."""
    read_ones = [_kinds_of(family) for family in several]
    sets = [list(s) for n in range(1, len(KINDS) + 1) for s in combinations(range(len(KINDS)), n)]
    worth = [
        np.mean(
            [
                np.mean([spearman(table.plain[:, some].mean(axis=1), t) for t in targets])
                for table, targets in read_ones
            ]
        )
        for some in sets
    ]
    return sets[int(np.argmax(worth))]


# --- the page -------------------------------------------------------------------------------------


def page() -> str:
    """All tables."""
    results = read(LINES)
    lines = [
        "# Families that nothing was learnt of",
        "",
        f"`python experiments/transfer.py`, then `--tables`, {datetime.date.today()}. Machine: "
        f"{machine()}. What is learnt for a family comes from the others of the recipe, without "
        "its relatives (`archrank.predictors.pretrained.recipe.SOURCES`); proxies at "
        "initialisation, seed 0, one batch "
        "as the recipe says. In brackets 95 % bootstrap intervals over architectures; after ± 95 % "
        "intervals of the mean over seeds. Spearman's rho unless said. Of *every cell* and "
        "*without none* near, meco_opt, swap and synflow are known (8 images), of *all 725* "
        "naswot and synflow, as published: four and three kinds of evidence. Predictors with "
        f"labels are tested on {CELLS:,} random cells of the first two.",
        "",
        "What is learnt never saw the family of a row. The design did see some: kinds of evidence "
        "and the formula were found by hand looking at NAS-Bench-201, TransNAS-Bench-101, "
        "NAS-Bench-Macro, the size space, NAS-Bench-101, NAS-Bench-301, FlexiBERT and digits; "
        "Accel-NASBench, OFA, EC-NAS, ENAS and GPT were scored afterwards. How a slope is taken "
        "from families, and that no scales of the process are, was changed after a first run of "
        "this page had shown harm on ENAS and EC-NAS, with their labels, so the rows with labels "
        "of these two are not untouched either.",
        "",
        "## Without labels",
        "",
        '*TransferRank* is what `by="auto"` ranks by; *sizes alone* is what it says of graphs '
        'without scores of proxies. *mean rank*: of the proxies that `by="auto"` was made of '
        "before, as far as they were scored. *best proxy* is the best of the twelve on the very "
        "labels, which nobody knows beforehand. Tasks of a table are averaged.",
        "",
        "| pool | n | TransferRank | sizes alone | params | FLOPs | activations | mean rank | "
        "best proxy | published | to reach |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in POOLS:
        mine = [r for r in results if r["pool"] == name and r["count"] == 0 and "rho" in r]
        if mine:
            lines.append(_zero_row(name, mine))
    lines += ["", "Kendall's tau, and NDCG@10, of the same:", ""]
    lines += ["| pool | tau | params | FLOPs | activations | NDCG@10 | params | FLOPs |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name in POOLS:
        mine = [r for r in results if r["pool"] == name and r["count"] == 0 and "rho" in r]
        if mine:
            cells = [_mean(mine, p, "tau") for p in ("TransferRank", *SIZES)]
            cells += [_mean(mine, p, "ndcg") for p in ("TransferRank", "params", "flops")]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += _few_tables(results) + _weight_table(results) + _expected_table(results)
    return "\n".join(lines) + "\n"


def _zero_row(name: str, mine: list[dict]) -> str:
    proxies = [p for p in MEASURED[len(SIZES) :] if any(r["predictor"] == p for r in mine)]
    best = max(proxies, key=lambda p: _value(mine, p, "rho"), default=None)
    shown = "-" if best is None else f"{_mean(mine, best, 'rho')} `{best}`"
    columns = ("TransferRank", "TransferRank, sizes alone", *SIZES, "mean rank of proxies")
    cells = [_mean(mine, p, "rho") for p in columns]
    published, wanted = PUBLISHED.get(name, ("-", "above all"))
    return (
        f"| {name} | {mine[0]['n']:,} | "
        + " | ".join([*cells, shown, published, wanted.split(" / ")[0]])
        + " |"
    )


def _value(mine: list[dict], predictor: str, figure: str) -> float:
    found = [r[figure][0] for r in mine if r["predictor"] == predictor]
    return float(np.mean(found)) if found else float("nan")


def _mean(mine: list[dict], predictor: str, figure: str) -> str:
    """The mean over tasks, with the interval where there is one task."""
    found = [r[figure] for r in mine if r["predictor"] == predictor]
    if not found:
        return "-"
    value = f"{np.mean([f[0] for f in found]):.3f}"
    return value if len(found) > 1 else f"{value} [{found[0][1]:.2f}, {found[0][2]:.2f}]"


def _few_tables(results: list[dict]) -> list[str]:
    lines = []
    for figure, title in (("rho", "rho"), ("tau", "tau"), ("ndcg", "NDCG@10")):
        lines += [
            "",
            f"## With a few labels: {title}",
            "",
            "The second row of a pool is `ArchRank`, fitted from scratch to the same labels and "
            "scores; the third the difference, paired.",
            "",
            "| pool | predictor | " + " | ".join(f"{c} labels" for c in COUNTS) + " |",
            "|---|---|" + "---|" * len(COUNTS),
        ]
        for name in POOLS:
            mine = [r for r in results if r["pool"] == name and r["count"] > 0]
            if not mine:
                continue
            by = {(r["count"], r["seed"], r["predictor"]): r[figure] for r in mine}
            rows: dict[str, list[str]] = {}
            for count in COUNTS:
                pairs = [
                    (by[count, s, "TransferRank"], by[count, s, "ArchRank from scratch"])
                    for s in range(SEEDS)
                    if (count, s, "ArchRank from scratch") in by
                    and (count, s, "TransferRank") in by
                ]
                some = f" ({len(pairs)})" if 0 < len(pairs) < SEEDS else ""
                columns = {
                    "TransferRank": [a for a, _ in pairs],
                    "ArchRank from scratch": [b for _, b in pairs],
                    "difference": [a - b for a, b in pairs],
                }
                for row, values in columns.items():
                    rows.setdefault(row, []).append(interval(values) + some if values else "-")
            for row, cells in rows.items():
                lines.append(f"| {name} | {row} | " + " | ".join(cells) + " |")
    return lines


def _weight_table(results: list[dict]) -> list[str]:
    mine = {(r["pool"], r["predictor"]): r["rho"] for r in results if r["count"] == -1}
    ways = list(dict.fromkeys(way for _, way in mine))
    pools = list(dict.fromkeys(pool for pool, _ in mine))
    lines = [
        "",
        "## Weights of kinds of evidence",
        "",
        "Rho without labels on the family of the row, when weights were fitted to labels of the "
        "families that are not related to it. *log Phi* is what is shipped.",
        "",
        "| pool | " + " | ".join(ways) + " |",
        "|---|" + "---|" * len(ways),
    ]
    lines += [
        f"| {pool} | " + " | ".join(f"{mine[pool, way]:.3f}" for way in ways) + " |"
        for pool in pools
    ]
    means = [np.mean([mine[pool, way] for pool in pools]) for way in ways] if pools else []
    return [*lines, "| mean | " + " | ".join(f"{value:.3f}" for value in means) + " |"]


def _expected_table(results: list[dict]) -> list[str]:
    mine = [r for r in results if r["predictor"] == "expected correlation"]
    lines = [
        "",
        "## Does it know how much to be believed?",
        "",
        "The correlation of its score with labels (as normal scores) that other families let "
        "expect, and the one found.",
        "",
        "| pool | expected | found, mean of tasks | deviation over families |",
        "|---|---|---|---|",
    ]
    for name in POOLS:
        found = [r for r in mine if r["pool"] == name]
        if found:
            lines.append(
                f"| {name} | {found[0]['expected']:.2f} | "
                f"{np.mean([r['found'] for r in found]):.2f} | {found[0]['spread']:.2f} |"
            )
    return lines


def main() -> None:
    """Judge what is missing, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pools", nargs="*", metavar="POOL", help=", ".join(POOLS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="of labels")
    parser.add_argument("--weights", action="store_true", help="judge weights of kinds alone")
    parser.add_argument("--tables", action="store_true", help="write the page, fit nothing")
    arguments = parser.parse_args()
    if arguments.tables:
        (FOLDER / "transfer.md").write_text(page())
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", OutOfFamilyWarning)
    families = Families()
    if arguments.weights:
        weights(families)
        return
    for name in arguments.pools or POOLS:
        pool = pool_of(name)
        if not any(r["pool"] == name and r["count"] == 0 for r in read(LINES)):
            zero_shot(name, pool, families)
        few_shot(name, pool, families, arguments.seeds, arguments.counts)


if __name__ == "__main__":
    main()
