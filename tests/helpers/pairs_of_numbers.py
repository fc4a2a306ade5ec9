"""Predictions and targets, of which tests of losses take the loss."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

few = st.lists(st.integers(-4, 4), min_size=2, max_size=20)


def draw_pair(data: st.DataObject) -> tuple[Tensor, Tensor]:
    """Predictions and targets with many ties."""
    first = data.draw(few)
    second = data.draw(st.lists(st.integers(-4, 4), min_size=len(first), max_size=len(first)))
    return torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)


def some(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.randn(n, generator=generator, dtype=dtype, requires_grad=True)
    targets = torch.randn(n, generator=generator, dtype=dtype)
    targets[n // 2] = targets[0]  # a tie
    return predictions, targets
