"""Parts of several families' networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit


class Head(Piece):
    """Global average and linear classifier."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]


class Sum(Piece):
    """Sum of branches of one input, then ReLU."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            total = total + branch(x)
        return torch.relu(total)


def shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    if c_in == c_out and stride == 1:
        return nn.Identity()
    return ConvUnit(c_in, c_out, 1, stride, activation="none")
