"""Pareto fronts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..basics import Array
from ..errors import InputError


def pareto_front(values: npt.ArrayLike, larger_is_better: bool = False) -> npt.NDArray[np.bool_]:
    """Tell whether each row is on the Pareto front: no other is as good everywhere and better in
    one.

    Equal rows are on the front together. Rows with a missing value are not on it.

    Args:
        values: (n, m), one column per objective.
        larger_is_better: for all columns; negate columns that differ.

    Raises:
        InputError: the array does not have two dimensions.

    Example:
        >>> pareto_front([[1, 5], [2, 4], [2, 6], [3, 4]]).tolist()
        [True, True, False, False]
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(f"values: got shape {table.shape}, expected (candidates, aims)")
    front: npt.NDArray[np.bool_] = np.asarray(~np.isnan(table).any(axis=1))
    present = np.flatnonzero(front)
    costs = -table[present] if larger_is_better else table[present]
    front[present] = _least(costs)
    return front


def _least(costs: Array) -> npt.NDArray[np.bool_]:
    """Return the same of rows without missing values, smaller is better.

    In order of the first column and then the others, nothing later beats anything earlier, so each
    row is compared with the front before it only.
    """
    rows, inverse = np.unique(costs, axis=0, return_inverse=True)  # sorted so
    kept: list[int] = []
    if rows.shape[1] == 2:
        before = np.minimum.accumulate(rows[:, 1])
        found = np.append(True, rows[1:, 1] < before[:-1])[: len(rows)]
    else:
        found = np.zeros(len(rows), dtype=np.bool_)
        for i, row in enumerate(rows):
            found[i] = not (rows[kept] <= row).all(axis=1).any()
            if found[i]:
                kept.append(i)
    mask: npt.NDArray[np.bool_] = found[inverse.reshape(-1)]
    return mask
