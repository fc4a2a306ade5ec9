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

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from common import RESULTS, parser, write_page
from transfer_page import tables
from transfer_pools import COUNTS, LINES, POOLS, SEEDS, Families, Pool, pool_of

from archrank.metrics import bootstrap, kendall, ndcg, spearman
from archrank.predictors import ArchRank, Family, OutOfFamilyWarning, Predictor, TransferRank
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
from archrank.predictors.pretrained.sources import SOURCES, unrelated
from archrank.ranking.aggregation import combined

PAGE = RESULTS / "transfer.md"
MOST_LABELLED = 0.6  # of a pool: the rest is the test
FIGURES = ("rho", "tau", "ndcg")
_METRICS = {"rho": spearman, "tau": kendall, "ndcg": lambda s, t: ndcg(s, t, 10)}


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
            LINES.append({**facts, **made, "n": int(known.sum()), "learning s": seconds})
        slope = experience.slope(list(evidence.kinds))
        z = evidence.score(rows)[known]
        found = float(np.corrcoef(z, normal_scores(truth[known]))[0, 1])
        facts = {"pool": name, "count": 0, "task": task, "predictor": "expected correlation"}
        LINES.append({**facts, "expected": slope, "found": found, "spread": experience.spread})
    print(name, "zero-shot", flush=True)


def _interval(order: np.ndarray, truth: np.ndarray, metric: str) -> list[float]:
    """Return the figure, and the 95 % interval of 200 bootstrap resamples."""
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
    known = {(r["count"], r.get("seed"), r["predictor"]) for r in LINES.read(pool=name)}
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
                LINES.append({**facts, "predictor": predictor, **made, "fit s": seconds})
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
            LINES.append({"pool": one.family, "count": -1, "predictor": way, "rho": rho})
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
    """Fit weights by least squares over families, drawn towards equal ones."""
    square, moment = np.zeros((len(KINDS), len(KINDS))), np.zeros(len(KINDS))
    for family in several:
        table, targets = _kinds_of(family)
        square += table.plain.T @ table.plain / len(table.plain) / len(several)
        moment += table.plain.T @ np.mean(targets, axis=0) / len(table.plain) / len(several)
    equal = np.full(len(KINDS), moment.sum() / square.sum())
    return np.linalg.solve(square + penalty * np.eye(len(KINDS)), moment + penalty * equal)


def _best_set(several: Sequence[Family]) -> list[int]:
    """Choose the kinds whose mean is best over families."""
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


def main() -> None:
    """Judge what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("pools", nargs="*", metavar="POOL", help=", ".join(POOLS))
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="of labels")
    options.add_argument("--weights", action="store_true", help="judge weights of kinds alone")
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", OutOfFamilyWarning)
    families = Families()
    if arguments.weights:
        weights(families)
        return
    for name in arguments.pools or POOLS:
        pool = pool_of(name)
        if not LINES.read(pool=name, count=0):
            zero_shot(name, pool, families)
        few_shot(name, pool, families, arguments.seeds, arguments.counts)


if __name__ == "__main__":
    main()
