"""Ranking a family of architectures left out of training: with no labels, or up to a hundred.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/transfer.py [POOL ...]``. The
script may be killed at any moment; started again, it continues where it was. Finished work is lines
of ``experiments/results/stores/transfer.jsonl``. Scores of proxies are in
``experiments/results/stores/pretraining``, made by ``archrank pretrain --recipe default``.
``--tables`` writes ``experiments/results/transfer.md`` from the lines.

Protocol: for each family, the predictor learns from all families of
``archrank.predictors.pretrained.family_sources.SOURCES`` except the family itself and its
relatives. Then it gets the labels of k random architectures of the family; the other architectures
are the test. A seed draws the same architectures for every predictor. If a table has several tasks,
seed s has task s modulo their number.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from common import RESULTS, parser, write_page
from former_rule import among_candidates
from transfer_page import tables
from transfer_pools import COUNTS, LINES, POOLS, SEEDS, Families, Pool, pool_of

from archrank.metrics import bootstrap, kendall, ndcg, spearman
from archrank.predictors import ArchRank, OutOfFamilyWarning, Predictor, TransferRank
from archrank.predictors.features.evidence import (
    AUTO,
    MEASURED,
    SIZES,
    measurements,
    table_of,
)
from archrank.predictors.pretrained.reference import Reference, sizes_alone
from archrank.predictors.pretrained.shipped import shipped
from archrank.predictors.pretrained.zero_shot import ZeroShot
from archrank.ranking.aggregation import combined

PAGE = RESULTS / "transfer.md"
MOST_LABELLED = 0.6  # of a pool: the rest is the test
FIGURES = ("rho", "tau", "ndcg")
_METRICS = {"rho": spearman, "tau": kendall, "ndcg": lambda s, t: ndcg(s, t, 10)}


def zero_shot(name: str, pool: Pool, families: Families) -> None:
    """Judge rankings without labels, task by task."""
    reference, seconds = families.without(pool.family)
    if pool.whole is None:
        rows = table_of([measurements(s.graph, s.scores) for s in pool.samples])
        truths = pool.labels
        judged = ZeroShot(reference, shipped().expert_).judge(pool.samples)[0]
    else:
        rows, truths = pool.whole
        judged = reference.score(rows)
    orders = {
        "TransferRank": judged,
        "TransferRank, sizes alone": reference.score(sizes_alone(rows)),
        "fixed scale": reference.score(rows),
        "former rule": among_candidates(rows),
    }
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
            by = np.nan_to_num(order[known], nan=float(np.nanmin(order)))
            made = {metric: _interval(by, truth[known], metric) for metric in FIGURES}
            facts = {"pool": name, "count": 0, "task": task, "predictor": predictor}
            LINES.append({**facts, **made, "n": int(known.sum()), "learning s": seconds})
        found = float(spearman(reference.score(rows)[known], truth[known]))
        facts = {"pool": name, "count": 0, "task": task, "predictor": "expected correlation"}
        spread = float(reference.taught.std())
        LINES.append({**facts, "expected": reference.slope, "found": found, "spread": spread})
    print(name, "zero-shot", flush=True)


def _interval(order: np.ndarray, truth: np.ndarray, metric: str) -> list[float]:
    """Return the figure, and the 95 % interval of 200 bootstrap resamples."""
    judge = _METRICS[metric]
    resamples = 200 if len(truth) < 5000 else 40
    return [
        float(judge(order, truth)),
        *bootstrap(judge, order, truth, seed=0, resamples=resamples),
    ]


def few_shot(name: str, pool: Pool, families: Families, seeds: int, counts: Sequence[int]) -> None:
    """Judge predictors that were given some labels."""
    reference, _ = families.without(pool.family)
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
                "TransferRank": _fresh(reference, seed),
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


def _fresh(reference: Reference, seed: int) -> TransferRank:
    expert = shipped().expert_
    return TransferRank.without_labels(reference, expert=expert, random_state=seed)


def main() -> None:
    """Judge what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("pools", nargs="*", metavar="POOL", help=", ".join(POOLS))
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument("--counts", nargs="*", type=int, default=COUNTS, help="of labels")
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", OutOfFamilyWarning)
    families = Families()
    for name in arguments.pools or POOLS:
        pool = pool_of(name)
        if not LINES.read(pool=name, count=0):
            zero_shot(name, pool, families)
        few_shot(name, pool, families, arguments.seeds, arguments.counts)


if __name__ == "__main__":
    main()
