"""What a part is worth: differences with and without it, their interval, and tables of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from common import interval, markdown_table
from scipy.stats import t


@dataclass(frozen=True)
class Worth:
    """Differences that a part makes, one per seed or family."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean of them."""
        return float(np.mean(self.values))

    @property
    def half(self) -> float:
        """Half the 95 % interval of their mean (Student's t)."""
        n = len(self.values)
        return float(t.ppf(0.975, n - 1) * np.std(self.values, ddof=1) / n**0.5)

    def __str__(self) -> str:
        sign = "" if self.mean < 0 else "+"
        return f"{sign}{interval(self.values)}"

    @property
    def conclusion(self) -> str:
        """Whether its sign is known."""
        if abs(self.mean) <= self.half:
            return "unclear"
        return "better" if self.mean > 0 else "worse"


def shown(worth: Worth | None) -> str:
    """Write a worth; in bold where its sign is known."""
    if worth is None:
        return "-"
    return str(worth) if worth.conclusion == "unclear" else f"**{worth}**"


def counted(worths: Iterable[Worth | None]) -> str:
    """Count in how many settings a part is better, worse or neither."""
    conclusions = [worth.conclusion for worth in worths if worth is not None]
    told = {what: conclusions.count(what) for what in ("better", "worse", "unclear")}
    return ", ".join(f"{what} {count}" for what, count in told.items() if count)


def together(worths: Sequence[Worth]) -> Worth:
    """Return the mean over settings, seed by seed."""
    return Worth(np.mean([worth.values for worth in worths], axis=0).tolist())


def table(rows: Mapping[str, Sequence[Worth | None]], columns: Sequence[str]) -> str:
    """Tabulate one row per part, one column per setting, and how often it is better."""
    return "\n".join(
        markdown_table(
            ("part", *columns, "settings"),
            [
                [name, *map(shown, worths), counted(worths)]
                for name, worths in rows.items()
                if any(worths)
            ],
        )
    )
