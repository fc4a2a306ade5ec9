"""Blocks end where they do whatever moves numbers between a layer, its norm and its activation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import archrank

PROXIES = ("az_expressivity", "az_progressivity", "az_trainability")
N = 6

Function = Callable[[Tensor], Tensor]


class Chain(nn.Module):
    """Layers in turn, with a function around each and one between them."""

    def __init__(self, layers: list[nn.Module], move: Function, back: Function, last: bool):
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(8, 4)
        self.move, self.back, self.last = move, back, last

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            by_element = isinstance(layer, (nn.ReLU, nn.GELU))
            # what acts on each number alone may run while they are moved
            x = self.back(layer(self.move(x))) if by_element else layer(self.back(self.move(x)))
        return self.head(x.mean(1) if self.last else x.flatten(2).mean(2))


def images() -> list[nn.Module]:
    return [
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.GELU()),
    ]


def tokens() -> list[nn.Module]:
    layers = [[nn.Linear(inputs, 8), nn.LayerNorm(8), nn.GELU()] for inputs in (3, 8, 8)]
    return [layer for three in layers for layer in three]


def signals() -> list[nn.Module]:
    layers = [
        [nn.Conv1d(inputs, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU()] for inputs in (3, 8, 8)
    ]
    return [layer for three in layers for layer in three]


def unchanged(x: Tensor) -> Tensor:
    return x


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, inputs, output: output.clone())
    layer.register_full_backward_hook(lambda module, inputs, outputs: None)
    return layer


IMAGES: dict[str, tuple[Function, Function]] = {
    "channels last": (lambda x: x.permute(0, 2, 3, 1), lambda x: x.permute(0, 3, 1, 2)),
    "movedim": (lambda x: x.movedim(1, -1), lambda x: torch.movedim(x, -1, 1)),
    "positions in one": (
        lambda x: x.flatten(2),
        lambda x: x.unflatten(2, [int(x.shape[2] ** 0.5)] * 2),
    ),
    "tokens": (
        lambda x: x.flatten(2).transpose(1, 2),
        lambda x: x.mT.reshape(len(x), x.shape[2], int(x.shape[1] ** 0.5), -1),
    ),
    "copies": (lambda x: x.contiguous().clone(), lambda x: x.to(x.dtype)),
}
TOKENS: dict[str, tuple[Function, Function]] = {
    "channels second": (lambda x: x.mT, lambda x: x.mT),
    "a dimension more": (lambda x: x.unsqueeze(1), lambda x: x.squeeze(1)),
    "heads": (lambda x: x.unflatten(-1, (1, -1)), lambda x: x.flatten(2)),
    "view": (lambda x: x.contiguous().view(x.shape), lambda x: x.reshape(x.shape)),
}


def scores(model: nn.Module, x: Tensor) -> list[float]:
    found = archrank.score(model, x, torch.arange(N) % 4, proxies=PROXIES)
    assert all(found[name].status == "ok" for name in PROXIES), found
    return [found[name].value for name in PROXIES]


def check(
    layers: Callable[[], list[nn.Module]],
    ways: tuple[Function, Function],
    x: Tensor,
    count: int = len(PROXIES),
) -> None:
    found = []
    for move, back in (ways, (unchanged, unchanged)):
        torch.manual_seed(0)
        found.append(scores(Chain(layers(), move, back, layers is tokens).double(), x))
    assert found[0][:count] == pytest.approx(found[1][:count], rel=1e-9)


@pytest.mark.parametrize("kind", IMAGES)
def test_images(kind: str) -> None:
    x = torch.randn(N, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    check(images, IMAGES[kind], x, 2 if kind == "tokens" else 3)


@pytest.mark.parametrize("kind", TOKENS)
def test_tokens(kind: str) -> None:
    """Trainability reads signs drawn at random, which lie otherwise in another layout."""
    x = torch.randn(N, 7, 3, generator=torch.Generator().manual_seed(1)).double()
    check(tokens, TOKENS[kind], x, 3 if kind == "view" else 2)


@pytest.mark.parametrize("kind", ["channels second", "view"])
def test_signals(kind: str) -> None:
    x = torch.randn(N, 3, 9, generator=torch.Generator().manual_seed(1)).double()
    check(signals, TOKENS[kind], x, 3 if kind == "view" else 2)


@pytest.mark.parametrize("layers", [images, tokens, signals])
def test_hooks(layers: Callable[[], list[nn.Module]]) -> None:
    shape = {images: (N, 3, 8, 8), tokens: (N, 7, 3), signals: (N, 3, 9)}[layers]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
    found = []
    for wrap in (hooked, lambda layer: layer):
        torch.manual_seed(0)
        chain = Chain([wrap(layer) for layer in layers()], unchanged, unchanged, layers is tokens)
        found.append(scores(chain.double(), x))
    assert found[0] == pytest.approx(found[1], rel=1e-9)
