"""Small networks for tests; importable by name, so that worker processes can build them."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Convolutions of one width, global pooling, a linear classifier."""

    def __init__(self, width: int = 8, depth: int = 2):
        super().__init__()
        layers: list[nn.Module] = []
        for source in [3] + [width] * (depth - 1):
            layers += [nn.Conv2d(source, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def narrow() -> nn.Module:
    return Tiny(4)


def narrow_again() -> nn.Module:
    return Tiny(4)


def narrow_of_nan() -> nn.Module:
    net = Tiny(4)
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(float("nan"))
    return net


def wide() -> nn.Module:
    return Tiny(16)


def deep() -> nn.Module:
    return Tiny(8, 4)


def raises() -> nn.Module:
    raise RuntimeError("this builder is broken")


def with_nan() -> nn.Module:
    net = Tiny(8)
    with torch.no_grad():
        net.head.weight.fill_(float("nan"))
    return net


def without_rectifier() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))


def kills_its_process() -> nn.Module:
    os._exit(9)
