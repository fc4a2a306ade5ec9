"""What a store holds of each proxy, on the architectures that are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..basics import Array
from ..errors import InputError
from ..metrics import kendall
from ..proxies import get
from .results import Failure


@dataclass(frozen=True)
class Measured:
    """All that the store holds of one proxy, on the architectures that are judged."""

    by_seed: Array  # (architectures, seeds), larger is better, NaN where missing
    tried: npt.NDArray[np.bool_]
    version: int
    seconds: float
    memory: float
    failures: tuple[tuple[str, str, int], ...]

    @property
    def score(self) -> Array:
        return _mean_over_seeds(self.by_seed)


def latest(scores: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Select the installed version of each proxy, or the latest stored."""
    kept = []
    for name, rows in sorted(scores.groupby("proxy")):
        versions = sorted(rows["version"].unique())
        current = _installed(str(name))
        chosen = current if current in versions else versions[-1]
        if current is None:
            notes.append(f"{name} is not a proxy of this release: its larger scores are better.")
        elif chosen != current:
            notes.append(f"{name} was scored by version {chosen}; this release has {current}.")
        kept.append(rows[rows["version"] == chosen])
    return pd.concat(kept)


def _installed(name: str) -> int | None:
    try:
        return get(name).version
    except InputError:
        return None


def _direction(name: str) -> float:
    try:
        return get(name).sign
    except InputError:
        return 1.0


def measure(scores: pd.DataFrame, truth: pd.Series[float]) -> dict[str, Measured]:
    """Collect what the store holds of each proxy, on the architectures of ``truth``."""
    position = pd.Series(np.arange(len(truth)), index=truth.index)
    scores = scores[scores["arch"].isin(truth.index)]
    found = {}
    for name, rows in sorted(scores.groupby("proxy")):
        at = position[rows["arch"]].to_numpy()
        seeds, column = np.unique(rows["seed"], return_inverse=True)
        fine = (rows["status"] == "ok").to_numpy() & np.isfinite(rows["value"].to_numpy())
        by_seed = np.full((len(truth), len(seeds)), np.nan)
        by_seed[at[fine], column[fine]] = _direction(str(name)) * rows["value"].to_numpy()[fine]
        tried = np.zeros(len(truth), dtype=np.bool_)
        tried[at] = True
        why = rows[~fine].fillna({"reason": ""}).groupby(["status", "reason"])["arch"].nunique()
        found[str(name)] = Measured(
            by_seed,
            tried,
            int(rows["version"].iloc[0]),
            float(rows["seconds"][fine].median()),
            float(rows["peak_memory"][fine].median()),
            tuple((str(s), str(r), int(n)) for (s, r), n in why.items()),
        )
    return found


def _mean_over_seeds(by_seed: Array) -> Array:
    """Average over seeds, NaN only where no seed has a value."""
    present = np.isfinite(by_seed)
    count = present.sum(axis=1)
    # Divided first, since the sum of the largest scores overflows.
    parts = np.where(present, by_seed, 0.0) / np.maximum(count, 1)[:, None]
    mean: Array = np.where(count > 0, parts.sum(axis=1), np.nan)
    return mean


def over_seeds(by_seed: Array, truth: Array) -> tuple[float, float]:
    """Give the standard deviation of the seeds' tau-b, and the mean tau-b between two seeds."""
    if by_seed.shape[1] < 2:
        return math.nan, math.nan
    taus = [_tau(column, truth) for column in by_seed.T]
    pairs = [_tau(first, second) for first, second in combinations(by_seed.T, 2)]
    known = [tau for tau in taus if math.isfinite(tau)]
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    agreeing = [tau for tau in pairs if math.isfinite(tau)]
    return spread, float(np.mean(agreeing)) if agreeing else math.nan


def _tau(first: Array, second: Array) -> float:
    """Compute tau-b where both have a value; NaN where fewer than two do, or one is constant."""
    both = np.isfinite(first) & np.isfinite(second)
    return kendall(first[both], second[both]) if both.sum() > 1 else math.nan


def agreement(oriented: Mapping[str, Array]) -> pd.DataFrame:
    """Compute tau-b between any two proxies."""
    names = list(oriented)
    found = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for first, second in combinations(names, 2):
        tau = _tau(oriented[first], oriented[second])
        found.loc[first, second] = found.loc[second, first] = tau
    return found


def failures(measured: Mapping[str, Measured]) -> tuple[Failure, ...]:
    """List who failed on how many architectures and why, the most frequent first."""
    found = [
        Failure(name, status, reason, count)
        for name, one in measured.items()
        for status, reason, count in one.failures
    ]
    return tuple(sorted(found, key=lambda f: (-f.count, f.proxy, f.status, f.reason)))
