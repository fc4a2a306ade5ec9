"""Two objectives for ``search.py``: accuracy and latency on devices of Accel-NASBench."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from search_runs import LINES

from archrank.data import space, table
from archrank.search import Searcher, Surrogate

DEVICES = ("latency_zcu102", "latency_vck190", "throughput_a100")
ACCEL_SEEDS = 10
ACCEL_AT = (50, 100)


@cache
def accel(device: str) -> tuple[Callable[[str], dict[str, float]], np.ndarray, np.ndarray]:
    """Make an oracle of accuracy and latency of any network of the space, and bounds of both.

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
    """Compute the hypervolume of (-accuracy, latency), scaled to [0, 1] by what was measured."""
    from pymoo.indicators.hv import HV

    scaled = (costs - low) / (high - low)
    return float(HV(ref_point=np.ones(2))(scaled))


def accel_nsga2(device: str, seed: int, most: int) -> np.ndarray:
    """Return what pymoo's NSGA-II evaluates, by costs."""
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
    """Return what archrank evaluates: NSGA-II on predictions from codes."""
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
    """Evaluate random networks."""
    oracle = accel(device)[0]
    rows = [oracle(arch) for arch in space("mnasnet").sample(most, seed)]
    return np.array([[-row["accuracy"], row["latency"]] for row in rows])


ACCEL = {"random": accel_random, "NSGA-II": accel_nsga2, "Searcher": accel_searcher}


def search_accel() -> None:
    """Compute hypervolumes by device, search and seed."""
    keys = [
        {"part": "accel", "device": device, "search": name, "seed": seed}
        for seed in range(ACCEL_SEEDS)
        for device in DEVICES
        for name in ACCEL
    ]
    for key in LINES.missing(keys):
        _, low, high = accel(key["device"])
        costs = ACCEL[key["search"]](key["device"], key["seed"], max(ACCEL_AT))
        volumes = {count: volume(costs[:count], low, high) for count in ACCEL_AT}
        LINES.keep(key, volume=volumes)
