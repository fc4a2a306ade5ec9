"""Synthetic stores, as a run of the benchmark would leave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from archrank.data import table
from archrank.proxies.scores import Result
from archrank.scoring.store import Store
from archrank.scoring.table_runs import Settings, sample_of

Fill = Callable[[str, int, int], "float | str"]
"""(proxy, architecture's position, seed) -> value, or the reason why there is none."""

COUNT = 80
LOWER = "ntk_condition"  # a proxy of which smaller is better
NAMES = ("params", "flops", "snip", "zen", LOWER)
HOSTILE = '<script>alert("x")</script> & a|b `c`'


def settings(sample_seed: int = 0, count: int = COUNT) -> Settings:
    return Settings("digits", "digits", "digits", count, sample_seed, 8, "random", None)


def labels(chosen: Settings) -> np.ndarray:
    return table("digits").labels("digits").loc[sample_of(chosen)].to_numpy()


def plausible(chosen: Settings) -> Fill:
    """Scores that follow the labels more or less; ``plain`` fails on every fifth network."""
    truth = labels(chosen)
    noise = np.random.default_rng(5).normal(size=(len(truth), 16, 3)) * 20
    weight = {"params": 0.5, "flops": 0.5, "snip": 1.0, "zen": 0.1, LOWER: -1.0}

    def fill(proxy: str, at: int, seed: int) -> float | str:
        if proxy == "plain" and at % 5 == 0:
            return HOSTILE
        column = len(proxy) % 16
        sizes = proxy in ("params", "flops")
        return weight.get(proxy, 1.0) * truth[at] + noise[at, column, 0 if sizes else seed]

    return fill


def write(
    path: Path,
    fill: Fill,
    *,
    names: tuple[str, ...] = NAMES,
    seeds: int = 2,
    chosen: Settings | None = None,
    backwards: bool = False,
    stored: dict | None = None,
) -> Path:
    """Write a store as a run of the benchmark would leave it; seconds and memory are fixed."""
    chosen = chosen or settings()
    sample = sample_of(chosen)
    work = [(at, seed) for at in range(len(sample)) for seed in range(seeds)]
    with Store(path) as store:
        store.begin(stored or asdict(chosen), "digits", sample)
        for at, seed in reversed(work) if backwards else work:
            rows = []
            for index, name in enumerate(names):
                value = fill(name, at, seed)
                failed = isinstance(value, str)
                rows.append(
                    Result(
                        name,
                        1,
                        None if failed else float(value),
                        "error" if failed else "ok",
                        value if failed else None,
                        0.01 * 4**index,
                        1000 * (index + 1),
                    )
                )
            store.add(chosen.condition, "digits", sample[at], seed, rows)
    return path
