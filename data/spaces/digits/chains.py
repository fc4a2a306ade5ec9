"""Convolutional families of one block after the other: cells, plain, residual, dense, inverted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import Concat, ConvUnit
from ..cells.nasbench201 import EDGES, Cell, Reduction, Stem
from ..cells.nasbench201 import Head as NormalisedHead
from ..contract import Signature
from .blocks import Head, Sum, shortcut


def cell(v: dict[str, Any], task: Signature) -> nn.Module:
    operators = tuple(v[f"e{source}{target}"] for source, target in EDGES)
    width, depth = v["width"], v["depth"]
    body: list[nn.Module] = [Cell(operators, width, width) for _ in range(depth)]
    body.append(Reduction(width, 2 * width))
    body.extend(Cell(operators, 2 * width, 2 * width) for _ in range(depth))
    return nn.Sequential(
        Stem(task.inputs[0], width), *body, NormalisedHead(2 * width, task.outputs)
    )


def plain(v: dict[str, Any], task: Signature) -> nn.Module:
    c_in, width = task.inputs[0], v["width"]
    layers: list[nn.Module] = []
    for stage, depth in enumerate((v["depth1"], v["depth2"])):
        for i in range(depth):
            stride = 2 if stage and i == 0 else 1
            layers.append(
                ConvUnit(c_in, width, v["kernel"], stride, 1, v["norm"] == "bn", v["act"])
            )
            c_in = width
        width = int(width * v["grow"])
    return nn.Sequential(*layers, Head(c_in, task.outputs))


def residual(v: dict[str, Any], task: Signature) -> nn.Module:
    c_in = v["width"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
    for stage, depth in enumerate((v["depth1"], v["depth2"], v["depth3"])):
        c_out = v["width"] * 2**stage
        for i in range(depth):
            stride = 2 if stage and i == 0 else 1
            if v["block"] == "basic":
                branch = [
                    ConvUnit(c_in, c_out, v["kernel"], stride),
                    ConvUnit(c_out, c_out, v["kernel"], activation="none"),
                ]
            else:
                branch = [
                    ConvUnit(c_in, c_out // 2, 1),
                    ConvUnit(c_out // 2, c_out // 2, v["kernel"], stride),
                    ConvUnit(c_out // 2, c_out, 1, activation="none"),
                ]
            layers.append(Sum(shortcut(c_in, c_out, stride), nn.Sequential(*branch)))
            c_in = c_out
    return nn.Sequential(*layers, Head(c_in, task.outputs))


def dense(v: dict[str, Any], task: Signature) -> nn.Module:
    growth, width = v["growth"], 2 * v["growth"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], width)]
    for stage, depth in enumerate((v["depth1"], v["depth2"])):
        if stage:
            layers += [ConvUnit(width, width // 2, 1), nn.AvgPool2d(2)]
            width //= 2
        for _ in range(depth):
            branch: nn.Module = ConvUnit(width, growth, v["kernel"])
            if v["bottleneck"]:
                inner = ConvUnit(width, 2 * growth, 1)
                branch = nn.Sequential(inner, ConvUnit(2 * growth, growth, v["kernel"]))
            layers.append(Concat(nn.Identity(), branch))
            width += growth
    return nn.Sequential(*layers, Head(width, task.outputs))


class SqueezeExcitation(Piece):
    """Channels scaled by a gate of their averages."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.down = nn.Conv2d(width, hidden, 1)
        self.up = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class InvertedResidual(Piece):
    """Expansion, depthwise convolution, squeeze-excitation by choice, projection."""

    def __init__(self, c_in: int, c_out: int, expansion: int, kernel: int, stride: int, se: bool):
        super().__init__()
        middle = c_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(ConvUnit(c_in, middle, 1))
        layers.append(ConvUnit(middle, middle, kernel, stride, groups=middle))
        if se:
            layers.append(SqueezeExcitation(middle, max(2, middle // 4)))
        layers.append(ConvUnit(middle, c_out, 1, activation="none"))
        self.layers = nn.Sequential(*layers)
        self.keeps_shape = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.keeps_shape else y


def inverted(v: dict[str, Any], task: Signature) -> nn.Module:
    c_in = v["width"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
    for stage in (1, 2):
        c_out = v["width"] * stage
        for i in range(v[f"depth{stage}"]):
            stride = 2 if stage > 1 and i == 0 else 1
            layers.append(
                InvertedResidual(
                    c_in, c_out, v[f"expand{stage}"], v[f"kernel{stage}"], stride, bool(v["se"])
                )
            )
            c_in = c_out
    return nn.Sequential(*layers, ConvUnit(c_in, 4 * c_in, 1), Head(4 * c_in, task.outputs))
