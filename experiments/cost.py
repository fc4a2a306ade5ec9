"""Predicted latency and energy against measured ones, on new devices and on known ones.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/cost.py``. The script may be
killed at any moment; started again, it continues where it was. Finished fits are lines of
``experiments/results/stores/cost.jsonl``. At the end the script writes
``experiments/results/cost.md``. ``--tables`` writes the page alone.

New devices are learned from few measurements, known devices from a hundred.

Transfer: the devices are those of HELP (ND, FD) and NASFLAT (F1-F4, FA). For each seed, 900
(NAS-Bench-201) or 800 (FBNet) random networks are known on every source device, and other random
ones on each target device. The test is all networks that were not measured on the target. Settings
(levels, prior, draws) were chosen on HELP's validation devices, on source devices in the place of
targets, and on FBNet devices that are no task's target, but never on a reported target device.
Which operators compilers leave out (``inventory``) was settled by looking at all cells on the Pixel
3, the Raspberry Pi, the edge GPU and the edge TPU of HW-NAS-Bench, mostly at their latencies of
networks for CIFAR-100; those for CIFAR-10 are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, measure_and_write
from measured_costs import ENERGY, SAMPLED, SINGLE, SOME, Measured, measured
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import archrank
from archrank.costs import CostPredictor, OperatorTable
from archrank.data import table
from archrank.metrics import spearman

LINES, PAGE = Lines(STORES / "cost.jsonl"), RESULTS / "cost.md"
SEEDS = 5
COUNTS, AIMED = (10, 20, 50), 20
MANY, MOST = 100, 1600

GPUS = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
_HELP = "silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"


@dataclass(frozen=True)
class Task:
    """Source and target devices of a published split, and what was published for 20 samples."""

    space: str
    sources: str
    targets: str
    aim: float
    published: str

    @property
    def known(self) -> int:
        """Measured networks per source device."""
        return 900 if self.space == "nasbench201" else 800


TASKS = {
    "ND": Task(
        "nasbench201",
        f"1080ti_1 1080ti_32 1080ti_256 {_HELP}",
        "titan_rtx_256 gold_6226 fpga pixel2 raspi4 eyeriss",
        *(0.965, "NASFLAT .959, MultiPredict .930, HELP (10) .949"),
    ),
    "FD": Task(
        "fbnet",
        f"1080ti_1 1080ti_32 1080ti_64 {_HELP}",
        "fpga raspi4 eyeriss",
        *(0.970, "NASFLAT .961, MultiPredict .960, HELP (10) .910"),
    ),
    "F1": Task(
        "fbnet",
        "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
        "eyeriss fpga raspi4 samsung_a50 samsung_s7",
        *(float("nan"), "NASFLAT .809, MultiPredict .757, HELP (10) .794"),
    ),
    "F2": Task(
        "fbnet",
        "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
        "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
        *(0.88, "NASFLAT .871, MultiPredict .567, HELP (10) .544"),
    ),
    "F3": Task(
        "fbnet",
        "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
        "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
        *(0.83, "NASFLAT .814, MultiPredict .435, HELP (10) .414"),
    ),
    "F4": Task(
        "fbnet",
        "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r titan_rtx_1 "
        "titan_rtx_32",
        "1080ti_1 pixel2 essential_ph_1",
        *(float("nan"), "NASFLAT .734, MultiPredict .764, HELP (10) .799"),
    ),
    "FA": Task(
        "fbnet",
        " ".join(f"{gpu}_{batch}" for gpu in GPUS for batch in (1, 32, 64)),
        "gold_6226 essential_ph_1 samsung_s7 pixel2",
        *(float("nan"), "NASFLAT .577, MultiPredict .470, HELP (10) .407"),
    ),
}
METHODS = {
    "CostPredictor, adapted": "`CostPredictor`, sources and few samples",
    "CostPredictor, alone": "`CostPredictor`, few samples alone",
    "linear, predicted sources": "ridge on predicted source costs and FLOPs",
    "linear, true sources": "ridge on measured source costs",
    "table": "`OperatorTable`, few samples alone",
    "one-hot": "ridge on codes, few samples alone",
    "flops": "FLOPs",
    "params": "parameters",
}
CEILING, ALONE = "CostPredictor, many", ", few samples alone"
QUADRATIC, TREES, AGAIN = "quadratic, many", "trees, many", "measured again"
BOUNDS = {
    CEILING: f"`CostPredictor`, {MOST:,} measurements",
    QUADRATIC: f"ridge on codes and their products, {MOST:,}",
    TREES: f"randomised trees on codes, {MOST:,}",
    AGAIN: "same networks for CIFAR-100, measured",
}
"""What says how well costs can be predicted at all."""


def ridge(table_: np.ndarray, costs: np.ndarray, rows: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Predict logarithms of costs by ridge regression, its penalty by leave-one-out."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    return model.fit(table_[rows], np.log(costs[rows])).predict(table_[asked])


def transfer(name: str, counts: tuple[int, ...], seed: int, done: set) -> Iterator[dict]:
    """Judge every target and method of a task and these counts that is not done yet."""
    task = TASKS[name]
    sources, targets = task.sources.split(), task.targets.split()
    todo = [
        (target, count, method)
        for target in targets
        for count in counts
        for method in METHODS
        if (name, target, count, seed, method) not in done
    ]
    if not todo:
        return
    data = measured(task.space)
    everything = np.arange(len(data.samples))
    known = np.random.default_rng(seed).permutation(everything)[: task.known]
    taught, labels, predicted = [], [], []
    for number, device in enumerate(sources):
        costs = data.costs[device]
        rows = known[np.isfinite(costs[known])]
        taught += [replace(s, context=(float(number),)) for s in data.samples[rows]]
        labels += costs[rows].tolist()
        predicted.append(ridge(data.codes, costs, rows, everything))
    shared = CostPredictor().fit(taught, labels)
    tables = {
        "linear, predicted sources": np.column_stack([*predicted, data.sizes[:, 0]]),
        "linear, true sources": np.log(np.column_stack([data.costs[d] for d in sources])),
        "one-hot": data.codes,
    }
    for target, count, method in todo:
        costs = data.costs[target]
        draw = np.random.default_rng([seed, targets.index(target)])
        order = draw.permutation(np.flatnonzero(np.isfinite(costs)))
        rows, asked = order[:count], order[count:]
        given = data.samples[rows].tolist(), costs[rows]
        if method == "CostPredictor, adapted":
            values = shared.adapt(*given).predict(data.samples[asked].tolist())
        elif method == "linear, true sources":
            whole = np.isfinite(tables[method]).all(axis=1)
            rows, asked = rows[whole[rows]], asked[whole[asked]]
            values = ridge(tables[method], costs, rows, asked)
        elif method in tables:
            values = ridge(tables[method], costs, rows, asked)
        else:
            values = alone(method, data, costs, rows, asked)
        result = {"task": name, "device": target, "count": count, "seed": seed, "method": method}
        yield {**result, "rho": spearman(values, costs[asked])}


def alone(
    method: str, data: Measured, costs: np.ndarray, rows: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """Predict what measurements of one device say of others on it, without any other device."""
    if method in ("flops", "params"):
        return data.sizes[asked, ("flops", "params").index(method)]
    if method == "one-hot":
        return ridge(data.codes, costs, rows, asked)
    if method == QUADRATIC:
        return ridge(PolynomialFeatures(2).fit_transform(data.codes), costs, rows, asked)
    if method == TREES:
        forest = ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0)
        return forest.fit(data.codes[rows], np.log(costs[rows])).predict(data.codes[asked])
    predictors: dict[str, Callable[[], archrank.predictors.Predictor]] = {
        "CostPredictor, alone": CostPredictor,
        CEILING: CostPredictor,
        "table": OperatorTable,
    }
    fitted = predictors[method]().fit(data.samples[rows].tolist(), costs[rows])
    return fitted.predict(data.samples[asked].tolist())


def single(name: str, seed: int, done: set) -> Iterator[dict]:
    """Judge devices of a table, each from a hundred measurements."""
    devices = (*SINGLE[name], *(ENERGY if name == "nasbench201" else ()))
    methods = ["CostPredictor, alone", "table", "one-hot", "flops", "params", CEILING]
    if name in SAMPLED:
        methods.remove(CEILING)
    if name == "hat":  # without networks there are no operators, and our sizes are one
        methods = ["CostPredictor, alone", "one-hot", "flops", CEILING, QUADRATIC, TREES]
    if name == "nasbench201":
        yield from measured_again(devices, done)
    for device in devices:
        for method in methods:
            count = MOST if method in BOUNDS else MANY
            if (name, device, count, seed, method) in done:
                continue
            data = measured(name)
            costs = data.costs[device]
            draw = np.random.default_rng([seed, devices.index(device)])
            order = draw.permutation(np.flatnonzero(np.isfinite(costs)))
            values = alone(method, data, costs, order[:count], order[count:])
            result = {"task": name, "device": device, "count": count, "seed": seed}
            yield {**result, "method": method, "rho": spearman(values, costs[order[count:]])}


def measured_again(devices: tuple[str, ...], done: set) -> Iterator[dict]:
    """Compare costs of networks for CIFAR-10 with those of the same networks for CIFAR-100."""
    task, found = "nasbench201", table("nasbench201").hardware
    for device in devices:
        if (task, device, MOST, 0, AGAIN) not in done:
            both = found[[device, f"{device}0"]].to_numpy()
            rho = spearman(*both[(both > 0).all(axis=1)].T)
            result = {"task": task, "device": device, "count": MOST, "seed": 0, "method": AGAIN}
            yield {**result, "rho": rho}


def run() -> None:
    """Do everything that is not in the file yet: what has an aim first."""
    done = {(r["task"], r["device"], r["count"], r["seed"], r["method"]) for r in LINES.read()}
    later = tuple(count for count in COUNTS if count != AIMED)
    rounds = [(name, (), seed) for name in ("hat", *SAMPLED) for seed in range(SEEDS)]
    for seed in range(SEEDS):
        rounds += [(name, (AIMED,), seed) for name in ("nasbench201", *TASKS)]
    rounds += [(name, later, seed) for seed in range(SEEDS) for name in TASKS]
    for name, counts, seed in rounds:
        made = single(name, seed, done) if name in SINGLE else transfer(name, counts, seed, done)
        for result in made:
            LINES.append(result)
        print(name, counts, seed, flush=True)


def mean_of(results: list[dict], method: str, **where: object) -> str:
    """Write the mean over devices and seeds, interval over seeds."""
    rows = [
        r for r in results if r["method"] == method and all(r[key] == v for key, v in where.items())
    ]
    seeds = sorted({r["seed"] for r in rows})
    values = [float(np.mean([r["rho"] for r in rows if r["seed"] == seed])) for seed in seeds]
    if method in ("flops", "params", AGAIN) and values:
        return f"{np.mean(values):.3f}"  # nothing is drawn but who is tested
    return interval(values) if values else "-"


KNOWN = {
    "nasbench201": (
        "NAS-Bench-201 on the devices of HW-NAS-Bench",
        "Networks for CIFAR-10. Aim for latency: .99. Measurements repeat as the last column says: "
        "the same networks, but for the last layer, were measured for CIFAR-100. If both err "
        "alike, nothing that predicts one reaches more than the root of this.",
    ),
    "hat": (
        "HAT's translation transformers",
        "The table holds averages over layers, from which no network can be built: predictors "
        "read these ten numbers and the sums over layers that follow from them; FLOPs are "
        "multiply-adds of these sums, per token. Total: encoder and decoder. Encoders have six "
        "layers, always; on a GPU their latency hardly depends on anything. Aim: .98. What "
        f"averages hide cannot be predicted from them: with {MOST:,} measurements, models of other "
        "kinds reach no more than the linear one.",
    ),
    "gpt": (
        "Language models of HW-GPT-Bench",
        f"{SOME:,} random ones of 10,000. Energy: kWh of one forward, measured.",
    ),
    "ec_nas": (
        "NAS-Bench-101's cells of EC-NAS",
        f"{SOME:,} random ones of 2,532. Energy: kWh of four epochs of training. Carbon is "
        "this energy times what the grid emits at the hour, which no network says: in the "
        "table it is from 44 to 201 g/kWh.",
    ),
}
"""Devices known from many measurements: task -> title and note of its table."""


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    lines = [
        "# Costs: new devices from few measurements, and devices known from a hundred",
        "",
        f"{made_by('cost.py')} Spearman's "
        "correlation with the measured cost, mean over target devices; "
        f"{_seeds(results)} seeds, 95 % interval of the mean over seeds. Tested on all networks "
        "that were not measured on the target. Settings were chosen on HELP's validation devices, "
        "on sources in the place of targets and on FBNet devices that are no task's target; what "
        "compilers leave out was settled looking at HW-NAS-Bench's Pixel 3, Raspberry Pi, edge GPU "
        "and edge TPU, mostly at networks for CIFAR-100.",
        "",
        "## New devices",
        "",
        "Source devices know 900 (ND, NAS-Bench-201) or 800 (FBNet) random networks each. "
        "Published figures are of 20 samples unless said otherwise, some chosen by a sampler; ours "
        "are random.",
    ]
    of_task = {name: [r for r in results if r["task"] == name] for name in (*TASKS, *KNOWN)}
    for name in TASKS:
        if of_task[name]:
            lines += _new_devices(name, of_task[name])
    lines += ["", f"## Devices known from {MANY} measurements"]
    for name in KNOWN:
        lines += _known_devices(name, of_task[name])
    return lines


def _new_devices(name: str, results: list[dict]) -> list[str]:
    """Tabulate methods by the number of samples of a new device."""
    task = TASKS[name]
    aim = "" if np.isnan(task.aim) else f" Aim at 20: {task.aim:.3f}."
    sources, targets = (f"`{ds.replace(' ', '`, `')}`" for ds in (task.sources, task.targets))
    rows = [
        [title, *(mean_of(results, method, count=count) for count in COUNTS)]
        for method, title in METHODS.items()
    ]
    each = "; ".join(
        f"`{d}` {mean_of(results, 'CostPredictor, adapted', count=20, device=d)}"
        for d in task.targets.split()
    )
    return [
        *("", f"### {name}: {task.space}", ""),
        f"From {sources} to {targets}. Published: {task.published}.{aim}",
        "",
        *markdown_table(["method", *(f"{count} samples" for count in COUNTS)], rows, numbers=True),
        *("", "Each target at 20 samples, `CostPredictor`, sources and few samples:", ""),
        f"{each}.",
    ]


def _known_devices(name: str, results: list[dict]) -> list[str]:
    """Tabulate methods on devices with many measurements, each and by group."""
    title, note = KNOWN[name]
    titles = {**METHODS, **BOUNDS}
    methods = [m for m in titles if any(r["method"] == m for r in results)]
    rows = []
    for group, devices in _groups(name).items():
        own = [r for r in results if r["device"] in devices]
        rows.append([f"**{group}**", *(mean_of(own, m) for m in methods)])
        for device in devices:
            rows.append([f"`{device}`", *(mean_of(results, m, device=device) for m in methods)])
    headings = ["cost", *(titles[m].removesuffix(ALONE) for m in methods)]
    again = [r["rho"] for r in results if r["method"] == AGAIN and r["device"] not in ENERGY]
    if again:
        note += f" In the mean of latencies it is {np.mean(np.sqrt(again)):.3f}."
    return ["", f"### {title}", "", note, "", *markdown_table(headings, rows, numbers=True)]


def _groups(name: str) -> dict[str, Sequence[str]]:
    """Return the costs of a task by the group whose mean is told."""
    if name == "hat":
        parts = ("total", "decoder", "encoder")
        return {f"mean of {part}": [d for d in SINGLE[name] if part in d] for part in parts}
    if name in SAMPLED:
        energies = [cost for cost in SINGLE[name] if cost.startswith("energy")]
        times = [cost for cost in SINGLE[name] if cost not in energies]
        return {"mean of energies": energies, "mean of times": times}
    return {"mean of latencies": SINGLE[name], "mean of energies": ENERGY}


def _seeds(results: list[dict]) -> str:
    """Say how many seeds every figure has, or the fewest and the most."""
    figures: dict[tuple, set[int]] = {}
    for r in results:
        if r["method"] != AGAIN:
            figures.setdefault((r["task"], r["count"], r["method"]), set()).add(r["seed"])
    counts = {len(seeds) for seeds in figures.values()}
    return "no" if not counts else " to ".join(map(str, sorted({min(counts), max(counts)})))


def main() -> None:
    """Measure what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, run, tables)


if __name__ == "__main__":
    main()
