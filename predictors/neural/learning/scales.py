"""Scales of the inputs besides graphs, learned from the training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....basics import Array
from ....errors import InputError
from ...reading import Sample


def _table(sample: Sample, names: Sequence[str]) -> Array:
    """Return statistics of the nodes (nodes, len(names)); NaN if missing."""
    table = np.full((len(sample.graph), len(names)), np.nan)
    for column, name in enumerate(names):
        if name in sample.node_scores:
            table[:, column] = sample.node_scores[name]
    table[~np.isfinite(table)] = np.nan
    return table


def statistic_scale(samples: Sequence[Sample], names: Sequence[str]) -> Array:
    """Return the scale of statistics (3, len(names)), one column each.

    Its rows are the median magnitude s, and the mean and the deviation of ``asinh(v / s)``.
    """
    scale = np.ones((3, len(names)))
    if not names:
        return scale
    table = np.concatenate([_table(sample, names) for sample in samples])
    for column, values in enumerate(table.T):
        known = values[np.isfinite(values)]
        if known.any():
            scale[0, column] = np.median(np.abs(known[known != 0]))
        if len(known):
            scale[1:, column] = mean_and_std(np.arcsinh(known / scale[0, column]))
    return scale


def scaled_statistics(sample: Sample, names: Sequence[str], scale: Array) -> Array:
    """Return scaled statistics of the nodes (nodes, len(names)); NaN if missing."""
    size, mean, std = scale
    scaled: Array = (np.arcsinh(_table(sample, names) / size) - mean) / std
    return scaled


def contexts_of(samples: Sequence[Sample]) -> Array:
    """Return the contexts of samples (samples, c).

    Raises:
        InputError: contexts have different lengths.
    """
    lengths = sorted({len(sample.context) for sample in samples})
    if len(lengths) > 1:
        raise InputError(
            f"X: got contexts of {' and '.join(map(str, lengths))} numbers, expected as many in all"
        )
    return np.array([sample.context for sample in samples], dtype=np.float64)


def context_scale(samples: Sequence[Sample]) -> Array:
    """Return two rows: the mean and the deviation of each column of the context."""
    rows = contexts_of(samples)
    return np.array([mean_and_std(column) for column in rows.T]).reshape(-1, 2).T


def mean_and_std(values: Array) -> tuple[float, float]:
    """Return the mean of values (n,) and their ``divisor``."""
    return float(values.mean()), divisor(values)


def divisor(values: Array) -> float:
    """Return the deviation of values (n,), or 1 if they differ only by rounding.

    Example:
        >>> divisor(np.array([1.0, 3.0])), divisor(np.array([1.0, 1.0 + 1e-9]))
        (1.0, 1.0)
    """
    spread = float(values.std())
    return spread if spread > 1e-6 * float(np.abs(values).max(initial=0.0)) else 1.0
