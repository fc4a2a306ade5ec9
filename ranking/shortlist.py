"""Which candidates to train first, with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..basics import Array
from ..formats import number
from ..predictors.features.evidence import KINDS

_DRAWS = 20_000
_MUCH = 0.5  # standard deviations above or below the mean of the candidates


def shortlist_of(table: pd.DataFrame, by: tuple[str, ...], count: int) -> pd.DataFrame:
    """Return the first candidates of a ranking's table; see ``Ranking.shortlist``."""
    open_ = table["rank"].notna() & (table["same_as"].fillna("") == "")
    if "measured" in table:
        open_ &= table["measured"].isna()
    chance = best_chances(table["score"].to_numpy(float), table["std_error"].to_numpy(float))
    found = table.assign(chance=chance)[open_].head(count)
    rows = [row for _, row in found.iterrows()]
    reasons = ["; ".join(_reasons(row, table, by)) for row in rows]
    kept = found[["name", "score", "std_error", "chance"]]
    return kept.assign(because=reasons).reset_index(drop=True)


def best_chances(scores: Array, errors: Array) -> Array:
    """Return the chance (n,) that each is the best of all, by draws; NaN where no error is known.

    Errors are taken as normal and independent.
    """
    known = np.isfinite(scores) & np.isfinite(errors)
    chances = np.full(len(scores), np.nan)
    if known.any():
        noise = np.random.default_rng(0).standard_normal((_DRAWS, int(known.sum())))
        winners = (scores[known] + errors[known] * noise).argmax(axis=1)
        chances[known] = np.bincount(winners, minlength=int(known.sum())) / _DRAWS
    return chances


def _reasons(row: pd.Series[Any], table: pd.DataFrame, by: tuple[str, ...]) -> Iterator[str]:
    """Yield reasons for a candidate and against it."""
    if np.isfinite(row.get("top-1", np.nan)):
        low, high = row["top-1 low"], row["top-1 high"]
        yield f"ImageNet top-1 of {row['top-1']:.1f} % expected ({low:.1f} to {high:.1f})"
    evidence = _beside_others(row, table)
    strongest = sorted(evidence, key=lambda kind: -evidence[kind])
    good = [f"{kind} {evidence[kind]:+.1f}" for kind in strongest if evidence[kind] > _MUCH]
    bad = [f"{kind} {evidence[kind]:+.1f}" for kind in strongest[::-1] if evidence[kind] < -_MUCH]
    if good:
        yield f"high: {', '.join(good[:3])}"
    if bad:
        yield f"low: {', '.join(bad[:2])}"
    if good or bad or np.isfinite(row.get("top-1", np.nan)):
        return
    if evidence:
        yield "all evidence is near the mean of the candidates"
    else:
        for name in by:
            place = int((table[name] > row[name]).sum()) + 1
            yield f"{name} {number(row[name])}, {place} of {len(table)}"


def _beside_others(row: pd.Series[Any], table: pd.DataFrame) -> dict[str, float]:
    """Return each kind of evidence in standard deviations of the candidates from their mean."""
    found = {}
    for kind in KINDS:
        if kind in table and np.isfinite(row[kind]):
            spread = float(table[kind].std(ddof=0))
            found[kind] = (row[kind] - float(table[kind].mean())) / spread if spread else 0.0
    return found
