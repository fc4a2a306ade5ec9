"""The problems and the searches of ``search.py``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import predictor_scores
from common import STORES, Lines
from scipy import stats
from sklearn.linear_model import Ridge as PlainRidge

from archrank.data import space, table
from archrank.predictors import Sample, samples
from archrank.search import (
    Hyperband,
    LocalSearch,
    RandomSearch,
    RegularisedEvolution,
    Reinforce,
    Searcher,
    Surrogate,
)

LINES = Lines(STORES / "search.jsonl")
AT = (20, 30, 50, 75, 100, 150)
"""Evaluations after which what was found is looked at."""


@dataclass(frozen=True)
class Problem:
    """Labels that a search sees, and the truth that it is judged by, both larger is better."""

    name: str
    space: str
    labels: Mapping[str, float]
    truth: Mapping[str, float]
    whole: bool
    """Whether every architecture of the space has labels."""


def problem(space_name: str, table_name: str, labels: str, truth: str, most: int = 0) -> Problem:
    """Read the architectures that have both, or a fixed random ``most`` of them."""
    found = table(table_name)
    seen, true = (found.labels(t) * found.tasks[t].direction for t in (labels, truth))
    archs = sorted(seen.dropna().index.intersection(true.dropna().index))
    if most and most < len(archs):
        archs = random.Random(f"pool of {space_name}").sample(archs, most)
    cells = space(space_name)
    return Problem(
        f"{space_name}, {truth}",
        space_name,
        seen.loc[archs].to_dict(),
        true.loc[archs].to_dict(),
        cells.size == len(archs),
    )


@cache
def known_samples(space_name: str, archs: tuple[str, ...]) -> dict[str, Sample]:
    """Collect what predictors read of each network, once for all runs."""
    cells = space(space_name)
    keys = list(dict.fromkeys(map(cells.canonical, archs)))
    return dict(zip(keys, samples(keys, space=cells), strict=True))


def with_scores(known: Mapping[str, Sample]) -> dict[str, Sample]:
    """Add the scores of ``predictor_scores.py``."""
    scores = predictor_scores.read()
    return {key: replace(sample, scores=scores[key]) for key, sample in known.items()}


# --- searches -------------------------------------------------------------------------------------

Run = Iterator[str]
"""The architectures that a search evaluates, one after the other."""


def by_strategy(make: Callable[[int], Any], data: Problem, seed: int) -> Run:
    """Search one at a time."""
    search = make(seed)
    while True:
        arch = search.ask()
        search.tell(arch, data.labels[arch])
        yield arch


def by_ridge(data: Problem, seed: int, batch: int) -> Run:
    """Search by ridge regression of ranks on codes: 10 random ones, then the best unseen."""
    archs = list(data.labels)
    codes = np.array([space(data.space).encode(arch) for arch in archs])
    rng = np.random.default_rng(seed)
    taken = rng.permutation(len(archs))[:10].tolist()
    yield from (archs[i] for i in taken)
    while len(taken) < len(archs):
        ranks = stats.rankdata([data.labels[archs[i]] for i in taken]) / len(taken)
        predicted = PlainRidge(1.0).fit(codes[taken], ranks).predict(codes)
        predicted[taken] = -np.inf
        best = np.argsort(-predicted, kind="stable")[:batch].tolist()
        taken += best
        yield from (archs[i] for i in best)


def by_searcher(data: Problem, seed: int, known: Mapping[str, Sample], **settings: Any) -> Run:
    """Search by archrank's own, asked for ``batch`` at a time."""
    batch = settings.pop("batch", 5)
    pool = None if "strategy" in settings else list(data.labels)
    searcher = Searcher(data.space, seed=seed, samples=known, pool=pool, **settings)
    while True:
        archs = searcher.ask(batch)
        searcher.tell(archs, [data.labels[arch] for arch in archs])
        yield from archs


def found(data: Problem, run: Run, at: Sequence[int]) -> dict[int, float]:
    """Return after how many evaluations the truth of the architecture with the best label."""
    best, values = "", {}
    for count, arch in enumerate(run, 1):
        if not best or data.labels[arch] > data.labels[best]:
            best = arch
        if count in at:
            values[count] = data.truth[best]
        if count == max(at):
            break
    return values


# --- what is searched, and by whom ----------------------------------------------------------------

SETTINGS: Mapping[str, dict[str, Any]] = {
    "default": {},
    "mean": {"acquisition": "mean"},
    "ucb": {"acquisition": "ucb"},
    "thompson": {"acquisition": "thompson"},
    "refit every 10, asked for 10": {"refit": 10, "batch": 10},
    "5 random ones first": {"start": 5},
    "codes alone": {"predictor": Surrogate(("code",))},
    "graphs alone": {"predictor": Surrogate(("statistics",))},
    "one scale": {"predictor": Surrogate(scales=(2.0,))},
    "evolution of 1,000": {"strategy": "evolution"},
    "1,000 around the best": {"strategy": "local"},
    "1,000 random ones": {"strategy": "random"},
}
SETTING_SEEDS, SETTING_PROBLEMS = 3, 8


def setting_problems() -> list[Problem]:
    """Read where settings were chosen: nothing that is reported otherwise."""
    tasks = ("class_scene", "class_object", "jigsaw", "room_layout", "autoencoder")
    return [
        *(problem(*["transnas101_micro"] * 2, task, task) for task in tasks),
        problem("nasbench_macro", "nas_bench_macro", "cifar10", "cifar10"),
        problem("nats_sss", "nats_sss", "cifar10@90", "cifar10@90", most=8000),
        problem("digits", "digits", "digits", "digits"),
    ]


DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
SEEDS = {"Searcher": 20, "Searcher, with scores": 20, "Searcher, codes alone": 10}
MANY_SEEDS = 100


@cache
def nasbench201(dataset: str) -> Problem:
    """Read one data set: validation and test accuracies after 200 epochs."""
    return problem("nasbench201", "nasbench201", f"{dataset}-valid", dataset)


@cache
def nasbench201_early(dataset: str) -> dict[str, float]:
    """Read validation accuracies after 12 epochs."""
    return table("nasbench201").labels(f"{dataset}-valid@12").to_dict()


def cells() -> dict[str, Sample]:
    """Collect what predictors read of all cells."""
    return known_samples("nasbench201", tuple(space("nasbench201")))


SEARCHES: Mapping[str, Callable[[Problem, int], Run]] = {
    "random search": lambda data, seed: by_strategy(
        lambda s: RandomSearch("nasbench201", s), data, seed
    ),
    "regularised evolution": lambda data, seed: by_strategy(
        lambda s: RegularisedEvolution("nasbench201", 10, 3, s), data, seed
    ),
    "local search": lambda data, seed: by_strategy(
        lambda s: LocalSearch("nasbench201", 10, s), data, seed
    ),
    "ridge on codes, 10 at a time": lambda data, seed: by_ridge(data, seed, 10),
    "ridge on codes, 5 at a time": lambda data, seed: by_ridge(data, seed, 5),
    "Searcher": lambda data, seed: by_searcher(data, seed, cells()),
    "Searcher, codes alone": lambda data, seed: by_searcher(
        data, seed, cells(), predictor=Surrogate(("code",))
    ),
    "Searcher, with scores": lambda data, seed: by_searcher(data, seed, with_scores(cells())),
}
K = 10
PAIRS: Mapping[str, Callable[[int], Any]] = {
    "random search": lambda seed: RandomSearch("nasbench201", seed),
    "regularised evolution": lambda seed: RegularisedEvolution("nasbench201", 10, 3, seed),
    "REINFORCE": lambda seed: Reinforce("nasbench201", seed=seed),
    "BOHB": lambda seed: Hyperband("nasbench201", (12, 200), seed=seed),
}
