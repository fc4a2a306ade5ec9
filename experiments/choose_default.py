"""Choose the few proxies that ``proxies="auto"`` computes, without NAS-Bench-201.

Run from the repository, after the runs of ``experiments/run_benchmark.py``: ``python
experiments/choose_default.py``. It writes ``experiments/results/default.md``.

The default is the mean rank of the proxies with the highest mean Kendall tau over spaces. The tasks
of a space are averaged first, so that no space counts more than another. The number of proxies is
decided by leaving out each space in turn: proxies are chosen on the other spaces and judged on this
one. The worth of a number is its mean tau on the spaces left out, less its mean shortfall against
the better of params and FLOPs, because a default must not be worse than counting. A search of all
sets of at most four proxies does worse on the spaces left out; the page shows this.

The shipped set stays until a choice beats it: until the 95 % interval of the mean difference over
spaces (Student's t, paired) lies above zero. NAS-Bench-201 has no part in this comparison either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from common import RESULTS, STORES, made_by, markdown_table, parser, write_page
from scipy import stats

from archrank.data import table
from archrank.metrics import kendall
from archrank.predictors.features.evidence import AUTO
from archrank.proxies import get
from archrank.ranking.aggregation import combined
from archrank.scoring.store import Store
from archrank.scoring.table_runs import Settings

HELD_OUT = "nasbench201"
SHIPPED_FROM = ("digits", "nasbench_macro", "nats_sss")
"""What the shipped set was chosen on: 900, 88 and 118 networks. All other spaces judge it."""
BASELINES = ("params", "flops")
SAME_ORDER = ("synflow_log", "az_complexity", "gradsign_excess", "dss")
"""Proxies that order networks as another one does: a second vote for it."""
COVERAGE = 0.9  # a default proxy has a value for most networks of every space
MOST = 12  # proxies; more cost more than their worth
LARGEST = 4  # set of the search that the choice is compared with
GAIN = 0.002  # that a larger set must bring
FEWEST = 60  # networks of a run that may have a say


@dataclass(frozen=True)
class Problem:
    """Oriented scores (networks, proxies) of one task, and the labels; larger is better."""

    space: str
    task: str
    proxies: list[str]
    scores: np.ndarray
    labels: np.ndarray

    def tau(self, chosen: Sequence[str]) -> float:
        """Compute a set's tau; networks that none can score rank last, 0 if none scores any."""
        columns = [self.proxies.index(name) for name in chosen if name in self.proxies]
        if not np.isfinite(self.scores[:, columns]).any():
            return 0.0
        score = combined(self.scores[:, columns], "mean_rank")
        lowest = np.nanmin(score) - 1 if np.isfinite(score).any() else 0.0
        return kendall(np.where(np.isfinite(score), score, lowest), self.labels)


def problems(paths: Sequence[Path]) -> list[Problem]:
    """Read every run of every store, on the scores of its first seed."""
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
                signs = [get(name).sign for name in wide.columns]
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
    """List proxies that have values for most networks of every task."""
    names = set.intersection(*(set(problem.proxies) for problem in several))
    return sorted(
        name
        for name in names - set(SAME_ORDER)
        if all(np.isfinite(p.scores[:, p.proxies.index(name)]).mean() >= COVERAGE for p in several)
    )


class Taus:
    """Tau of any set in every problem, each computed once."""

    def __init__(self, several: Sequence[Problem]):
        self.several = several
        self.known: dict[tuple[str, ...], np.ndarray] = {}

    def of(self, chosen: Sequence[str]) -> np.ndarray:
        key = tuple(sorted(chosen))
        if key not in self.known:
            self.known[key] = np.array([problem.tau(key) for problem in self.several])
        return self.known[key]


def worth(taus: Taus, chosen: Sequence[str], used: Sequence[int]) -> float:
    """Compute the mean tau over spaces less that by which params or FLOPs are better."""
    found = taus.of(chosen)
    counting = np.maximum.reduce([taus.of([name]) for name in BASELINES])
    by_space: dict[str, list[float]] = {}
    for i in used:
        value = float(found[i] - max(0.0, counting[i] - found[i]))
        by_space.setdefault(taus.several[i].space, []).append(value)
    return float(np.mean([np.mean(values) for values in by_space.values()]))


def best(taus: Taus, used: Sequence[int]) -> list[str]:
    """Order all usable proxies, those of higher mean tau over spaces first."""
    names = usable([taus.several[i] for i in used])
    spaces = sorted({taus.several[i].space for i in used})
    tasks = [[i for i in used if taus.several[i].space == space] for space in spaces]

    def mean(name: str) -> float:
        return float(np.mean([taus.of([name])[some].mean() for some in tasks]))

    return sorted(names, key=lambda name: (-mean(name), name))


def searched(taus: Taus, used: Sequence[int]) -> list[str]:
    """Search the set of greatest worth; a larger one must gain for each further member."""
    pool = [name for name in best(taus, used) if (taus.of([name])[list(used)] > 0).all()]
    chosen: tuple[tuple[str, ...], float] = ((), -np.inf)
    for size in range(1, LARGEST + 1):
        for some in combinations(pool, size):
            value = worth(taus, some, used)
            if value > chosen[1] + GAIN * (size - len(chosen[0])):
                chosen = (some, value)
    return list(chosen[0])


Chooser = Callable[[Taus, Sequence[int]], list[str]]


def left_out(taus: Taus, chooser: Chooser) -> tuple[list[list[str]], float]:
    """Find what is chosen without each task's space, and the worth of it on the spaces left out."""
    everything = range(len(taus.several))
    chosen = []
    values: dict[str, list[float]] = {}
    for i in everything:
        space = taus.several[i].space
        others = [j for j in everything if taus.several[j].space != space]
        chosen.append(chooser(taus, others))
        values.setdefault(space, []).append(worth(taus, chosen[-1], [i]))
    return chosen, float(np.mean([np.mean(some) for some in values.values()]))


def comparison(several: Sequence[Problem], chosen: Sequence[str]) -> str:
    """Say whether the choice beats what is shipped, over spaces."""
    by_space: dict[str, list[float]] = {}
    for problem in several:
        gain = problem.tau(chosen) - problem.tau(AUTO)
        by_space.setdefault(problem.space, []).append(gain)
    gains = np.array([np.mean(some) for some in by_space.values()])
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    outcome = "it replaces the shipped set" if gains.mean() > half else "the shipped set stays"
    return (
        f"The choice is better by {gains.mean():.3f} ± {half:.3f} over {len(gains)} spaces "
        f"(95 % interval): {outcome}."
    )


def report(several: Sequence[Problem], held_out: Sequence[Problem]) -> list[str]:
    """Write the choice, each space left out, and NAS-Bench-201, which chose nothing."""
    taus = Taus(several)
    everything = range(len(several))
    choosers: dict[str, Chooser] = {
        f"the best {k}": lambda taus, used, k=k: best(taus, used)[:k] for k in range(1, MOST + 1)
    }
    judged = {name: left_out(taus, chooser) for name, chooser in choosers.items()}
    winner = max(judged, key=lambda name: judged[name][1])
    chosen, without = choosers[winner](taus, everything), judged[winner][0]
    judged[f"search of all sets of at most {LARGEST}"] = left_out(taus, searched)
    rows = []
    for problem, apart in zip(several, without, strict=True):
        rows.append(_row(problem, chosen, f"{problem.tau(apart):.3f} ({', '.join(apart)})"))
    rows += [_row(problem, chosen, "", " (held out)") for problem in held_out]
    headings = (
        *("space", "task", "networks", *BASELINES, "shipped", "chosen"),
        "chosen without this space",
    )
    worths = [[name, f"{value:.3f}"] for name, (_, value) in judged.items()]
    return [
        '# The few proxies that `proxies="auto"` computes',
        "",
        f"{made_by('choose_default.py')} Chosen on "
        f"{', '.join(sorted({p.space for p in several}))}; {HELD_OUT} chose nothing.",
        "",
        f"Chosen: **{', '.join(chosen)}** by mean rank. Shipped: **{', '.join(AUTO)}**, chosen on "
        f"{', '.join(SHIPPED_FROM)} alone. {comparison(several, chosen)}",
        "",
        *markdown_table(headings, rows),
        "",
        "Kendall's tau-b; networks that no member can score rank last. The last column says how "
        "far such a choice can be trusted in a space that had no part in it.",
        "",
        *markdown_table(("how to choose", "worth on spaces left out"), worths),
        "",
        "Worth: mean tau less the mean shortfall against the better of params and FLOPs, whose own "
        f"is {np.mean([max(p.tau([n]) for n in BASELINES) for p in several]):.3f} where one knows "
        "which of the two is better.",
    ]


def _row(problem: Problem, chosen: Sequence[str], without: str, remark: str = "") -> list[object]:
    """Write what sets are worth in a problem."""
    sets = (*([name] for name in BASELINES), AUTO, chosen)
    taus = [f"{problem.tau(some):.3f}" for some in sets]
    return [f"{problem.space}{remark}", problem.task, len(problem.labels), *taus, without]


def main() -> None:
    """Choose and write the page."""
    options = parser(__doc__)
    options.add_argument("stores", nargs="*", type=Path, help="default: all in results/stores")
    options.add_argument("--out", type=Path, default=RESULTS / "default.md")
    arguments = options.parse_args()
    paths = arguments.stores or sorted(STORES.glob("*.sqlite"))
    everything = problems(paths)
    several = [p for p in everything if p.space != HELD_OUT and len(p.labels) >= FEWEST]
    lines = report(several, [p for p in everything if p.space == HELD_OUT])
    write_page(arguments.out, lines)
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
