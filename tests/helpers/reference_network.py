"""A small network and its data, on which proxies are compared with their formulas."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

N = 6


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 3)).double()


def data(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, 3, 6, 6, generator=generator).double(), torch.arange(N) % 3


def weights(net: nn.Module) -> list[nn.Parameter]:
    return [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def gradients(net: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(net.train()(images), labels), weights(net)))


def ours(name: str, **options) -> float:
    images, labels = data()
    return archrank.score(network(), images, labels, proxies=name, **options)[name].value
