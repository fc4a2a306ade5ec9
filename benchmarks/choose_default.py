"""Choose what ``by="auto"`` ranks by, on measured spaces that are not NAS-Bench-201.

Run from the repository, after the runs of ``benchmarks/run_benchmark.py``:
``python benchmarks/choose_default.py``. It writes ``benchmarks/results/default.md``.

Sets of proxies are grown greedily, by mean rank and by log rank. A set is worth its mean Kendall
tau over spaces, less its mean shortfall against the better of params and FLOPs in each space: a
default must not be worse than counting. Tasks of one space are averaged first, so that no space
counts more than another. How far such a choice can be trusted is seen by leaving each space out in
turn: the set chosen on the others, judged on it.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archrank.benchmark.runs import Settings
from archrank.benchmark.store import Store
from archrank.combining import AUTO, combined
from archrank.data import table
from archrank.metrics import kendall
from archrank.proxies import get

FOLDER = Path(__file__).parent / "results"
HELD_OUT = "nasbench201"
BASELINES = ("params", "flops")
SAME_ORDER = ("synflow_log", "az_complexity", "gradsign_excess")
"""Proxies that order networks as another one does: a second vote for it."""
COVERAGE = 0.9  # a default proxy has a value for most networks of every space
LARGEST = 6
AGGREGATORS = ("mean_rank", "log_rank")


@dataclass(frozen=True)
class Problem:
    """Oriented scores (networks, proxies) of one task, and the labels; larger is better."""

    space: str
    task: str
    proxies: list[str]
    scores: np.ndarray
    labels: np.ndarray

    def tau(self, chosen: Sequence[str], aggregator: str) -> float:
        """Kendall's tau of a set; networks that none can score rank last."""
        columns = [self.proxies.index(name) for name in chosen]
        score = combined(self.scores[:, columns], aggregator)
        lowest = np.nanmin(score) - 1 if np.isfinite(score).any() else 0.0
        return kendall(np.where(np.isfinite(score), score, lowest), self.labels)


def problems(paths: Sequence[Path]) -> list[Problem]:
    """Every run of every store, on the scores of its first seed."""
    found = []
    for path in paths:
        with Store(path, writable=False) as store:
            for run, given in store.runs().items():
                settings = Settings(**given)
                frame = store.scores(run, settings.condition)
                frame = frame[frame["seed"] == 0]
                wide = frame.pivot_table(index="arch", columns="proxy", values="value")
                wide = wide.reindex([arch for arch in store.sample(run) if arch in wide.index])
                task = table(settings.table).tasks[settings.task]
                labels = table(settings.table).labels(settings.task)
                signs = [1 if get(name).higher_is_better else -1 for name in wide.columns]
                found.append(
                    Problem(
                        settings.space,
                        settings.task,
                        list(wide.columns),
                        wide.to_numpy(float) * signs,
                        labels.loc[wide.index].to_numpy(float) * task.direction,
                    )
                )
    return found


def usable(several: Sequence[Problem]) -> list[str]:
    """Proxies that have values for most networks of every task."""
    names = set.intersection(*(set(problem.proxies) for problem in several))
    return sorted(
        name
        for name in names - set(SAME_ORDER)
        if all(np.isfinite(p.scores[:, p.proxies.index(name)]).mean() >= COVERAGE for p in several)
    )


def worth(several: Sequence[Problem], chosen: Sequence[str], aggregator: str) -> float:
    """Mean tau over spaces less the mean shortfall against the better of params and FLOPs."""
    taus: dict[str, list[float]] = {}
    shortfalls: dict[str, list[float]] = {}
    for problem in several:
        tau = problem.tau(chosen, aggregator)
        best = max(problem.tau([name], aggregator) for name in BASELINES)
        taus.setdefault(problem.space, []).append(tau)
        shortfalls.setdefault(problem.space, []).append(max(0.0, best - tau))
    means = [np.mean(values) for values in taus.values()]
    return float(np.mean(means) - np.mean([np.mean(v) for v in shortfalls.values()]))


def choose(several: Sequence[Problem]) -> tuple[list[str], str, float]:
    """The set, its aggregator and its worth, grown greedily while it gains."""
    names = usable(several)
    best: tuple[list[str], str, float] = ([], AGGREGATORS[0], -np.inf)
    for aggregator in AGGREGATORS:
        chosen: list[str] = []
        reached = -np.inf
        while len(chosen) < LARGEST:
            gains = {
                name: worth(several, [*chosen, name], aggregator)
                for name in names
                if name not in chosen
            }
            name = max(gains, key=lambda n: gains[n])
            if gains[name] <= reached + 0.002:
                break
            chosen, reached = [*chosen, name], gains[name]
        if reached > best[2]:
            best = (chosen, aggregator, reached)
    return best


def report(several: Sequence[Problem], held_out: Sequence[Problem]) -> str:
    """The choice, each space left out, and NAS-Bench-201, which chose nothing."""
    chosen, aggregator, value = choose(several)
    lines = [
        '# What `by="auto"` ranks by',
        "",
        f"`python benchmarks/choose_default.py`, {datetime.date.today()}. Chosen on "
        f"{', '.join(sorted({p.space for p in several}))}; {HELD_OUT} chose nothing.",
        "",
        f"Chosen: **{', '.join(chosen)}** by {aggregator} (worth {value:.3f}; the set shipped at "
        f"the time of this run, {', '.join(AUTO)} by mean_rank, "
        f"{worth(several, list(AUTO), 'mean_rank'):.3f}).",
        "",
        "| space | task | networks | params | FLOPs | shipped | chosen | chosen without it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for problem in several:
        others = [p for p in several if p.space != problem.space]
        without, how, _ = choose(others)
        lines.append(
            f"| {problem.space} | {problem.task} | {len(problem.labels)} | "
            + " | ".join(f"{problem.tau([n], aggregator):.3f}" for n in BASELINES)
            + f" | {problem.tau(AUTO, 'mean_rank'):.3f} | {problem.tau(chosen, aggregator):.3f} "
            f"| {problem.tau(without, how):.3f} "
            f"({', '.join(without)}; {how}) |"
        )
    for problem in held_out:
        lines.append(
            f"| {problem.space} | {problem.task} | {len(problem.labels)} | "
            + " | ".join(f"{problem.tau([n], aggregator):.3f}" for n in BASELINES)
            + f" | {problem.tau(AUTO, 'mean_rank'):.3f} | {problem.tau(chosen, aggregator):.3f} | |"
        )
    lines += [
        "",
        "Kendall's tau-b; networks that no member can score rank last. A choice on few spaces "
        "carries over badly, as the last column shows: more spaces are being scored.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Choose and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", type=Path, help="default: all in results/stores")
    parser.add_argument("--out", type=Path, default=FOLDER / "default.md")
    arguments = parser.parse_args()
    paths = arguments.stores or sorted((FOLDER / "stores").glob("*.sqlite"))
    everything = problems(paths)
    several = [p for p in everything if p.space != HELD_OUT]
    text = report(several, [p for p in everything if p.space == HELD_OUT])
    arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
