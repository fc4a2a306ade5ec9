"""The objective to predict features that are computed from graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ....basics import Array
from .contract import Objective, Step

_FINEST = 0.05  # finer differences, relative to the whole corpus, are not worth learning


class Regression(Objective):
    """An objective that predicts the columns of a table from the vectors by a linear layer.

        L = mean_c Huber((d t_c - w_c d h) / s_c),  d v_i = v_i - mean_{j of i's kind} v_j

    Only differences between graphs of one kind in a batch are predicted, in units of their typical
    size s_c. Without this, the large differences between spaces would dominate, although they are
    learnt at once. If the corpus is one kind, this is the regression of the columns. Missing values
    do not count.

    Args:
        table: (graphs, columns), standardised; NaN where missing.
        kinds: int (graphs,), the kind of each graph; None if the whole corpus is one kind.
        width: the size of the vectors.

    Source: FBNetV3 (Dai et al., CVPR-21) predicts sizes.

    Notes:
        Differences within kinds are our choice.
    """

    def __init__(self, table: Array, kinds: npt.NDArray[np.int64] | None, width: int) -> None:
        super().__init__()
        self.known = torch.from_numpy(np.isfinite(table))
        self.table = torch.from_numpy(np.nan_to_num(table).astype(np.float32))
        self.scale = torch.from_numpy(spread_within(table, kinds).astype(np.float32))
        self.kinds = None if kinds is None else torch.from_numpy(kinds)
        self.head = nn.Linear(width, table.shape[1])

    def forward(self, step: Step) -> Tensor:
        """Return the mean error over the known values of a step's graphs."""
        device = step.vectors.device
        wanted = self.table[step.rows].repeat(step.copies, 1).to(device)
        known = self.known[step.rows].repeat(step.copies, 1).to(device)
        error = (wanted - self.head(step.vectors)) / self.scale.to(device)
        if self.kinds is not None:
            kinds = self.kinds[step.rows].repeat(step.copies).to(device)
            error = centred(error, known, kinds)
        loss = functional.huber_loss(error, torch.zeros_like(error), reduction="none")
        return (loss * known).sum() / known.sum().clamp(min=1)


def centred(values: Tensor, known: Tensor, kinds: Tensor) -> Tensor:
    """Return values (rows, columns) minus the mean of the known values of their kind.

    Example:
        >>> values = torch.tensor([[1.0], [3.0], [9.0]])
        >>> centred(values, torch.ones(3, 1), torch.tensor([0, 0, 7])).flatten().tolist()
        [-1.0, 1.0, 0.0]
    """
    group = kinds.unique(return_inverse=True)[1]
    empty = values.new_zeros(int(group.max()) + 1, values.shape[1])
    weight = known.to(values.dtype)
    total = empty.index_add(0, group, values * weight)
    mean = total / empty.index_add(0, group, weight).clamp(min=1)
    return values - mean[group]


def spread_within(table: Array, kinds: npt.NDArray[np.int64] | None) -> Array:
    """Return the deviation of each column among graphs of one kind, pooled over kinds; at most 1.

    Example:
        >>> table = np.array([[0.0, 0.0], [0.2, 0.0], [9.0, 1.0], [9.2, 1.0]])
        >>> spread_within(table, np.array([0, 0, 1, 1])).round(2).tolist()
        [0.1, 0.05]
    """
    if kinds is None:
        return np.ones(table.shape[1])
    rest = table.copy()
    for kind in np.unique(kinds):
        rows = table[kinds == kind]
        count = np.isfinite(rows).sum(axis=0).clip(1)
        rest[kinds == kind] -= np.nansum(rows, axis=0) / count
    pooled = np.nansum(rest**2, axis=0) / np.isfinite(rest).sum(axis=0).clip(1)
    scale: Array = np.clip(np.sqrt(pooled), _FINEST, 1.0)
    return scale
