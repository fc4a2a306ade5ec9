"""Which candidates no other beats in everything at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..basics import Array
from ..errors import InputError


def pareto_front(values: npt.ArrayLike, larger_is_better: bool = False) -> npt.NDArray[np.bool_]:
    """Whether each row is on the front: no other is as good in every column and better in one.

    Rows that are equal are on it together; rows with a missing value are not.

    Args:
        values: (n, m), one column per aim.
        larger_is_better: of all columns; negate those that differ.

    Raises:
        InputError: not an array of two dimensions.

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
