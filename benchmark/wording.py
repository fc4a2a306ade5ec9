"""The words and numbers that the page and the Markdown tables share."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .results import SHARE, TOP, Figure, Judged, Kind, Report, RunReport

STORE = "run.sqlite"  # in commands: a page must not depend on what its store is called
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Column:
    """One figure of the table: heading, what it is, which way is better, how it is written."""

    name: str
    heading: str
    meaning: str
    largest: bool = True
    digits: int = 3
    width: int = 46  # of its mark


def columns(judged: Judged) -> list[Column]:
    """List the figures of the table, with as many decimals as tell something."""
    digits = _label_digits(judged)
    share = f"{100 * SHARE:g}{SPACE}%"
    return [
        Column("tau", "tau-b", "Kendall's tau-b with the label", width=112),
        Column("rho", "rho", "Spearman's rho with the label"),
        Column("ndcg", f"NDCG\n@{TOP}", f"gain of the {TOP} best-scored, discounted by rank"),
        Column(
            "precision",
            f"in the\nbest {share}",
            f"share of the best {share} that it finds",
            True,
            2,
        ),
        Column(
            "regret", f"regret\nof {TOP}", f"best label minus best of its top {TOP}", False, digits
        ),
        Column(
            "improvement", "over\nluck, %", f"mean label of its top {TOP} over the mean", True, 1
        ),
        Column("partial_tau", "tau given\nsize", "Kendall's partial tau, size controlled for"),
    ]


def _label_digits(judged: Judged) -> int:
    """Count the decimals that tell a thousandth of the labels' spread."""
    spread = float(np.ptp(judged.truth.to_numpy(dtype=np.float64)))
    return min(6, max(0, 3 - math.floor(math.log10(spread)))) if spread > 0 else 2


GROUPS: tuple[tuple[str, tuple[Kind, ...], str], ...] = (
    ("Zero-cost proxies", ("proxy",), "without labels"),
    ("Size", ("size",), "what every proxy has to beat"),
    (
        "Bounds",
        ("random", "ceiling"),
        "random order, and the agreement of one more training of each",
    ),
    ("Rank aggregations", ("combination",), "without labels"),
    ("Using labels", ("learned",), "judged only on architectures whose labels were held out"),
)


def best(judged: Judged, column: Column, kinds: Sequence[Kind] = ("proxy", "size")) -> list[str]:
    """Name those with the best value of a column: all that are best as it is written.

    Scores without a value on most architectures are judged on too few to be compared.
    """
    sign = 1.0 if column.largest else -1.0
    found = {
        result.name: sign * round(result.figures[column.name].value, column.digits)
        for result in judged.results
        if result.kind in kinds
        and math.isfinite(result.figures[column.name].value)
        and result.count > len(judged.truth) / 2
    }
    return [name for name, value in found.items() if value == max(found.values())]


def sample_words(run: RunReport) -> str:
    """Say how many architectures were judged, and how they were drawn."""
    asked, seed = run.settings.get("sample"), run.settings.get("sample_seed")
    judged = len(run.judged.truth) if run.judged is not None else 0
    count = f"{judged} of {run.sampled}" if judged != run.sampled else f"{run.sampled}"
    return f"{count}, all with a label" if asked is None else f"{count}, drawn with seed {seed}"


def batch_words(run: RunReport) -> str:
    """Say on which data the architectures were scored."""
    settings = run.settings
    if "batch" not in settings:
        return ""
    size = settings.get("resolution")
    return f"{settings['batch']} samples, {settings.get('data')}" + (
        "" if size is None else f", {size} pixels"
    )


def scoring_seeds(run: RunReport) -> int:
    """Count the seeds of the score that has the most."""
    assert run.judged is not None
    return max((v.seeds for v in run.judged.results if v.version is not None), default=1)


def commands(run: RunReport, report: Report) -> list[str]:
    """List the commands that give the same scores and figures anew."""
    settings = run.settings
    words = ["archrank", "benchmark", "--space", str(settings.get("space", ""))]
    if run.judged is not None:
        names = [v.name for v in run.judged.results if v.version is not None]
        words += ["--proxies", ",".join(sorted(names)), "--seeds", str(scoring_seeds(run))]
    for key in ("task", "table", "sample", "sample_seed", "batch", "data", "resolution"):
        if settings.get(key) is not None:
            words += [f"--{key.replace('_', '-')}", str(settings[key])]
    words += ["--store", STORE]
    numbers = ["--seed", str(report.seed), "--resamples", str(report.resamples)]
    return [shlex.join(words), shlex.join(["archrank", "report", STORE, *numbers])]


def decimals(value: float, digits: int) -> str:
    """Write a number with so many decimals; a dash where there is none."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def interval_words(figure: Figure, digits: int = 3) -> str:
    """Write the interval of a figure; nothing where there is none."""
    if not math.isfinite(figure.low):
        return ""
    return f"95 %: {decimals(figure.low, digits)} to {decimals(figure.high, digits)}"


def seconds(value: float) -> str:
    """Write a time with its unit."""
    return _in_units(value, ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")))


def memory(value: float) -> str:
    """Write an amount of memory with its unit."""
    return _in_units(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")))


def _in_units(value: float, units: Sequence[tuple[float, str]]) -> str:
    if not math.isfinite(value):
        return DASH
    size, unit = next((one for one in units if value >= one[0]), units[-1])
    amount = value / size
    digits = 0 if amount >= 100 or amount == 0 else 1 if amount >= 10 else 2
    return f"{amount:.{digits}f} {unit}"
