"""What the labels of the leading candidates teach about the others.

    python experiments/trained_candidates.py

Thirty candidates of a family are ranked without labels, by what was learnt from other families
(``transfer.py``). The leading five or ten are labelled, as if they had been trained, and
``rank(measured=)`` orders the others anew. A seed draws the same candidates for all rows; seed s
has task s modulo the number of tasks. The script may be killed at any moment; started again, it
continues where it was. ``--tables`` writes the page from the finished work.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from common import (
    RESULTS,
    STORES,
    Lines,
    interval,
    made_by,
    markdown_table,
    parser,
    write_page,
)
from scipy.stats import rankdata
from transfer_pools import Families, Pool, pool_of

from archrank.metrics import kendall
from archrank.predictors.pretrained.shipped import shipped
from archrank.predictors.pretrained.zero_shot import ZeroShot
from archrank.ranking.learning import expected

PAGE = RESULTS / "trained_candidates.md"
LINES = Lines(STORES / "trained_candidates.jsonl")
POOLS = (
    *("nasbench201", "nasbench_macro", "nats_sss", "digits", "flexibert"),
    *("transnas101_micro", "accel_nasbench", "ofa_mobilenetv3", "enas", "nasbench301"),
)
COUNTS, CANDIDATES, SEEDS, NEXT = (5, 10), 30, 20, 5
FIGURES = ("tau before", "tau after", "next before", "next after")


def judge(name: str) -> None:
    """Do what is missing of one family: figures of every seed and number of labels."""
    todo = LINES.missing(
        [{"pool": name, "count": c, "seed": s} for c in COUNTS for s in range(SEEDS)]
    )
    if not todo:
        return
    pool = pool_of(name)
    reference, _ = Families().without(pool.family)
    knowledge = ZeroShot(reference, shipped().expert_)
    before = knowledge.judge(pool.samples)[0]
    slopes = knowledge.slopes(knowledge.basis(pool.samples))
    for key in todo:
        drawn, labels = draw(pool, before, int(key["seed"]))
        samples = [replace(pool.samples[i], arch=None, code=None) for i in drawn]
        order = np.argsort(-before[drawn], kind="stable")
        given, rest = order[: int(key["count"])], order[int(key["count"]) :]
        known = np.full(len(labels), np.nan)
        known[given] = labels[given]
        after, _ = expected(before[drawn], samples, known, slopes)
        place = rankdata(labels) / len(labels)
        figures = {}
        for when, scores in (("before", before[drawn]), ("after", after)):
            figures[f"tau {when}"] = kendall(scores[rest], labels[rest])
            leading = rest[np.argsort(-scores[rest], kind="stable")[:NEXT]]
            figures[f"next {when}"] = float(place[leading].mean())
        LINES.keep(key, **figures)


def draw(pool: Pool, before: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of candidates and their labels."""
    truth = pool.labels[seed % len(pool.tasks)]
    usable = np.flatnonzero(np.isfinite(truth) & np.isfinite(before))
    drawn = np.random.default_rng(seed).permutation(usable)[:CANDIDATES]
    return drawn, truth[drawn]


def page() -> list[str]:
    """Return the page, from all lines."""
    lines = [
        "# What trained candidates teach about the others",
        "",
        made_by("trained_candidates.py"),
        "",
        f"{CANDIDATES} random candidates of a family are ranked without labels, by what was learnt "
        "from other families. The leading five or ten are labelled, and `rank(measured=)` orders "
        f"the others anew. *tau*: Kendall's tau on the others; *next*: the mean place of the "
        f"{NEXT} that are now first among them, from 0 (worst of all {CANDIDATES}) to 1 (best). "
        f"*before*: the order without labels. Mean and 95 % interval of {SEEDS} draws; the last "
        "row over families. The expert of networks of real size (TransNAS-Bench-101, "
        "Accel-NASBench, OFA) learnt from none of these.",
    ]
    for count in COUNTS:
        rows = []
        of_pools: dict[str, list[float]] = {}
        for pool in POOLS:
            found = LINES.read(pool=pool, count=count)
            values = {figure: np.array([line[figure] for line in found]) for figure in FIGURES}
            for what in ("tau", "next"):
                values[f"{what} gain"] = values[f"{what} after"] - values[f"{what} before"]
            for figure, some in values.items():
                of_pools.setdefault(figure, []).append(float(some.mean()))
            rows.append([pool, *(interval(values[c].tolist()) for c in _COLUMNS)])
        rows.append(["mean", *(interval(of_pools[column]) for column in _COLUMNS)])
        headings = ("family", *(column.replace("gain", "difference") for column in _COLUMNS))
        lines += ["", f"## {count} labels", "", *markdown_table(headings, rows)]
    return [
        *lines,
        "",
        "Looked at while designing, with other draws (seeds 200 to 211) of the same families: that "
        "features are scaled by all candidates, not by the labelled ones alone. That real networks "
        "are trusted as their expert was on held-out families was settled on timm's checkpoints.",
    ]


_COLUMNS = ("tau before", "tau after", "tau gain", "next before", "next after", "next gain")


def main() -> None:
    options = parser(__doc__, tables=True)
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    if not arguments.tables:
        for name in POOLS:
            judge(name)
    write_page(PAGE, page())


if __name__ == "__main__":
    main()
