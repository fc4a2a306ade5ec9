"""The rule that combined evidence before 0.2: each candidate changed the scores of the others."""

from __future__ import annotations

import numpy as np
from scipy import stats

from archrank.predictors.features.evidence import KINDS, MEASURED
from archrank.predictors.features.rank_transform import normal_scores

_KNOWN = 0.5  # share of candidates that a measurement must have values of
_MISSING = -2.0  # normal score of a network that a measurement fails on


def among_candidates(table: np.ndarray) -> np.ndarray:
    """Return mean_k log Phi(v_k), v_k the standardised mean normal score of a kind's measurements.

    Args:
        table: measurements (networks, ``MEASURED``), NaN where there is none.
    """
    kinds = []
    for names in KINDS.values():
        columns = [table[:, MEASURED.index(name)] for name in names]
        scored = [_scored(column) for column in columns if np.isfinite(column).mean() >= _KNOWN]
        if scored:
            mean = np.mean(scored, axis=0)
            kinds.append(stats.norm.logcdf((mean - mean.mean()) / max(mean.std(), 1e-9)))
    joined: np.ndarray = np.mean(kinds, axis=0) if kinds else np.zeros(len(table))
    return joined


def _scored(column: np.ndarray) -> np.ndarray:
    known = np.isfinite(column)
    scores = np.full(len(column), _MISSING)
    scores[known] = normal_scores(column[known])
    return scores
