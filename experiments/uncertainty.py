"""Whether predicted intervals and probabilities are calibrated.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/uncertainty.py``. The script may
be killed at any moment; started again, it continues where it was. Finished fits are lines of
``experiments/results/stores/uncertainty.jsonl``. At the end the script writes
``experiments/results/uncertainty.md`` and ``uncertainty.svg``. ``--tables`` writes these alone.

Protocol: labelled and tested architectures are those of ``experiments/predictors.py``, but only
1,000 of them are tested. Coverage counts only architectures that are not equal to a labelled one.
Pairs are random pairs of tested architectures with different labels. ``ArchRank`` is compared with
five networks on codes and their raw spread, which is what papers often report. No setting was
chosen on test labels.
"""

from __future__ import annotations

import numpy as np
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, measure_and_write
from scipy import stats

from archrank.predictors import MLP, ArchRank
from predictors import PROBLEMS, Pool, pool_of

LINES, PAGE = Lines(STORES / "uncertainty.jsonl"), RESULTS / "uncertainty.md"
SPACES = ("nasbench201", "nasbench_macro", "accel_nasbench")
COUNTS, SEEDS, TESTED, PAIRS = (78, 469), 5, 1000, 4000
NOW, EARLIER = "ArchRank", "ArchRank, earlier"
COVERAGES = (0.5, 0.8, 0.9)
DECILES = (0.5, 0.6, 0.7, 0.8, 0.9)
NAMES = {
    "interval": "`ArchRank.interval`",
    "deviation": "`ArchRank`, mean and deviation as a normal's",
    "networks": "five networks on codes, raw spread",
}


def measure(pool: Pool, count: int, seed: int) -> dict:
    """Measure coverage and median width of intervals, and how often pairs are as said."""
    labelled, tested = pool.split(count, seed)
    tested = tested[:TESTED]
    taught, labels = [pool.plain[i] for i in labelled], pool.labels[labelled]
    asked, truth = [pool.plain[i] for i in tested], pool.labels[tested]
    new = ~np.isin(pool.canonical[tested], pool.canonical[labelled])
    predictor = ArchRank(random_state=seed).fit(taught, labels)
    mean, std = predictor.predict(asked, return_std=True)
    networks = MLP(("code",), random_state=seed).fit(taught, labels)
    raw_mean, raw_std = networks.predict(asked, return_std=True)
    intervals = {"interval": {}, "deviation": {}, "networks": {}}
    for coverage in COVERAGES:
        side = stats.norm.ppf(0.5 + coverage / 2)
        intervals["interval"][coverage] = predictor.interval(asked, coverage)
        intervals["deviation"][coverage] = (mean - side * std, mean + side * std)
        intervals["networks"][coverage] = (raw_mean - side * raw_std, raw_mean + side * raw_std)
    made: dict[str, dict] = {}
    for name, several in intervals.items():
        made[name] = {}
        for coverage, (low, high) in several.items():
            within = (low <= truth) & (truth <= high)
            made[name][f"covered {coverage}"] = float(within[new].mean())
            made[name][f"width {coverage}"] = float(np.median(high - low))
    first, second = np.random.default_rng(seed).integers(0, len(tested), (2, PAIRS))
    apart = truth[first] != truth[second]
    first, second = first[apart], second[apart]
    chances = {
        "interval": predictor.better([asked[i] for i in first], [asked[i] for i in second]),
        "networks": stats.norm.cdf(
            (raw_mean[first] - raw_mean[second])
            / np.maximum(np.hypot(raw_std[first], raw_std[second]), 1e-12)
        ),
    }
    for name, chance in chances.items():
        made[name]["deciles"] = deciles(chance, truth[first] > truth[second])
    return made


def deciles(chance: np.ndarray, was: np.ndarray) -> list[list[float]]:
    """Count for each decile from .5 on: pairs, mean chance said, share that was so."""
    said, so = np.maximum(chance, 1 - chance), np.where(chance >= 0.5, was, ~was)
    place = np.digitize(said, DECILES) - 1
    found = []
    for i in range(len(DECILES)):
        here = place == i
        found.append(
            [float(here.sum()), float(said[here].sum()), float(so[here].sum())]
            if here.any()
            else [0.0, 0.0, 0.0]
        )
    return found


def run(seeds: int) -> None:
    """Do all fits that are not in the file yet; fewest labels first."""
    for count in COUNTS:
        for space in SPACES:
            todo = LINES.missing(
                [
                    {"space": space, "count": count, "seed": seed, "predictor": NOW}
                    for seed in range(seeds)
                ]
            )
            pool = pool_of(PROBLEMS[space]) if todo else None
            for one in todo:
                made = measure(pool, count, one["seed"])
                LINES.append({**one, **made})
                print(*one.values(), made["interval"]["covered 0.9"], flush=True)


def latest(space: str, count: int) -> tuple[list[dict], str]:
    """Return the lines of the predictor as it is, else of an earlier one, and a word for these."""
    key = {"space": space, "count": count}
    now = LINES.read(**key, predictor=NOW)
    if len(now) == SEEDS:
        return now, ""
    return LINES.read(**key, predictor=EARLIER), ", earlier"


def tables() -> list[str]:
    """Write the page from the lines."""
    lines = [
        "# Whether intervals and chances hold what they say",
        "",
        f"{made_by('uncertainty.py')} "
        f"{SEEDS} seeds: mean and 95 % interval of the mean. {TESTED:,} tested architectures that "
        "were not labelled; coverage of those that equal no labelled one. Labels are validation "
        "accuracies. Width: the median, in percentage points of accuracy. *earlier*: before the "
        "processes of `ArchRank` had a kernel for each group of features.",
        "",
        "## Coverage",
    ]
    for space in SPACES:
        rows = []
        for count in COUNTS:
            mine, when = latest(space, count)
            for name, title in NAMES.items():
                cells = [interval([r[name][f"covered {c}"] for r in mine]) for c in COVERAGES]
                width = interval([r[name]["width 0.9"] for r in mine])
                rows.append([count, title + (when if name != "networks" else ""), *cells, width])
        headings = ("labels", "", *(f"{100 * c:.0f} %" for c in COVERAGES), "width of 90 %")
        lines += ["", f"### {PROBLEMS[space].space}", "", *markdown_table(headings, rows)]
    lines += [
        *("", "## Chances that one is better than another", ""),
        "Of pairs of which the chance said lies between the bounds, the share that was so, all "
        "seeds together; in brackets the mean chance said and the number of pairs.",
    ]
    titles = [f"{low:.1f} to {low + 0.1:.1f}" for low in DECILES]
    for space in SPACES:
        rows = []
        for count in COUNTS:
            for name, title in (("interval", "`ArchRank.better`"), ("networks", NAMES["networks"])):
                cells = [
                    f"{so / pairs:.3f} ({said / pairs:.3f}; {pairs:,.0f})" if pairs else "-"
                    for pairs, said, so in pooled(space, count, name)
                ]
                when = latest(space, count)[1] if name != "networks" else ""
                rows.append([count, title + when, *cells])
        headings = ("labels", "", *titles)
        lines += ["", f"### {PROBLEMS[space].space}", "", *markdown_table(headings, rows)]
    return [*lines, "", "![Chance said, and share that was so](uncertainty.svg)"]


def pooled(space: str, count: int, name: str) -> np.ndarray:
    """Count pairs, sum of chances and of those that were so, per decile over all seeds."""
    return np.sum([line[name]["deciles"] for line in latest(space, count)[0]], axis=0)


def draw() -> None:
    """Draw the chance said against share that was so."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "archrank"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SPACES), figsize=(10, 3.6), sharey=True)
    for axis, space in zip(axes, SPACES, strict=True):
        axis.plot([0.5, 1], [0.5, 1], color="0.7", linewidth=1)
        for count, line in zip(COUNTS, ("--", "-"), strict=True):
            for name, colour in (("interval", "tab:blue"), ("networks", "tab:orange")):
                pairs, said, so = pooled(space, count, name).T
                some = pairs > 0
                what = "ArchRank" if name == "interval" else "five networks"
                when = latest(space, count)[1] if name == "interval" else ""
                label = f"{what}, {count} labels{when}"
                axis.plot(said[some] / pairs[some], so[some] / pairs[some], line, marker="o",
                          markersize=3, color=colour, label=label)  # fmt: skip
        axis.set_title(space)
        axis.set_xlabel("chance said")
    axes[0].set_ylabel("share that was so")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(RESULTS / "uncertainty.svg", metadata={"Date": None})


def main() -> None:
    """Measure what is missing, and write the page and its picture."""
    measure_and_write(__doc__, PAGE, run, tables, SEEDS)
    draw()


if __name__ == "__main__":
    main()
