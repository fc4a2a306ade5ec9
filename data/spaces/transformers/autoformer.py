"""AutoFormer: vision transformers whose layers differ in heads and MLP ratio."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..contract import Choice, Signature, Values
from ..reading import ArchitectureReader
from .layered import LayeredSpace

HEAD_SIZE = 64
"""Of every head, whatever the width of the embedding."""

_PATCH = 16
_FURTHEST = 14  # greater distances share the entry of this one


class PatchTokens(Piece):
    """Patches as tokens behind a class token, with learned positions."""

    def __init__(self, channels: int, size: int, width: int):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, _PATCH, _PATCH)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + (size // _PATCH) ** 2, width))
        for parameter in (self.class_token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.positions


def relative_places(side: int) -> tuple[Tensor, Tensor]:
    """Return the vertical and horizontal distances of all pairs of tokens, as rows of the tables.

    Row 0 is for pairs with the class token.
    """
    place = torch.arange(side * side)
    found = []
    for along in (place // side, place % side):
        distance = (along[None] - along[:, None]).clamp(-_FURTHEST, _FURTHEST)
        found.append(nn.functional.pad(distance + _FURTHEST + 1, (1, 0, 1, 0)))
    return found[0], found[1]


class RelativePositions(nn.Module):
    """A learned vector for every pair of tokens: that of its rows' distance plus its columns'."""

    vertical_places: Tensor
    horizontal_places: Tensor

    def __init__(self, side: int):
        super().__init__()
        self.vertical = nn.Parameter(torch.empty(2 * _FURTHEST + 2, HEAD_SIZE))
        self.horizontal = nn.Parameter(torch.empty(2 * _FURTHEST + 2, HEAD_SIZE))
        for parameter in (self.vertical, self.horizontal):
            nn.init.trunc_normal_(parameter, std=0.02)
        vertical, horizontal = relative_places(side)
        self.register_buffer("vertical_places", vertical, persistent=False)
        self.register_buffer("horizontal_places", horizontal, persistent=False)

    def forward(self) -> Tensor:
        return self.vertical[self.vertical_places] + self.horizontal[self.horizontal_places]


class Attention(nn.Module):
    """Self-attention with relative positions added to the keys and to the values."""

    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * HEAD_SIZE * heads)
        self.key_positions = RelativePositions(side)
        self.value_positions = RelativePositions(side)
        self.project = nn.Linear(HEAD_SIZE * heads, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, HEAD_SIZE)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)

        def by_place(these: Tensor, vectors: Tensor) -> Tensor:
            """Multiply every token by its own matrix of relative positions."""
            moved: Tensor = these.permute(2, 0, 1, 3).flatten(1, 2) @ vectors
            return moved.view(length, batch, self.heads, -1).permute(1, 2, 0, 3)

        near = by_place(query, self.key_positions().transpose(1, 2))
        weights = ((query @ key.transpose(-2, -1) + near) * HEAD_SIZE**-0.5).softmax(-1)
        found = weights @ value + by_place(weights, self.value_positions())
        return self.project(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two matrices with GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation = nn.GELU()
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


class Layer(Piece):
    """Attention, then MLP, each behind a norm and added to its input."""

    def __init__(self, width: int, heads: int, hidden: int, side: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, side)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Head(Piece):
    """Norm, average of all tokens but the class token, linear classifier."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(x)[:, 1:].mean(1))  # type: ignore[no-any-return]


def vision_transformer(
    width: int, layers: list[tuple[int, float]], shape: tuple[int, ...], classes: int
) -> nn.Sequential:
    """Build the network of an embedding width and the heads and MLP ratio of every layer."""
    channels, size = shape[:2]
    return nn.Sequential(
        OrderedDict(
            tokens=PatchTokens(channels, size, width),
            layers=nn.Sequential(
                *(Layer(width, h, int(width * ratio), size // _PATCH) for h, ratio in layers)
            ),
            head=Head(width, classes),
        )
    )


class AutoFormer(LayeredSpace):
    """Embedding width, then heads and MLP ratio of every layer: ``e192-h3r3.5,h4r4,...``.

    Every layer has its own tables of relative positions. There is a class token, but the classifier
    reads the average of the other tokens, as in the released training.
    """

    reference = "Chen et al., AutoFormer, ICCV 2021"
    tasks: ClassVar[dict[str, Signature]] = {"imagenet": Signature((3, 224, 224), 1000)}
    widths: ClassVar[tuple[int, ...]]
    mark = "r"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.choose(Choice("width", cls.widths))

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        reader.expect("e")
        width = reader.integer(self.widths)
        reader.expect("-")
        return (width, *self.read_layers(reader))

    def format(self, values: Values) -> str:
        return f"e{values[0]}-{self.format_layers(values)}"

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = self.parse(arch)
        layers = [(heads, float(ratio)) for heads, ratio in self.layers(values)]
        return vision_transformer(values[0], layers, task.inputs, task.outputs)


class AutoFormerTiny(AutoFormer):
    """The smallest of the three AutoFormer spaces.

    Example:
        >>> from archrank.data import space
        >>> space("autoformer_tiny").graph("e192-" + ",".join(["h3r3.5"] * 12)).params
        5366056
    """

    name = "autoformer_tiny"
    title = "AutoFormer Tiny"
    widths = (192, 216, 240)
    heads = (3, 4)
    ratios = ("3.5", "4")
    depths = (12, 13, 14)


class AutoFormerSmall(AutoFormer):
    """The middle one of the three AutoFormer spaces.

    Example:
        >>> from archrank.data import space
        >>> space("autoformer_small").graph("e320-" + ",".join(["h5r3"] * 12)).params
        13057320
    """

    name = "autoformer_small"
    title = "AutoFormer Small"
    widths = (320, 384, 448)
    heads = (5, 6, 7)
    ratios = ("3", "3.5", "4")
    depths = (12, 13, 14)


class AutoFormerBase(AutoFormer):
    """The largest of the three AutoFormer spaces.

    Example:
        >>> from archrank.data import space
        >>> space("autoformer_base").graph("e528-" + ",".join(["h9r3"] * 14)).params
        41687896
    """

    name = "autoformer_base"
    title = "AutoFormer Base"
    widths = (528, 576, 624)
    heads = (9, 10)
    ratios = ("3", "3.5", "4")
    depths = (14, 15, 16)
