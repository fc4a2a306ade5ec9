"""Predicting what graphs say of themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ....basics import Array
from .contract import Objective, Step

_FINEST = 0.05  # what is finer than that, relative to the whole corpus, is not worth learning


class Regression(Objective):
    """Predicts the columns of a table from the vectors, by a linear layer.

        L = mean_c Huber((t_c - w_c h - b_c) / s_c)

    ``s_c`` is how much column c varies among graphs alike, not in the whole corpus: what tells
    spaces apart is learnt at once, and what tells networks of one space apart would hardly count.
    Missing values do not count.

    Args:
        table: (graphs, columns), standardised; NaN where missing.
        kinds: int (graphs,), which graphs are alike; None to take the whole corpus for one kind.
        width: of the vectors.

    Source: FBNetV3 (Dai et al., CVPR-21) predicts sizes; the scale is our choice.
    """

    def __init__(self, table: Array, kinds: npt.NDArray[np.int64] | None, width: int) -> None:
        super().__init__()
        self.known = torch.from_numpy(np.isfinite(table))
        self.table = torch.from_numpy(np.nan_to_num(table).astype(np.float32))
        self.scale = torch.from_numpy(spread_within(table, kinds).astype(np.float32))
        self.head = nn.Linear(width, table.shape[1])

    def forward(self, step: Step) -> Tensor:
        """Return the mean over what is known of a step's graphs."""
        wanted = self.table[step.rows].repeat(step.copies, 1).to(step.vectors)
        known = self.known[step.rows].repeat(step.copies, 1).to(wanted.device)
        error = (wanted - self.head(step.vectors)) / self.scale.to(wanted)
        loss = functional.huber_loss(error, torch.zeros_like(error), reduction="none")
        return (loss * known).sum() / known.sum().clamp(min=1)


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
