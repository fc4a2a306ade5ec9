"""The page of ``search.py``, from the lines of finished runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import interval, made_by, markdown_table
from search_accel import ACCEL, ACCEL_AT, DEVICES
from search_runs import (
    AT,
    DATASETS,
    LINES,
    PAIRS,
    SEARCHES,
    SETTING_PROBLEMS,
    SETTING_SEEDS,
    SETTINGS,
    K,
    nasbench201,
)

from archrank.metrics import relative_improvement

CEILING = {"cifar10": 94.297, "cifar100": 73.480, "ImageNet16-120": 46.444}
FEWEST = 10
"""Of fewer seeds nothing is reported."""


def of(results: Sequence[dict], **key: Any) -> list[dict]:
    """Choose the lines with these entries, by seed."""
    some = [line for line in results if all(line.get(k) == v for k, v in key.items())]
    return sorted(some, key=lambda line: line.get("seed", 0))


def nasbench201_table(results: list[dict]) -> list[str]:
    """Tabulate test accuracy of what each search chose, and the gain over a random cell."""
    lines = []
    for dataset in DATASETS:
        truth = np.array(list(nasbench201(dataset).truth.values()))
        rows = []
        for name in SEARCHES:
            mine = of(results, part="nasbench201", dataset=dataset, search=name)
            if len(mine) < FEWEST:
                continue
            values = [[line["truth"][str(count)] for line in mine] for count in AT]
            gain = gained(float(np.mean(values[AT.index(100)])), truth)
            figures = [interval(column, 2) for column in values]
            rows.append([name, len(mine), *figures, f"{gain:.2f}"])
        lines += [
            "",
            f"### {dataset} (ceiling {CEILING[dataset]:.3f}; a random cell {truth.mean():.2f})",
            "",
            *markdown_table(("search", "seeds", *AT, "RI at 100, %"), rows),
        ]
    return lines


def gained(value: float, truth: np.ndarray) -> float:
    """Compute the relative improvement over a random architecture of the space, in percent."""
    everything = np.append(truth, value)
    chosen = np.zeros(len(everything))
    chosen[-1] = 1.0
    return relative_improvement(chosen, everything, k=1)


def assisted_table(results: list[dict]) -> list[str]:
    """Tabulate each pair and the difference, paired over seeds."""
    rows = []
    for dataset in DATASETS:
        truth = np.array(list(nasbench201(dataset).truth.values()))
        for name in PAIRS:
            mine = of(results, part="assisted", dataset=dataset, search=name)
            if len(mine) < FEWEST:
                continue
            plain, helped = ([line[which] for line in mine] for which in ("plain", "assisted"))
            columns = (plain, helped, list(np.subtract(helped, plain)))
            gain = gained(float(np.mean(helped)), truth)
            figures = [interval(column, 2) for column in columns]
            rows.append([dataset, name, len(mine), *figures, f"{gain:.2f}"])
    headings = (
        *("data set", "search", "seeds", "alone", "assisted", "gain, paired"),
        "RI of assisted, %",
    )
    return markdown_table(headings, rows)


def zero_table(results: list[dict]) -> list[str]:
    """Tabulate test accuracy of the best of 1,000 by each score."""
    names = {
        "evidence": "the pretrained predictor, on sizes and six proxies",
        "auto": "mean rank of six proxies",
        "params": "parameters",
        "flops": "FLOPs",
        "transfer": "`Surrogate` of graphs, fitted to 500 labels of TransNAS-Bench-101 micro",
    }
    rows = []
    for name, title in names.items():
        part = name if name in ("transfer", "evidence") else "zero"
        columns = [
            [line["truth"][name] for line in of(results, part=part, dataset=dataset)]
            for dataset in DATASETS
        ]
        if all(len(column) > 1 for column in columns):
            rows.append([title, *(interval(column, 2) for column in columns)])
    return markdown_table(("chosen by", *DATASETS), rows)


def accel_table(results: list[dict]) -> list[str]:
    """Tabulate hypervolumes after 50 and 100 evaluations."""
    rows = []
    for device in DEVICES:
        base = {
            line["seed"]: line["volume"]["100"]
            for line in of(results, part="accel", device=device, search="NSGA-II")
        }
        for name in ACCEL:
            mine = of(results, part="accel", device=device, search=name)
            if len(mine) < FEWEST:
                continue
            columns = [[line["volume"][str(count)] for line in mine] for count in ACCEL_AT]
            ahead = [r["volume"]["100"] - base[r["seed"]] for r in mine if r["seed"] in base]
            gain = "-" if name == "NSGA-II" else interval(ahead, 4)
            rows.append([device, name, *(interval(column, 4) for column in columns), gain])
    headings = (
        *("device", "search"),
        *(f"{count} evaluations" for count in ACCEL_AT),
        "gain over NSGA-II at 100, paired",
    )
    return markdown_table(headings, rows)


def settings_table(results: list[dict]) -> list[str]:
    """Tabulate the share better than what was found, geometric mean over problems and seeds.

    Nothing before all of the default's runs are there.
    """
    if len(of(results, part="settings", setting="default")) < SETTING_SEEDS * SETTING_PROBLEMS:
        return []
    rows = []
    for name in ("ridge on codes", *SETTINGS):
        mine = of(results, part="settings", setting=name)
        if not mine:
            continue
        figures = [
            100 * float(np.exp(np.mean([np.log(line["better"][count] + 2e-4) for line in mine])))
            for count in ("30", "50", "100")
        ]
        rows.append([name, *(f"{figure:.3f}" for figure in figures)])
    return markdown_table(("setting", "30 evaluations", "50", "100"), rows)


def overhead_table(results: list[dict]) -> list[str]:
    """Tabulate medians over repeats."""
    mine = of(results, part="overhead")
    if not mine:
        return []
    rows = []
    for count in ("50", "150", "500", "1000"):
        fit, ask = np.median([line["asks"][count] for line in mine], axis=0)
        rows.append([count, f"{fit:.2f}", f"{ask:.2f}"])
    first, last = 1000 * np.median([line["tells"] for line in mine], axis=0)
    headings = ("results told", "fit, core seconds", "`ask(10)` after it, core seconds")
    return [
        *markdown_table(headings, rows),
        "",
        f"`tell` with a state file: {first:.2f} ms each among the first 100, {last:.2f} ms among "
        "the last 100 of 1,000 (medians).",
    ]


def tables() -> list[str]:
    """Write the page from the lines."""
    # Two processes that did the same work wrote the same line.
    results = [json.loads(line) for line in dict.fromkeys(map(json.dumps, LINES.read()))]
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
        f"{made_by('search.py', '--tables', also='one thread')} Seeds from 0.",
    ]
    for title, text, made in sections:
        if not made:
            continue
        lines += ["", f"## {title}", "", text, "", *made]
    return lines
