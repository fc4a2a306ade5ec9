"""PiT: vision transformers of three stages, with convolutions that pool the tokens between them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....graphs import Piece
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader
from .autoformer import MLP

_PATCH, _STRIDE = 16, 8
_EPS = 1e-6


class OverlappingTokens(Piece):
    """Overlapping patches as tokens behind a class token; a learned map of positions is added."""

    def __init__(self, channels: int, size: int, width: int):
        super().__init__()
        side = (size - _PATCH) // _STRIDE + 1
        self.patches = nn.Conv2d(channels, width, _PATCH, _STRIDE)
        self.positions = nn.Parameter(torch.empty(1, width, side, side))
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        for parameter in (self.positions, self.class_token):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.patches(x) + self.positions).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)


class Attention(nn.Module):
    """Plain self-attention of tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        found = F.scaled_dot_product_attention(query, key, value)
        return self.project(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(Piece):
    """Attention, then MLP, each behind a norm and added to its input."""

    def __init__(self, width: int, heads: int, ratio: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = MLP(width, ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class TokenPool(Piece):
    """A strided convolution of one group for each channel; a matrix on the class token."""

    def __init__(self, c_in: int, c_out: int, side: int):
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(c_in, c_out, 3, 2, 1, groups=c_in)
        self.linear = nn.Linear(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        grid = x[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        pooled = self.conv(grid).flatten(2).transpose(1, 2)
        return torch.cat([self.linear(x[:, :1]), pooled], 1)


class Head(Piece):
    """Norm and linear classifier of the class token."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(x[:, 0]))  # type: ignore[no-any-return]


def pooling_transformer(
    base: int,
    ratio: int,
    stages: list[tuple[int, int]],
    shape: tuple[int, ...],
    classes: int,
) -> nn.Sequential:
    """Build the network of a width per head, an MLP ratio, and (layers, heads) of every stage."""
    channels, size = shape[:2]
    width = base * stages[0][1]
    side = (size - _PATCH) // _STRIDE + 1
    parts: list[nn.Module] = [OverlappingTokens(channels, size, width)]
    for i, (depth, heads) in enumerate(stages):
        if i:
            parts.append(TokenPool(width, base * heads, side))
            width, side = base * heads, (side + 1) // 2
        parts.append(nn.Sequential(*(Layer(width, heads, ratio) for _ in range(depth))))
    return nn.Sequential(*parts, Head(width, classes))


_DEPTHS = ((1, 2, 3), (4, 6, 8), (2, 4, 6))
_HEADS = tuple(heads for heads in product((2, 4, 8), repeat=3) if list(heads) == sorted(heads))


class PiT(ChoiceSpace):
    """Width per head, MLP ratio, then layers and heads of three stages: ``b32r4-d2h2-d6h4-d4h8``.

    Pooling cannot narrow the tokens, so heads never become fewer from stage to stage. Widths of
    both published ranges, 16 to 40 (tiny) and 40 to 64 (XS), are allowed.

    Example:
        >>> from archrank.data.spaces.transformers.pit import PiT
        >>> PiT().graph("b32r4-d2h2-d6h4-d4h8").params
        4847272
    """

    name = "pit"
    title = "PiT"
    reference = (
        "Heo et al., PiT, ICCV 2021; Zhou et al., Training-free transformer search, CVPR 2022"
    )
    tasks: ClassVar[dict[str, Signature]] = {"imagenet": Signature((3, 224, 224), 1000)}
    choices = (
        Choice("base", tuple(range(16, 65, 8))),
        Choice("ratio", (2, 4, 6, 8)),
        Choice("heads", _HEADS),
        *(Choice(f"depth{i}", depths) for i, depths in enumerate(_DEPTHS)),
    )
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        reader.expect("b")
        base = reader.integer(self.choices[0].options)
        reader.expect("r")
        ratio = reader.integer(self.choices[1].options)
        depths: list[int] = []
        heads: list[int] = []
        for allowed in _DEPTHS:
            reader.expect("-d")
            depths.append(reader.integer(allowed))
            reader.expect("h")
            heads.append(reader.integer([n for n in (2, 4, 8) if not heads or n >= heads[-1]]))
        reader.end()
        return (base, ratio, tuple(heads), *depths)

    def format(self, values: Values) -> str:
        base, ratio, heads, *depths = values
        stages = (f"d{depth}h{n}" for depth, n in zip(depths, heads, strict=True))
        return "-".join([f"b{base}r{ratio}", *stages])

    def __iter__(self) -> Iterator[str]:
        options: list[tuple[Any, ...]] = [choice.options for choice in self.choices]
        return map(self.format, product(*options))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        base, ratio, heads, *depths = self.parse(arch)
        stages = list(zip(depths, heads, strict=True))
        return pooling_transformer(base, ratio, stages, task.inputs, task.outputs)
