"""Searches with predictors and proxies against searches without, on measured spaces.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/search.py [PART ...]``. The
script may be killed at any moment; started again, it continues where it was. Finished runs are
lines of ``experiments/results/stores/search.jsonl``. ``--tables`` writes
``experiments/results/search.md`` from them and searches nothing. The parts, all by default:

- ``settings``: settings of ``archrank.search.Searcher`` on problems that are not reported
  otherwise: TransNAS-Bench-101 micro, NAS-Bench-Macro, NATS-Bench's size space, the digits. The
  defaults were chosen on these problems.
- ``nasbench201``: the searches on three data sets.
- ``assisted``: four searches, each with and without the assistance of proxies.
- ``zero``, ``evidence``, ``transfer``: without any labels, the best of a thousand random cells by
  proxies, by the pretrained predictor, or by a predictor that learned another benchmark's labels.
- ``accel``: accuracy and latency on three devices of Accel-NASBench.
- ``overhead``: seconds of asking and telling.

Protocol on NAS-Bench-201: a search sees mean validation accuracies after 200 epochs. After n
evaluations, the architecture with the best validation accuracy counts, by its mean test accuracy.
One thread.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import predictor_scores
import torch
from common import RESULTS, parser, write_page
from scipy import stats
from search_accel import search_accel
from search_page import tables
from search_runs import (
    AT,
    DATASETS,
    LINES,
    MANY_SEEDS,
    PAIRS,
    SEARCHES,
    SEEDS,
    SETTING_SEEDS,
    SETTINGS,
    K,
    Problem,
    by_ridge,
    by_searcher,
    cells,
    found,
    known_samples,
    nasbench201,
    nasbench201_early,
    problem,
    setting_problems,
)
from transfer_pools import Families

from archrank.data import space
from archrank.predictors.features.evidence import AUTO, measurements, table_of
from archrank.proxies import get
from archrank.ranking.aggregation import combined
from archrank.search import Screener, Searcher, Surrogate, assist

PAGE = RESULTS / "search.md"


def settings() -> None:
    """Search with other settings, and ridge regression beside them."""
    problems = {data.name: data for data in setting_problems()}
    keys = [
        {"part": "settings", "problem": data.name, "setting": name, "seed": seed}
        for seed in range(SETTING_SEEDS)
        for data in problems.values()
        for name in ("ridge on codes", *SETTINGS)
        if data.whole or "strategy" not in SETTINGS.get(name, {})
    ]
    for key in LINES.missing(keys):
        data, seed, name = problems[key["problem"]], key["seed"], key["setting"]
        if name == "ridge on codes":
            run = by_ridge(data, seed, 10)
        else:
            known = known_samples(data.space, tuple(data.labels))
            run = by_searcher(data, seed, known, **SETTINGS[name])
        reached = found(data, run, (30, 50, 100))
        truth = np.array(list(data.truth.values()))
        better = {count: float((truth > value).mean()) for count, value in reached.items()}
        LINES.keep(key, better=better)


def search_nasbench201() -> None:
    """Do all searches on all data sets."""
    keys = [
        {"part": "nasbench201", "dataset": dataset, "search": name, "seed": seed}
        for name in SEARCHES
        for dataset in DATASETS
        for seed in range(SEEDS.get(name, MANY_SEEDS))
    ]
    for key in LINES.missing(keys):
        data = nasbench201(key["dataset"])
        start = time.perf_counter()
        reached = found(data, SEARCHES[key["search"]](data, key["seed"]), AT)
        LINES.keep(key, truth=reached, seconds=round(time.perf_counter() - start, 2))


@cache
def proxy_table() -> dict[str, np.ndarray]:
    """Read every cell's scores, larger is better."""
    signs = np.array([get(name).sign for name in AUTO])
    scores = {
        key: np.array([row[name] for name in AUTO]) * signs
        for key, row in predictor_scores.read().items()
    }
    place = space("nasbench201")
    return {arch: scores[place.canonical(arch)] for arch in place}


def by_proxies(archs: Sequence[str]) -> np.ndarray:
    """Take the mean rank of the proxies of ``proxies="auto"`` among those scored together."""
    return combined(np.array([proxy_table()[arch] for arch in archs]), "mean_rank")


def pair(name: str, data: Problem, early: Mapping[str, float], seed: int, k: int) -> float:
    """Return the truth of what a search found after 100 evaluations, or as many epochs."""
    search = PAIRS[name](seed)
    search.draw = assist(search.draw, by_proxies, k)
    best, epochs = "", 100 * 200
    while epochs > 0:
        arch, cost = search.propose() if name == "BOHB" else (search.ask(), 200)
        value = (early if cost == 12 else data.labels)[arch]
        epochs -= cost
        if name == "BOHB":
            search.report(arch, cost, value)
        else:
            search.tell(arch, value)
        if cost == 200 and (not best or data.labels[arch] > data.labels[best]):
            best = arch
    return data.truth[best]


def assisted() -> None:
    """Run each search beside itself assisted, from the same seeds."""
    keys = [
        {"part": "assisted", "dataset": dataset, "search": name, "seed": seed}
        for seed in range(MANY_SEEDS)
        for dataset in DATASETS
        for name in PAIRS
    ]
    for key in LINES.missing(keys):
        data = nasbench201(key["dataset"])
        early = nasbench201_early(key["dataset"])
        plain, helped = (pair(key["search"], data, early, key["seed"], k) for k in (1, K))
        LINES.keep(key, plain=plain, assisted=helped)


def draws(part: str) -> list[dict[str, Any]]:
    """List the draws of a thousand cells, on each data set."""
    return [{"part": part, "dataset": d, "seed": s} for d in DATASETS for s in range(MANY_SEEDS)]


def zero() -> None:
    """Choose the best of 1,000 random cells by proxies, and by parameters and FLOPs."""
    keys = [
        {"part": "zero", "dataset": d, "seed": seed} for d in DATASETS for seed in range(MANY_SEEDS)
    ]
    for key in LINES.missing(keys):
        truth = nasbench201(key["dataset"]).truth
        drawn = space("nasbench201").sample(1000, key["seed"])
        (best,) = Screener(by_proxies, window=1000).best(drawn)
        known = cells()
        place = space("nasbench201")
        sizes = {
            size: max(drawn, key=lambda arch: getattr(known[place.canonical(arch)].graph, size))
            for size in ("params", "flops")
        }
        made = {"auto": best, **sizes}
        LINES.keep(key, truth={name: truth[arch] for name, arch in made.items()})


def evidence() -> None:
    """Choose the best of 1,000 random cells by the pretrained predictor, on sizes and six proxies.

    It learnt from NAS-Bench-201, too, but without labels only how far it may be trusted depends on
    that, not the order.
    """
    keys = [
        {"part": "evidence", "dataset": d, "seed": seed}
        for d in DATASETS
        for seed in range(MANY_SEEDS)
    ]
    place, known, scores = space("nasbench201"), cells(), predictor_scores.read()
    reference, _ = Families().without("nasbench201")
    rows = {key: measurements(known[key].graph, scores[key]) for key in scores}
    for key in LINES.missing(keys):
        drawn = place.sample(1000, key["seed"])
        table = table_of([rows[place.canonical(arch)] for arch in drawn])
        best = drawn[int(np.argmax(reference.score(table)))]
        LINES.keep(key, truth={"evidence": nasbench201(key["dataset"]).truth[best]})


def transfer() -> None:
    """Choose the best of 1,000 random cells by a predictor of another benchmark's labels."""
    keys = [
        {"part": "transfer", "dataset": d, "seed": seed}
        for d in DATASETS
        for seed in range(MANY_SEEDS)
    ]
    if not (missing := LINES.missing(keys)):
        return
    other = problem(*["transnas101_micro"] * 2, "class_scene", "class_scene")
    known = known_samples(other.space, tuple(other.labels))
    place = space(other.space)
    labels = {place.canonical(arch): value for arch, value in other.labels.items()}
    some = random.Random(0).sample(sorted(known), 500)
    predictor = Surrogate(("statistics",)).fit(
        [known[key] for key in some], stats.rankdata([labels[key] for key in some])
    )
    predicted = dict(zip(cells(), predictor.predict(list(cells().values())), strict=True))
    place = space("nasbench201")
    for key in missing:
        drawn = place.sample(1000, key["seed"])
        best = max(drawn, key=lambda arch: predicted[place.canonical(arch)])
        LINES.keep(key, truth={"transfer": nasbench201(key["dataset"]).truth[best]})


def overhead() -> None:
    """Time ``ask(10)`` over all 15,625 cells after fitting, and each of 1,000 tells.

    Asks are in seconds of one core, since other work may share the machine; tells are by the clock.
    """
    data = nasbench201("cifar10")
    warm = Searcher("nasbench201", samples=cells())  # what is read of graphs is read once
    warm.load({arch: data.labels[arch] for arch in list(data.labels)[:20]})
    warm.ask(1)
    for key in LINES.missing([{"part": "overhead", "repeat": i} for i in range(5)]):
        archs = space("nasbench201").sample(1000, key["repeat"], distinct_networks=True)
        with tempfile.TemporaryDirectory() as folder:
            searcher = Searcher("nasbench201", samples=cells(), state=Path(folder) / "state")
            asks, tells = {}, []
            for count, arch in enumerate(archs, 1):
                start = time.perf_counter()
                searcher.tell(arch, data.labels[arch])
                tells.append(time.perf_counter() - start)
                if count in (50, 150, 500, 1000):
                    start = time.process_time()
                    searcher.predict(archs[:2])
                    fitted = time.process_time()
                    searcher.ask(10)
                    asks[count] = [fitted - start, time.process_time() - fitted]
        parts = [float(np.median(tells[i : i + 100])) for i in (0, 900)]
        LINES.keep(key, asks=asks, tells=parts)


PARTS = {
    "settings": settings,
    "nasbench201": search_nasbench201,
    "assisted": assisted,
    "zero": zero,
    "evidence": evidence,
    "transfer": transfer,
    "accel": search_accel,
    "overhead": overhead,
}


def main() -> None:
    """Search what is missing, and write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument(
        "parts", nargs="*", choices=[[], *PARTS], metavar="PART", help="default all"
    )
    arguments = options.parse_args()
    torch.set_num_threads(1)
    if not arguments.tables:
        for name in arguments.parts or PARTS:
            PARTS[name]()
    write_page(PAGE, tables())


if __name__ == "__main__":
    main()
