"""Rectifiers have the channels of the layer before them, wherever its numbers were taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

OF_CHANNELS = ["near", "meco", "meco_opt"]
Move = Callable[[Tensor], Tensor]


class Model(nn.Module):
    """An image (N, 6, 6, 6), tokens (N, 36, 12) and a signal (N, 8, 36), and what reads one."""

    def __init__(self, kind: str, way: Move):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.signal = nn.Conv2d(3, 6, 3, padding=1), nn.Conv1d(6, 8, 3, padding=1)
        self.tokens, self.kind, self.way = nn.Linear(6, 12), kind, way

    def made(self, x: Tensor) -> dict[str, Tensor]:
        image = self.image(x)
        tokens, signal = self.tokens(image.flatten(2).mT), self.signal(image.flatten(2))
        return {"image": image, "tokens": tokens, "signal": signal}

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self.made(x)[self.kind]).reshape(len(x), -1)[:, :40]


def data() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 3, 6, 6, generator=generator, dtype=torch.float64)


def scored(kind: str, way: Move) -> list[float]:
    found = archrank.score(Model(kind, way).double(), data(), proxies=OF_CHANNELS)
    return [found[name].value for name in OF_CHANNELS]


MOVES: dict[str, tuple[str, Move]] = {
    "as an image": ("tokens", lambda t: t.view(-1, 6, 6, 12)),
    "windows": ("tokens", lambda t: t.view(-1, 9, 4, 12)),
    "windows folded": ("tokens", lambda t: t.view(-1, 4, 12)),
    "groups of channels": ("tokens", lambda t: t.view(-1, 36, 3, 4)),
    "heads": ("tokens", lambda t: t.view(-1, 36, 3, 4).transpose(1, 2)),
    "heads folded": ("tokens", lambda t: t.view(-1, 36, 3, 4).transpose(1, 2).flatten(0, 1)),
    "one more dimension": ("tokens", lambda t: t[:, None]),
    "as a sequence": ("image", lambda t: t.flatten(2)),
    "as features": ("image", lambda t: t.flatten(1)),
    "groups of maps": ("image", lambda t: t.view(-1, 2, 3, 6, 6)),
    "shuffled": ("image", lambda t: t.view(-1, 2, 3, 6, 6).transpose(1, 2).flatten(1, 2)),
    "pixels unshuffled": ("image", lambda t: F.pixel_unshuffle(t, 2)),
    "signal as an image": ("signal", lambda t: t.unflatten(2, (6, 6))),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_rectifier_before_and_behind_a_move(name: str) -> None:
    kind, move = MOVES[name]
    behind = scored(kind, lambda t: F.gelu(move(t)))
    before = scored(kind, lambda t: move(F.gelu(t)))
    assert behind == pytest.approx(before, rel=1e-6)


PARTS: dict[str, tuple[str, int, Move]] = {
    "half of the tokens' channels": ("tokens", 2, lambda t: t.chunk(2, -1)[1]),
    "half of the signal's channels": ("signal", 1, lambda t: t.chunk(2, 1)[0]),
    "some positions": ("signal", 1, lambda t: t[..., 3:]),
    "padded": ("signal", 1, lambda t: F.pad(t, (3, 2))),
    "pooled": ("signal", 1, lambda t: F.avg_pool1d(t, 2)),
    "averaged": ("tokens", 3, lambda t: t.view(-1, 6, 3, 2, 12).mean(3)),
    "interpolated": ("signal", 1, lambda t: F.interpolate(t, scale_factor=2)),
    "more positions": ("signal", 1, lambda t: torch.cat([t, t], 2)),
    "more channels": ("signal", 1, lambda t: torch.cat([t, t.square()], 1)),
    "queries of heads": (
        "tokens",
        2,
        lambda t: t.view(-1, 36, 3, 2, 2).permute(2, 0, 3, 1, 4)[0].transpose(1, 2).flatten(2),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_near_of_what_a_rectifier_gives_of_a_part(name: str) -> None:
    """Layers and the rectifier by singular values of rows by channels."""
    kind, place, part = PARTS[name]
    model = Model(kind, lambda t: F.gelu(part(t))).double()
    made = model.made(data())
    given = [(made["image"], 1), (made["tokens"], 2), (made["signal"], 1)]
    total = 0.0
    for features, dim in (*given, (F.gelu(part(made[kind])), place)):
        rows = features.detach().movedim(dim, -1).flatten(0, -2).numpy()
        values = np.linalg.svd(rows, compute_uv=False)
        shares = values / values.sum()
        total += np.exp(-(shares * np.log(shares.clip(1e-300))).sum())
    found = archrank.score(model, data(), proxies=["near"])["near"]
    assert found.value == pytest.approx(total, rel=1e-6)
