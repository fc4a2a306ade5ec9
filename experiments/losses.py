"""The best settings of losses: their targets, the sizes mixed in a batch, and their slopes.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/losses.py``. The script may be
killed at any moment; started again, it continues where it was. Finished fits are lines of
``experiments/results/stores/losses.jsonl``. ``--tables`` writes ``experiments/results/losses.md``
from the lines and fits nothing.

Protocol: the small graph predictor of the part ``losses`` of ``predictor_ablations.py`` is fitted
on three tasks that no page about losses or neural predictors reports: jigsaw of TransNAS-Bench-101
micro, Once-for-all and digits. It gets 78 labels of each task; the test is a fixed random 500 other
networks. The defaults of ``archrank.predictors.neural.losses.loss`` are the settings with the best
mean over the three tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, measure_and_write

from archrank.data import space, table
from archrank.metrics import kendall
from archrank.predictors import GraphPredictor, Sample, samples
from archrank.predictors.neural.losses import LOSSES

LINES = Lines(STORES / "losses.jsonl")
PAGE = RESULTS / "losses.md"
SEEDS = 3
LABELS, TESTED, DRAWN_FROM = 78, 500, 400
TASKS = {
    "transnas101_micro": ("transnas101_micro", "jigsaw"),
    "ofa_mobilenetv3": ("ofa_mobilenetv3", "imagenet"),
    "digits": ("digits", "digits"),
}
"""Space -> table and task."""
FORMS = ("original", "product", "hard")


@dataclass(frozen=True)
class Setting:
    """A loss, and how it is served."""

    loss: str
    normal_scores: bool = True
    spread: float = math.inf
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name it in lines and tables."""
        said = [self.loss, *(f"{name} {value}" for name, value in self.options.items())]
        said.append("normal scores" if self.normal_scores else "standardised")
        said.append("all sizes" if math.isinf(self.spread) else "similar sizes")
        return ", ".join(said)

    def predictor(self, seed: int) -> GraphPredictor:
        """Make the predictor that learns with it."""
        return GraphPredictor(
            "gin",
            {"width": 32, "layers": 3},
            loss=LOSSES[self.loss](**self.options),
            normal_scores=self.normal_scores,
            training={"spread": self.spread},
            random_state=seed,
        )


def settings() -> list[Setting]:
    """List what is compared: labels and sizes first, then the slope of DiffKendall."""
    found = [
        Setting(loss, spread=spread)
        for loss in ("pairwise_logistic", "list_mle")
        for spread in (0.5, math.inf)
    ]
    for form in FORMS:
        plain = {"form": form}
        if form != "hard":
            found += [Setting("diff_kendall", False, spread, plain) for spread in (0.5, math.inf)]
        found += [Setting("diff_kendall", True, spread, plain) for spread in (0.5, math.inf)]
        for slope, relative in ((2.0, False), (2.0, True), (4.0, True), (8.0, True)):
            steep = {"form": form, "slope": slope, "relative": relative}
            found.append(Setting("diff_kendall", True, math.inf, steep))
    return found


@dataclass(frozen=True)
class Task:
    """Labelled architectures of one family."""

    samples: list[Sample]
    labels: np.ndarray

    @classmethod
    def read(cls, name: str) -> Task:
        """Draw the architectures that are tested, and those that every seed draws labels from."""
        of, task = TASKS[name]
        labels = table(of).labels(task).dropna()
        archs = sorted(labels.index)
        order = np.random.default_rng(0).permutation(len(archs))[: TESTED + DRAWN_FROM]
        drawn = [archs[i] for i in order]
        built_for = task if task in space(name).tasks else None
        read = samples(drawn, space=space(name), task=built_for)
        direction = table(of).tasks[task].direction
        return cls(read, direction * labels.loc[drawn].to_numpy(float))

    def tau(self, setting: Setting, seed: int) -> float:
        """Judge a setting by the tau on what is tested."""
        rest = np.arange(TESTED, len(self.samples))
        known = np.random.default_rng(seed).permutation(rest)[:LABELS]
        predictor = setting.predictor(seed).fit(
            [self.samples[i] for i in known], self.labels[known]
        )
        return kendall(predictor.predict(self.samples[:TESTED]), self.labels[:TESTED])


def measure(seeds: int) -> None:
    """Do the fits that are missing."""
    by_name = {setting.name: setting for setting in settings()}
    for seed in range(seeds):
        for name in TASKS:
            keys = [{"task": name, "seed": seed, "setting": one} for one in by_name]
            todo = LINES.missing(keys)
            if not todo:
                continue
            task = Task.read(name)
            for key in todo:
                LINES.keep(key, tau=task.tau(by_name[key["setting"]], seed))


def tables() -> Sequence[str]:
    """Write the page from the lines."""
    seeds = sorted({line["seed"] for line in LINES.read()})
    lines = [
        "# How losses are served best",
        "",
        f"{made_by('losses.py', '--tables')} Kendall's tau on {TESTED} networks, of a GIN of "
        f"width 32 and three layers fitted to {LABELS} labels for 100 epochs in batches of 32; "
        f"mean and 95 % interval over the seeds {', '.join(map(str, seeds))}. The mean over tasks "
        "of seed 0 chose the defaults of `archrank.predictors.neural.losses.loss`; other seeds "
        "were fitted afterwards. No page about losses or neural predictors reports these tasks.",
        "",
    ]
    rows = []
    for setting in settings():
        mine = LINES.read(setting=setting.name)
        by_task = [[r["tau"] for r in mine if r["task"] == name] for name in TASKS]
        if all(by_task):
            mean = float(np.mean([np.mean(values) for values in by_task]))
            rows.append((setting.name, mean, *map(interval, by_task)))
    rows.sort(key=lambda row: (row[0].split(",")[0], -row[1]))
    shown = [(name, f"{mean:.3f}", *cells) for name, mean, *cells in rows]
    return [*lines, *markdown_table(("setting", "mean", *TASKS), shown)]


def main() -> None:
    measure_and_write(__doc__, PAGE, measure, tables, SEEDS)


if __name__ == "__main__":
    main()
