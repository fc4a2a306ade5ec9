"""The families that ``transfer.py`` ranks, and the training data for each."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace

import numpy as np
from common import STORES, Lines
from predictor_scores import read as read_small_scores

from archrank.data import space, table
from archrank.predictors import Family, Reference, Sample, samples
from archrank.predictors.features.evidence import measurements, table_of
from archrank.predictors.pretrained.family_sources import SOURCES, Source, source, unrelated
from archrank.predictors.pretrained.transfer_recipe import family_of, reference_of

LINES = Lines(STORES / "transfer.jsonl")
SCORES = STORES / "pretraining"
COUNTS = (10, 20, 50)
SEEDS = 5
CELLS = 2000  # of NAS-Bench-201 that predictors are tested on


@dataclass(frozen=True)
class Pool:
    """Architectures of a family that are ranked.

    Attributes:
        family: which is left out, with its relatives; None where no family is like it.
        samples, tasks, labels: labels (tasks, samples), larger is better.
        whole: the measurements and labels that zero-shot is judged on, if not these.
    """

    family: str | None
    samples: list[Sample]
    tasks: tuple[str, ...]
    labels: np.ndarray
    whole: tuple[np.ndarray, np.ndarray] | None = None


JUDGED = {
    "nasbench101_10k": (
        "nasbench101",
        Source("nasbench101_10k", "nasbench101", "nasbench101_10k", ("cifar10",), 100),
    ),
    "graphgym, cora": (
        None,
        Source("graphgym_cora", "graphgym", "graphgym", ("cora",), data="random"),
    ),
    "graphgym, enzymes": (
        None,
        Source("graphgym_enzymes", "graphgym", "graphgym", ("enzymes",), data="random"),
    ),
}
"""Pools that nothing was learnt or chosen by: whose family is left out, and the networks."""
EVERY_DARTS = "nasbench301, all 725"
EXTRA = ("nasbench201, every cell", "nasbench201, without none", EVERY_DARTS)
POOLS = (*(one.family for one in SOURCES), *JUDGED, *EXTRA)


def pool_of(name: str) -> Pool:
    """Read a pool."""
    if name in JUDGED:
        left_out, one = JUDGED[name]
        family = family_of(one, SCORES)
        return Pool(left_out, list(family.samples), one.tasks, family.labels)
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
    """Read it with published scores, to learn from: no scale of ours is for their conditions."""
    one, measured = source("nasbench301"), table("nasbench301")
    labels = measured.labels(one.tasks[0]).dropna()
    archs = sorted(labels.index)
    columns = {f"published {name}": f"cifar10/{name}" for name in ("nwot", "synflow")}
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
        self.learnt: dict[str | None, tuple[Reference, float]] = {}

    def of(self, name: str) -> Family:
        if name not in self.read:
            self.read[name] = family_of(source(name), SCORES)
        return self.read[name]

    def without(self, name: str | None) -> tuple[Reference, float]:
        """Learn from unrelated families (None: from all), and say the seconds that it took."""
        if name not in self.learnt:
            several = [self.of(o.family) for o in (unrelated(name) if name else SOURCES)]
            start = time.perf_counter()
            self.learnt[name] = reference_of(several), time.perf_counter() - start
        return self.learnt[name]
