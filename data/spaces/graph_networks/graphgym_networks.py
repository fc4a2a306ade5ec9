"""Networks of GraphGym's design space, and their widths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["node", "graph", "link"]


@dataclass(frozen=True)
class Setting:
    """The common settings of a task's networks.

    `width_features` are the features with which the width is chosen, see `width_of`.
    """

    kind: Kind
    features: int
    outputs: int
    width_features: int = 1


@dataclass(frozen=True)
class Design:
    """One choice of all settings of a network."""

    before: int
    passing: int
    behind: int
    stage: str
    aggregation: str
    norm: bool
    activation: str
    dropout: float


_BUDGET = 133_121
"""Weights of two layers of width 256 with norms, for one feature and one output."""


@cache
def width_of(design: Design, features: int) -> int:
    """Find the smallest width with at least as many weights as the base design, for one output.

    So all designs have about as many weights, and size does not order them. Found from the
    published counts: for data with features of their own the base is that of one feature.
    """
    width = 1
    while parameters(design, Setting("node", features, 1), width) < _BUDGET:
        width += 1
    return width


def parameters(design: Design, setting: Setting, width: int) -> int:
    """Count the weights of a network, by formula."""
    total, channels = 0, setting.features
    for layer in range(design.before + design.passing):
        total += channels * width + (2 * width if design.norm else width)
        concatenated = design.stage == "skipconcat" and layer >= design.before
        channels = channels + width if concatenated else width
    outputs = channels if setting.kind == "link" else setting.outputs
    total += (design.behind - 1) * (channels**2 + (2 * channels if design.norm else channels))
    return total + (channels + 1) * outputs + int(design.activation == "prelu")


class Unit(nn.Module):
    """Linear layer, aggregation over neighbours by choice, norm, dropout, activation by choice."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        design: Design,
        activation: nn.Module,
        passes: bool = False,
    ):
        super().__init__()
        self.linear = nn.Linear(c_in, c_out, bias=not design.norm)
        self.gather: nn.Module | None = None
        if passes:
            from torch_geometric.nn import SimpleConv  # takes seconds

            self.gather = SimpleConv(design.aggregation)
        self.norm = nn.BatchNorm1d(c_out) if design.norm else nn.Identity()
        self.dropout = nn.Dropout(design.dropout) if design.dropout else nn.Identity()
        self.activation = activation

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        y = self.linear(x)
        if self.gather is not None:
            y = self.gather(y, edges)
        return self.activation(self.dropout(self.norm(y)))  # type: ignore[no-any-return]


class GraphGymNetwork(nn.Module):
    """Layers before, message passing with skips by choice, layers behind.

    Takes features of nodes and edges; for tasks on graphs also the graph that each node belongs
    to, for links also the two nodes of each. Activations share their one weight, if they have any.
    """

    def __init__(self, design: Design, setting: Setting):
        super().__init__()
        self.stage, self.kind = design.stage, setting.kind
        kinds = {"relu": nn.ReLU, "prelu": nn.PReLU, "swish": nn.SiLU}
        self.activation = kinds[design.activation]()
        width = width_of(design, setting.width_features)
        channels, self.before = setting.features, nn.ModuleList()
        for _ in range(design.before):
            self.before.append(Unit(channels, width, design, self.activation))
            channels = width
        self.passing = nn.ModuleList()
        inner = self.activation if design.stage == "stack" else nn.Identity()
        for _ in range(design.passing):
            self.passing.append(Unit(channels, width, design, inner, passes=True))
            channels = channels + width if design.stage == "skipconcat" else width
        self.behind = nn.ModuleList(
            Unit(channels, channels, design, self.activation) for _ in range(design.behind - 1)
        )
        self.last = nn.Linear(channels, channels if self.kind == "link" else setting.outputs)

    def forward(self, x: Tensor, edges: Tensor, chosen: Tensor | None = None) -> Tensor:
        for unit in self.before:
            x = unit(x, edges)
        for unit in self.passing:
            y = unit(x, edges)
            if self.stage == "skipsum":
                y = self.activation(x + y)
            elif self.stage == "skipconcat":
                y = self.activation(torch.cat([x, y], 1))
            x = y
        x = F.normalize(x, dim=1)
        if self.kind == "graph":
            from torch_geometric.nn import global_add_pool

            x = global_add_pool(x, chosen)
        for unit in self.behind:
            x = unit(x, edges)
        x = self.last(x)
        if self.kind == "link":
            assert chosen is not None
            x = (x[chosen[0]] * x[chosen[1]]).sum(1, keepdim=True)
        return x
