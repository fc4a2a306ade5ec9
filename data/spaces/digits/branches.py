"""Convolutional families of several branches: inception-like, two paths, motifs of HiAML."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import Concat, ConvUnit
from ..contract import Signature
from .blocks import Head, Sum, shortcut


def path_operator(name: str, c_in: int, c_out: int, stride: int = 1) -> nn.Module:
    if name == "conv1":
        return ConvUnit(c_in, c_out, 1, stride)
    if name == "conv3":
        return ConvUnit(c_in, c_out, 3, stride)
    if name == "conv5":
        return ConvUnit(c_in, c_out, 5, stride)
    if name == "split3":
        return nn.Sequential(ConvUnit(c_in, c_out, (1, 3), stride), ConvUnit(c_out, c_out, (3, 1)))
    if name == "double3":
        return nn.Sequential(ConvUnit(c_in, c_out, 3, stride), ConvUnit(c_out, c_out, 3))
    if name == "separable3":
        depthwise = ConvUnit(c_in, c_in, 3, stride, groups=c_in)
        return nn.Sequential(depthwise, ConvUnit(c_in, c_out, 1))
    return nn.Sequential(nn.MaxPool2d(3, stride, 1), ConvUnit(c_in, c_out, 1))


PATH_OPERATORS = ("conv1", "conv3", "conv5", "split3", "double3", "separable3", "pool")


def inception(v: dict[str, Any], task: Signature) -> nn.Module:
    c_in = v["width"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
    for stage in (1, 2):
        names = [v[f"path{p}"] for p in range(1, 4) if v[f"path{p}"] != "off"]
        width = v["width"] * stage
        for i in range(v["depth"]):
            stride = 2 if stage > 1 and i == 0 else 1
            paths = [path_operator(name, c_in, width, stride) for name in names]
            merged = ConvUnit(width * len(paths), width, 1, activation="none")
            branch = nn.Sequential(Concat(*paths) if len(paths) > 1 else paths[0], merged)
            if stride == 1 and c_in == width:
                layers.append(Sum(nn.Identity(), branch))
            else:
                layers.append(Sum(branch))
            c_in = width
    return nn.Sequential(*layers, Head(c_in, task.outputs))


def two_path(v: dict[str, Any], task: Signature) -> nn.Module:
    width = v["width"]
    paths = []
    for path in ("left", "right"):
        c_in, layers = width, []
        for i, name in enumerate(v[f"{path}{n}"] for n in (1, 2, 3)):
            if name == "off":
                continue
            stride = 2 if i in (0, 2) else 1
            layers.append(path_operator(name, c_in, c_in * stride, stride))
            c_in *= stride
        paths.append(nn.Sequential(*layers))
    merged = ConvUnit(8 * width, 8 * width, 1)
    return nn.Sequential(
        ConvUnit(task.inputs[0], width), Concat(*paths), merged, Head(8 * width, task.outputs)
    )


class MotifBlock(Piece):
    """One of the hand-made motifs: a few convolutions, sums between them, ReLU at the end."""

    def __init__(self, motif: str, c_in: int, c_out: int, stride: int):
        super().__init__()

        def linear(kernel: int, inputs: int = c_out, step: int = 1) -> nn.Module:
            return ConvUnit(inputs, c_out, kernel, step, activation="none")

        self.motif = motif
        self.shortcut = shortcut(c_in, c_out, stride) if motif in ("b", "j", "r") else None
        kernel = 1 if motif in ("c", "s") else 3
        self.first = (
            linear(kernel, c_in, stride)
            if motif in ("l", "s")
            else ConvUnit(c_in, c_out, kernel, stride)
        )
        self.second = {
            "z": nn.Sequential(ConvUnit(c_out, c_out, (1, 3)), linear(3)),
            "a": nn.Sequential(ConvUnit(c_out, c_out, 1), linear(1)),
            "b": nn.Sequential(ConvUnit(c_out, c_out, (3, 1)), linear(1)),
            "c": nn.Sequential(ConvUnit(c_out, c_out, 3), linear(3)),
            "j": linear(3),
            "l": nn.Identity(),
            "r": linear(1),
            "s": linear(3),
        }[motif]

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        if self.shortcut is None:
            inner = first if self.motif == "l" else first + self.second(first)
        elif self.motif == "r":
            inner = first + self.second(first + self.shortcut(x))
        else:
            inner = self.shortcut(x) + self.second(first)
        return torch.relu(inner)


MOTIFS = ("z", "a", "b", "c", "j", "l", "r", "s")


def hiaml(v: dict[str, Any], task: Signature) -> nn.Module:
    c_in = v["width"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
    for stage in (1, 2, 3):
        c_out = v["width"] * (1, 2, 2)[stage - 1]
        for i in range(2):
            stride = 2 if stage == 2 and i == 0 else 1
            layers.append(MotifBlock(v[f"stage{stage}"], c_in, c_out, stride))
            c_in = c_out
    return nn.Sequential(*layers, Head(c_in, task.outputs))
