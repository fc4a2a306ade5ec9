"""Searches with predictors and proxies against searches without, on measured spaces.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/search.py [PART ...]``. It may be
killed at any moment and goes on where it was: finished runs are lines of
``experiments/results/stores/search.jsonl``. ``--tables`` writes ``experiments/results/search.md``
from them and searches nothing. Parts:

- ``settings``: settings of ``archrank.search.Searcher`` on problems that are not reported
  otherwise: TransNAS-Bench-101 micro, NAS-Bench-Macro, NATS-Bench's size space, the digits. The
  defaults were chosen on these problems.
- ``nasbench201``: the searches on three data sets.
- ``assisted``: four searches beside themselves assisted by proxies.
- ``zero``, ``evidence``, ``transfer``: no labels at all, the best of a thousand random cells by
  proxies, by the pretrained predictor, or by one of another benchmark's labels.
- ``accel``: accuracy and latency on three devices of Accel-NASBench.
- ``overhead``: seconds of asking and telling.

Protocol on NAS-Bench-201: a search sees mean validation accuracies after 200 epochs; after n
evaluations the architecture with the best one counts, by its mean test accuracy. One thread.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import predictor_scores
import torch
from proxy_results import machine
from scipy import stats
from sklearn.linear_model import Ridge as PlainRidge

from archrank.data import space, table
from archrank.metrics import relative_improvement
from archrank.predictors import Sample, samples
from archrank.predictors.features.evidence import AUTO, Evidence, measurements, table_of
from archrank.proxies import get
from archrank.ranking.aggregation import combined
from archrank.search import (
    Hyperband,
    LocalSearch,
    RandomSearch,
    RegularisedEvolution,
    Reinforce,
    Screener,
    Searcher,
    Surrogate,
    assist,
)
from predictors import append, read

FOLDER = Path(__file__).parent / "results"
LINES = FOLDER / "stores" / "search.jsonl"
PAGE = FOLDER / "search.md"
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
    """The architectures that have both, or a fixed random ``most`` of them."""
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
    """What predictors read of each network, once for all runs."""
    cells = space(space_name)
    keys = list(dict.fromkeys(map(cells.canonical, archs)))
    return dict(zip(keys, samples(keys, space=cells), strict=True))


def with_scores(known: Mapping[str, Sample]) -> dict[str, Sample]:
    """The same with the scores of ``predictor_scores.py``."""
    scores = predictor_scores.read()
    return {key: replace(sample, scores=scores[key]) for key, sample in known.items()}


# --- searches -------------------------------------------------------------------------------------

Run = Iterator[str]
"""The architectures that a search evaluates, one after the other."""


def by_strategy(make: Callable[[int], Any], data: Problem, seed: int) -> Run:
    """A search of one at a time."""
    search = make(seed)
    while True:
        arch = search.ask()
        search.tell(arch, data.labels[arch])
        yield arch


def by_ridge(data: Problem, seed: int, batch: int) -> Run:
    """Ridge regression of ranks on the one-hot codes: 10 random ones, then the best unseen."""
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
    """archrank's own, asked for ``batch`` at a time."""
    batch = settings.pop("batch", 5)
    pool = None if "strategy" in settings else list(data.labels)
    searcher = Searcher(data.space, seed=seed, samples=known, pool=pool, **settings)
    while True:
        archs = searcher.ask(batch)
        searcher.tell(archs, [data.labels[arch] for arch in archs])
        yield from archs


def found(data: Problem, run: Run, at: Sequence[int]) -> dict[int, float]:
    """After how many evaluations the truth of the architecture with the best label."""
    best, values = "", {}
    for count, arch in enumerate(run, 1):
        if not best or data.labels[arch] > data.labels[best]:
            best = arch
        if count in at:
            values[count] = data.truth[best]
        if count == max(at):
            break
    return values


# --- running --------------------------------------------------------------------------------------


def todo(part: str, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those runs of a part that are not in the file."""
    done = [{k: v for k, v in line.items() if k in keys[0]} for line in read(LINES)
            if line["part"] == part]  # fmt: skip
    return [key for key in keys if key not in done]


def keep(part: str, key: dict[str, Any], **made: Any) -> None:
    """A finished run as a line."""
    append(LINES, {"part": part, **key, **made})
    print(part, *key.values(), *made.values(), flush=True)


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
    """Where settings were chosen: nothing that is reported otherwise."""
    tasks = ("class_scene", "class_object", "jigsaw", "room_layout", "autoencoder")
    return [
        *(problem(*["transnas101_micro"] * 2, task, task) for task in tasks),
        problem("nasbench_macro", "nas_bench_macro", "cifar10", "cifar10"),
        problem("nats_sss", "nats_sss", "cifar10@90", "cifar10@90", most=8000),
        problem("digits", "digits", "digits", "digits"),
    ]


def settings() -> None:
    """Searches with other settings, and ridge regression beside them."""
    problems = {data.name: data for data in setting_problems()}
    keys = [
        {"problem": data.name, "setting": name, "seed": seed}
        for seed in range(SETTING_SEEDS)
        for data in problems.values()
        for name in ("ridge on codes", *SETTINGS)
        if data.whole or "strategy" not in SETTINGS.get(name, {})
    ]
    for key in todo("settings", keys):
        data, seed, name = problems[key["problem"]], key["seed"], key["setting"]
        if name == "ridge on codes":
            run = by_ridge(data, seed, 10)
        else:
            known = known_samples(data.space, tuple(data.labels))
            run = by_searcher(data, seed, known, **SETTINGS[name])
        reached = found(data, run, (30, 50, 100))
        truth = np.array(list(data.truth.values()))
        better = {count: float((truth > value).mean()) for count, value in reached.items()}
        keep("settings", key, better=better)


DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
SEEDS = {"Searcher": 20, "Searcher, with scores": 20, "Searcher, codes alone": 10}
MANY_SEEDS = 100
FEWEST = 10
"""Of fewer seeds nothing is reported."""
CEILING = {"cifar10": 94.297, "cifar100": 73.480, "ImageNet16-120": 46.444}


@cache
def nasbench201(dataset: str) -> Problem:
    """One data set: validation and test accuracies after 200 epochs."""
    return problem("nasbench201", "nasbench201", f"{dataset}-valid", dataset)


@cache
def nasbench201_early(dataset: str) -> dict[str, float]:
    """Validation accuracies after 12 epochs."""
    return table("nasbench201").labels(f"{dataset}-valid@12").to_dict()


def cells() -> dict[str, Sample]:
    """What predictors read of all cells."""
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


def search_nasbench201() -> None:
    """All searches on all data sets."""
    keys = [
        {"dataset": dataset, "search": name, "seed": seed}
        for name in SEARCHES
        for dataset in DATASETS
        for seed in range(SEEDS.get(name, MANY_SEEDS))
    ]
    for key in todo("nasbench201", keys):
        data = nasbench201(key["dataset"])
        start = time.perf_counter()
        reached = found(data, SEARCHES[key["search"]](data, key["seed"]), AT)
        keep("nasbench201", key, truth=reached, seconds=round(time.perf_counter() - start, 2))


# --- assisted searches ----------------------------------------------------------------------------

K = 10
PAIRS: Mapping[str, Callable[[int], Any]] = {
    "random search": lambda seed: RandomSearch("nasbench201", seed),
    "regularised evolution": lambda seed: RegularisedEvolution("nasbench201", 10, 3, seed),
    "REINFORCE": lambda seed: Reinforce("nasbench201", seed=seed),
    "BOHB": lambda seed: Hyperband("nasbench201", (12, 200), seed=seed),
}


@cache
def proxy_table() -> dict[str, np.ndarray]:
    """Of every cell its scores, larger is better."""
    signs = np.array([get(name).sign for name in AUTO])
    scores = {
        key: np.array([row[name] for name in AUTO]) * signs
        for key, row in predictor_scores.read().items()
    }
    place = space("nasbench201")
    return {arch: scores[place.canonical(arch)] for arch in place}


def by_proxies(archs: Sequence[str]) -> np.ndarray:
    """The mean rank of the proxies of ``proxies="auto"`` among those scored together."""
    return combined(np.array([proxy_table()[arch] for arch in archs]), "mean_rank")


def pair(name: str, data: Problem, early: Mapping[str, float], seed: int, k: int) -> float:
    """The truth of what a search found after 100 evaluations of 200 epochs, or as many epochs."""
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
    """Each search beside itself assisted, from the same seeds."""
    keys = [
        {"dataset": dataset, "search": name, "seed": seed}
        for seed in range(MANY_SEEDS)
        for dataset in DATASETS
        for name in PAIRS
    ]
    for key in todo("assisted", keys):
        data = nasbench201(key["dataset"])
        early = nasbench201_early(key["dataset"])
        plain, helped = (pair(key["search"], data, early, key["seed"], k) for k in (1, K))
        keep("assisted", key, plain=plain, assisted=helped)


def zero() -> None:
    """The best of 1,000 random cells by proxies, and by parameters and FLOPs."""
    keys = [{"dataset": d, "seed": seed} for d in DATASETS for seed in range(MANY_SEEDS)]
    for key in todo("zero", keys):
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
        keep("zero", key, truth={name: truth[arch] for name, arch in made.items()})


def evidence() -> None:
    """The best of 1,000 random cells by the pretrained predictor, on sizes and six proxies.

    It learnt of NAS-Bench-201, too, but without labels only how far it may be trusted depends on
    that, not the order.
    """
    keys = [{"dataset": d, "seed": seed} for d in DATASETS for seed in range(MANY_SEEDS)]
    place, known, scores = space("nasbench201"), cells(), predictor_scores.read()
    rows = {key: measurements(known[key].graph, scores[key]) for key in scores}
    for key in todo("evidence", keys):
        drawn = place.sample(1000, key["seed"])
        table = table_of([rows[place.canonical(arch)] for arch in drawn])
        best = drawn[int(np.argmax(Evidence.of(table).score(table)))]
        keep("evidence", key, truth={"evidence": nasbench201(key["dataset"]).truth[best]})


def transfer() -> None:
    """The best of 1,000 random cells by a predictor of another benchmark's labels."""
    keys = [{"dataset": d, "seed": seed} for d in DATASETS for seed in range(MANY_SEEDS)]
    if not (missing := todo("transfer", keys)):
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
        keep("transfer", key, truth={"transfer": nasbench201(key["dataset"]).truth[best]})


# --- two objectives -------------------------------------------------------------------------------

DEVICES = ("latency_zcu102", "latency_vck190", "throughput_a100")
ACCEL_SEEDS = 10
ACCEL_AT = (50, 100)


@cache
def accel(device: str) -> tuple[Callable[[str], dict[str, float]], np.ndarray, np.ndarray]:
    """An oracle of accuracy and latency of any network of the space, and bounds of both.

    As in Accel-NASBench itself, boosted trees on codes stand for measurements; here they are fitted
    to its 5,125 measured networks. Throughputs become milliseconds for each image.
    """
    import xgboost

    found = table("accel_nasbench")
    place = space("mnasnet")
    frame = found.hardware[device]
    slow = 1000.0 / frame if device.startswith("throughput") else frame
    accuracy = found.labels("imagenet")
    archs = sorted(slow.dropna().index.intersection(accuracy.dropna().index))
    codes = np.array([place.encode(arch) for arch in archs])
    options = {"max_depth": 6, "eta": 0.05, "subsample": 0.8, "nthread": 1, "seed": 0}
    columns = {"accuracy": accuracy.loc[archs], "latency": np.log(slow.loc[archs])}
    models = {
        name: xgboost.train(options, xgboost.DMatrix(codes, column.to_numpy()), 500)
        for name, column in columns.items()
    }

    @cache
    def oracle(arch: str) -> dict[str, float]:
        row = xgboost.DMatrix(place.encode(arch)[None])
        made = {name: float(model.predict(row)[0]) for name, model in models.items()}
        return {"accuracy": made["accuracy"], "latency": float(np.exp(made["latency"]))}

    table_of = np.stack([-accuracy.loc[archs].to_numpy(), slow.loc[archs].to_numpy()], axis=1)
    return oracle, table_of.min(axis=0), table_of.max(axis=0)


def volume(costs: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Hypervolume of (-accuracy, latency), both scaled to [0, 1] by the measured networks."""
    from pymoo.indicators.hv import HV

    scaled = (costs - low) / (high - low)
    return float(HV(ref_point=np.ones(2))(scaled))


def accel_nsga2(device: str, seed: int, most: int) -> np.ndarray:
    """What pymoo's NSGA-II evaluates, by costs."""
    from pymoo.core.problem import Problem as PymooProblem

    from archrank.search import Choices, nsga2
    from archrank.search.asking.fronts import decoded

    oracle = accel(device)[0]
    choices = Choices("mnasnet")

    class Measured(PymooProblem):
        def _evaluate(self, X, out, *args, **kwargs):
            rows = [oracle(arch) for arch in decoded(choices, X)]
            out["F"] = np.array([[-row["accuracy"], row["latency"]] for row in rows])

    asked = Measured(len(choices.counts), 2, xl=0, xu=choices.counts - 1, vtype=int)
    algorithm = nsga2(asked, population=20)
    algorithm.setup(asked, termination=("n_eval", most), seed=seed)
    costs: list[np.ndarray] = []
    while sum(map(len, costs)) < most:
        people = algorithm.ask()
        algorithm.evaluator.eval(asked, people)
        algorithm.tell(infills=people)
        costs.append(people.get("F"))
    return np.concatenate(costs)[:most]


def accel_searcher(device: str, seed: int, most: int) -> np.ndarray:
    """What archrank evaluates: NSGA-II on predictions from codes."""
    oracle = accel(device)[0]
    searcher = Searcher(
        "mnasnet",
        Surrogate(("code",)),
        objectives=("accuracy", "-latency"),
        seed=seed,
        start=20,
        refit=10,
    )
    searcher.run(oracle, most, batch=10)
    return np.array([[-t.values["accuracy"], t.values["latency"]] for t in searcher.trials])


def accel_random(device: str, seed: int, most: int) -> np.ndarray:
    """Random networks."""
    oracle = accel(device)[0]
    rows = [oracle(arch) for arch in space("mnasnet").sample(most, seed)]
    return np.array([[-row["accuracy"], row["latency"]] for row in rows])


ACCEL = {"random": accel_random, "NSGA-II": accel_nsga2, "Searcher": accel_searcher}


def search_accel() -> None:
    """Hypervolumes by device, search and seed."""
    keys = [
        {"device": device, "search": name, "seed": seed}
        for seed in range(ACCEL_SEEDS)
        for device in DEVICES
        for name in ACCEL
    ]
    for key in todo("accel", keys):
        _, low, high = accel(key["device"])
        costs = ACCEL[key["search"]](key["device"], key["seed"], max(ACCEL_AT))
        volumes = {count: volume(costs[:count], low, high) for count in ACCEL_AT}
        keep("accel", key, volume=volumes)


# --- overhead -------------------------------------------------------------------------------------


def overhead() -> None:
    """Seconds of ``ask(10)`` over all 15,625 cells after fitting, and of each of 1,000 tells.

    Asks are in seconds of one core, since other work may share the machine; tells are by the clock.
    """
    data = nasbench201("cifar10")
    warm = Searcher("nasbench201", samples=cells())  # what is read of graphs is read once
    warm.load({arch: data.labels[arch] for arch in list(data.labels)[:20]})
    warm.ask(1)
    for key in todo("overhead", [{"repeat": i} for i in range(5)]):
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
        keep("overhead", key, asks=asks, tells=parts)


# --- the page -------------------------------------------------------------------------------------


def interval(values: Sequence[float], digits: int = 2) -> str:
    """Mean and half the 95 % interval (Student's t) over seeds."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.{digits}f} ± {half:.{digits}f}"


def of(results: Sequence[dict], **key: Any) -> list[dict]:
    """The lines with these entries, by seed."""
    some = [line for line in results if all(line.get(k) == v for k, v in key.items())]
    return sorted(some, key=lambda line: line.get("seed", 0))


def nasbench201_table(results: list[dict]) -> list[str]:
    """Test accuracy of what each search chose, and the gain over a random cell."""
    lines = []
    for dataset in DATASETS:
        truth = np.array(list(nasbench201(dataset).truth.values()))
        lines += [
            "",
            f"### {dataset} (ceiling {CEILING[dataset]:.3f}; a random cell {truth.mean():.2f})",
            "",
            "| search | seeds | " + " | ".join(map(str, AT)) + " | RI at 100, % |",
            "|---|---|" + "---|" * (len(AT) + 1),
        ]
        for name in SEARCHES:
            rows = of(results, part="nasbench201", dataset=dataset, search=name)
            if len(rows) < FEWEST:
                continue
            values = [[row["truth"][str(count)] for row in rows] for count in AT]
            gain = gained(float(np.mean(values[AT.index(100)])), truth)
            figures = " | ".join(interval(column) for column in values)
            lines.append(f"| {name} | {len(rows)} | {figures} | {gain:.2f} |")
    return lines


def gained(value: float, truth: np.ndarray) -> float:
    """Relative improvement over a random architecture of the space, in percent."""
    everything = np.append(truth, value)
    chosen = np.zeros(len(everything))
    chosen[-1] = 1.0
    return relative_improvement(chosen, everything, k=1)


def assisted_table(results: list[dict]) -> list[str]:
    """Each pair and the difference, paired over seeds."""
    lines = [
        "| data set | search | seeds | alone | assisted | gain, paired | RI of assisted, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for dataset in DATASETS:
        truth = np.array(list(nasbench201(dataset).truth.values()))
        for name in PAIRS:
            rows = of(results, part="assisted", dataset=dataset, search=name)
            if len(rows) < FEWEST:
                continue
            plain, helped = ([row[which] for row in rows] for which in ("plain", "assisted"))
            gain = interval(list(np.subtract(helped, plain)))
            lines.append(
                f"| {dataset} | {name} | {len(rows)} | {interval(plain)} | {interval(helped)} | "
                f"{gain} | {gained(float(np.mean(helped)), truth):.2f} |"
            )
    return lines


def zero_table(results: list[dict]) -> list[str]:
    """Test accuracy of the best of 1,000 by each score."""
    lines = ["| chosen by | " + " | ".join(DATASETS) + " |", "|---|" + "---|" * len(DATASETS)]
    names = {
        "evidence": "the pretrained predictor, on sizes and six proxies",
        "auto": "mean rank of six proxies",
        "params": "parameters",
        "flops": "FLOPs",
        "transfer": "`Surrogate` of graphs, fitted to 500 labels of TransNAS-Bench-101 micro",
    }
    for name, title in names.items():
        part = name if name in ("transfer", "evidence") else "zero"
        columns = [
            [row["truth"][name] for row in of(results, part=part, dataset=dataset)]
            for dataset in DATASETS
        ]
        if all(len(column) > 1 for column in columns):
            lines.append(f"| {title} | " + " | ".join(map(interval, columns)) + " |")
    return lines


def accel_table(results: list[dict]) -> list[str]:
    """Hypervolumes after 50 and 100 evaluations."""
    lines = [
        "| device | search | "
        + " | ".join(f"{count} evaluations" for count in ACCEL_AT)
        + " | gain over NSGA-II at 100, paired |",
        "|---|---|" + "---|" * (len(ACCEL_AT) + 1),
    ]
    for device in DEVICES:
        base = {
            row["seed"]: row["volume"]["100"]
            for row in of(results, part="accel", device=device, search="NSGA-II")
        }
        for name in ACCEL:
            rows = of(results, part="accel", device=device, search=name)
            if len(rows) < FEWEST:
                continue
            columns = [[row["volume"][str(count)] for row in rows] for count in ACCEL_AT]
            ahead = [r["volume"]["100"] - base[r["seed"]] for r in rows if r["seed"] in base]
            gain = "-" if name == "NSGA-II" else interval(ahead, 4)
            cells_of = " | ".join(interval(column, 4) for column in columns)
            lines.append(f"| {device} | {name} | {cells_of} | {gain} |")
    return lines


def settings_table(results: list[dict]) -> list[str]:
    """Share of networks better than what was found, geometric mean over problems and seeds.

    Nothing before all of the default's runs are there.
    """
    if len(of(results, part="settings", setting="default")) < SETTING_SEEDS * SETTING_PROBLEMS:
        return []
    lines = [
        "| setting | 30 evaluations | 50 | 100 |",
        "|---|---|---|---|",
    ]
    for name in ("ridge on codes", *SETTINGS):
        rows = of(results, part="settings", setting=name)
        if not rows:
            continue
        figures = [
            100 * float(np.exp(np.mean([np.log(r["better"][count] + 2e-4) for r in rows])))
            for count in ("30", "50", "100")
        ]
        lines.append(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    return lines


def overhead_table(results: list[dict]) -> list[str]:
    """Medians over repeats."""
    rows = of(results, part="overhead")
    if not rows:
        return []
    lines = [
        "| results told | fit, core seconds | `ask(10)` after it, core seconds |",
        "|---|---|---|",
    ]
    for count in ("50", "150", "500", "1000"):
        fit, ask = np.median([row["asks"][count] for row in rows], axis=0)
        lines.append(f"| {count} | {fit:.2f} | {ask:.2f} |")
    first, last = 1000 * np.median([row["tells"] for row in rows], axis=0)
    return [
        *lines,
        "",
        f"`tell` with a state file: {first:.2f} ms each among the first 100, {last:.2f} ms among "
        "the last 100 of 1,000 (medians).",
    ]


def tables() -> str:
    """The page."""
    results = [json.loads(line) for line in dict.fromkeys(map(json.dumps, read(LINES)))]
    sections = [
        (
            "NAS-Bench-201: evaluations and what was found",
            "Mean test accuracy of the architecture with the best mean validation accuracy after "
            "so many evaluations, mean over seeds and 95 % interval. *Searcher*: the defaults "
            "(expected improvement, refit every 5, everything considered); *with scores*: its "
            "samples bring the scores of `predictor_scores.py` (six proxies at initialisation on 8 "
            "CIFAR-10 images, each network once, whatever the data set). RI: gain over a random "
            "cell's accuracy (Yang et al., 2020). No setting was chosen on these labels.",
            nasbench201_table(results),
        ),
        (
            "Assisted by proxies",
            f"`search.draw = assist(search.draw, score, k={K})`, the score the mean rank "
            "of six proxies among the draws. 100 evaluations of 200 epochs each; BOHB, with 12 and "
            "200 epochs, gets as many epochs in all. Test accuracy of the best by validation.",
            assisted_table(results),
        ),
        (
            "Without any label of NAS-Bench-201",
            "The best of 1,000 random cells, 100 samples.",
            zero_table(results),
        ),
        (
            "Accuracy and latency: Accel-NASBench",
            "Hypervolume of (top-1, latency), both scaled by the measured networks to [0, 1], "
            "reference (1, 1). Measurements are boosted trees' predictions (surrogate labels), as "
            "in the benchmark itself. *Searcher*: `Surrogate(('code',))`, NSGA-II of pymoo on its "
            "predictions, 20 random ones, then 10 at a time. *NSGA-II*: pymoo's, population 20, "
            "the same operators. Throughput as milliseconds an image.",
            accel_table(results),
        ),
        (
            "Overhead",
            "NAS-Bench-201, all 15,625 cells as candidates, default predictor; graphs were read "
            "before, which takes about 25 s once.",
            overhead_table(results),
        ),
        (
            "Settings",
            "Where the defaults come from: percent of networks that are better than what was "
            f"found, geometric mean over {SETTING_SEEDS} seeds of five tasks of TransNAS-Bench-101 "
            "micro, NAS-Bench-Macro, 8,000 networks of NATS-Bench's size space and the digits "
            "(0.02 added before the logarithm). Less is better.",
            settings_table(results),
        ),
    ]
    lines = [
        "# Searching with predictors and proxies",
        "",
        f"`python experiments/search.py`, then `--tables`, {datetime.date.today()}. Machine: "
        f"{machine()}, one thread. Seeds from 0.",
    ]
    for title, text, made in sections:
        if not made:
            continue
        lines += ["", f"## {title}", "", text, "", *made]
    return "\n".join(lines) + "\n"


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--tables", action="store_true", help="write the page, search nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.tables:
        for name in arguments.parts or PARTS:
            PARTS[name]()
    PAGE.write_text(tables())


if __name__ == "__main__":
    main()
