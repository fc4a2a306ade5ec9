"""Families on patches of the image as tokens: attention and mixer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....graphs import Piece
from ..contract import Signature


class Patches(Piece):
    """Patches of the image as tokens, with learned positions by choice."""

    def __init__(self, inputs: tuple[int, ...], patch: int, width: int, positions: bool):
        super().__init__()
        self.conv = nn.Conv2d(inputs[0], width, patch, patch)
        tokens = (inputs[1] // patch) * (inputs[2] // patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, width)) if positions else None

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.conv(x).flatten(2).transpose(1, 2)
        return tokens if self.positions is None else tokens + self.positions


class Attention(Piece):
    """Self-attention with its norm and residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.out(mixed.transpose(1, 2).reshape(n, tokens, width))
        return x + joined


class FeedForward(Piece):
    """Two linear layers with their norm and residual, over channels or over tokens."""

    def __init__(self, width: int, size: int, hidden: int, over_tokens: bool = False):
        super().__init__()
        self.over_tokens = over_tokens
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(size, hidden)
        self.down = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = y.transpose(1, 2) if self.over_tokens else y
        y = self.down(F.gelu(self.up(y)))
        added: Tensor = y.transpose(1, 2) if self.over_tokens else y
        return x + added


class TokenHead(Piece):
    """Norm, average over tokens, linear classifier."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x).mean(1))  # type: ignore[no-any-return]


def vit(v: dict[str, Any], task: Signature) -> nn.Module:
    width = v["width"]
    layers: list[nn.Module] = [Patches(task.inputs, v["patch"], width, bool(v["positions"]))]
    for _ in range(v["depth"]):
        layers.append(Attention(width, v["heads"]))
        layers.append(FeedForward(width, width, v["ratio"] * width))
    return nn.Sequential(*layers, TokenHead(width, task.outputs))


def mixer(v: dict[str, Any], task: Signature) -> nn.Module:
    width, patch = v["width"], v["patch"]
    tokens = (task.inputs[1] // patch) * (task.inputs[2] // patch)
    layers: list[nn.Module] = [Patches(task.inputs, patch, width, False)]
    for _ in range(v["depth"]):
        if v["tokens"]:
            layers.append(FeedForward(width, tokens, v["tokens"], over_tokens=True))
        layers.append(FeedForward(width, width, v["ratio"] * width))
    return nn.Sequential(*layers, TokenHead(width, task.outputs))
