"""The embedded benchmark's space: ten families of small networks for 8x8 digits.

Networks are sized so that one is trained in seconds on one CPU core; the families differ as the
published ones do (cells, plain, residual, dense, inverted residual, inception-like, two-path,
HiAML-like, ViT, mixer). All of it is our choice, and fixed: the labels in ``data/digits`` belong
to exactly these networks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...graphs import Piece
from .blocks import Concat, ConvUnit
from .cells.nasbench201 import EDGES, Cell, NASBench201, Reduction, Stem
from .cells.nasbench201 import OPERATORS as CELL_OPERATORS
from .cells.nasbench201 import Head as NormalisedHead
from .contract import Choice, ChoiceSpace, Task, Values, product_size
from .reading import Reader


class Head(Piece):
    """Global average and linear classifier."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]


class Sum(Piece):
    """Sum of branches of one input, then ReLU."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in list(self.branches)[1:]:
            total = total + branch(x)
        return torch.relu(total)


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    if c_in == c_out and stride == 1:
        return nn.Identity()
    return ConvUnit(c_in, c_out, 1, stride, activation="none")


# --- families -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """A kind of network: its choices and how values become one."""

    name: str
    choices: tuple[Choice, ...]
    network: Callable[[dict[str, Any], Task], nn.Module]


def _cell(v: dict[str, Any], task: Task) -> nn.Module:
    operators = tuple(v[f"e{source}{target}"] for source, target in EDGES)
    width, depth = v["width"], v["depth"]
    body: list[nn.Module] = [Cell(operators, width, width) for _ in range(depth)]
    body.append(Reduction(width, 2 * width))
    body.extend(Cell(operators, 2 * width, 2 * width) for _ in range(depth))
    return nn.Sequential(
        Stem(task.inputs[0], width), *body, NormalisedHead(2 * width, task.outputs)
    )


def _plain(v: dict[str, Any], task: Task) -> nn.Module:
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


def _residual(v: dict[str, Any], task: Task) -> nn.Module:
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
            layers.append(Sum(_shortcut(c_in, c_out, stride), nn.Sequential(*branch)))
            c_in = c_out
    return nn.Sequential(*layers, Head(c_in, task.outputs))


def _dense(v: dict[str, Any], task: Task) -> nn.Module:
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


def _inverted(v: dict[str, Any], task: Task) -> nn.Module:
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


def _path_operator(name: str, c_in: int, c_out: int, stride: int = 1) -> nn.Module:
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


_PATH_OPERATORS = ("conv1", "conv3", "conv5", "split3", "double3", "separable3", "pool")


def _inception(v: dict[str, Any], task: Task) -> nn.Module:
    c_in = v["width"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
    for stage in (1, 2):
        names = [v[f"path{p}"] for p in range(1, 4) if v[f"path{p}"] != "off"]
        width = v["width"] * stage
        for i in range(v["depth"]):
            stride = 2 if stage > 1 and i == 0 else 1
            paths = [_path_operator(name, c_in, width, stride) for name in names]
            merged = ConvUnit(width * len(paths), width, 1, activation="none")
            branch = nn.Sequential(Concat(*paths) if len(paths) > 1 else paths[0], merged)
            if stride == 1 and c_in == width:
                layers.append(Sum(nn.Identity(), branch))
            else:
                layers.append(Sum(branch))
            c_in = width
    return nn.Sequential(*layers, Head(c_in, task.outputs))


def _two_path(v: dict[str, Any], task: Task) -> nn.Module:
    width = v["width"]
    paths = []
    for path in ("left", "right"):
        c_in, layers = width, []
        for i, name in enumerate(v[f"{path}{n}"] for n in (1, 2, 3)):
            if name == "off":
                continue
            stride = 2 if i in (0, 2) else 1
            layers.append(_path_operator(name, c_in, c_in * stride, stride))
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
        self.shortcut = _shortcut(c_in, c_out, stride) if motif in ("b", "j", "r") else None
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


_MOTIFS = ("z", "a", "b", "c", "j", "l", "r", "s")


def _hiaml(v: dict[str, Any], task: Task) -> nn.Module:
    c_in = v["width"]
    layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
    for stage in (1, 2, 3):
        c_out = v["width"] * (1, 2, 2)[stage - 1]
        for i in range(2):
            stride = 2 if stage == 2 and i == 0 else 1
            layers.append(MotifBlock(v[f"stage{stage}"], c_in, c_out, stride))
            c_in = c_out
    return nn.Sequential(*layers, Head(c_in, task.outputs))


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


def _vit(v: dict[str, Any], task: Task) -> nn.Module:
    width = v["width"]
    layers: list[nn.Module] = [Patches(task.inputs, v["patch"], width, bool(v["positions"]))]
    for _ in range(v["depth"]):
        layers.append(Attention(width, v["heads"]))
        layers.append(FeedForward(width, width, v["ratio"] * width))
    return nn.Sequential(*layers, TokenHead(width, task.outputs))


def _mixer(v: dict[str, Any], task: Task) -> nn.Module:
    width, patch = v["width"], v["patch"]
    tokens = (task.inputs[1] // patch) * (task.inputs[2] // patch)
    layers: list[nn.Module] = [Patches(task.inputs, patch, width, False)]
    for _ in range(v["depth"]):
        if v["tokens"]:
            layers.append(FeedForward(width, tokens, v["tokens"], over_tokens=True))
        layers.append(FeedForward(width, width, v["ratio"] * width))
    return nn.Sequential(*layers, TokenHead(width, task.outputs))


def _choices(**options: Sequence[Any]) -> tuple[Choice, ...]:
    return tuple(Choice(name, tuple(values)) for name, values in options.items())


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "cell",
            _choices(
                width=(4, 8, 12),
                depth=(1, 2),
                **{f"e{source}{target}": CELL_OPERATORS for source, target in EDGES},
            ),
            _cell,
        ),
        Family(
            "plain",
            _choices(
                width=(4, 8, 16, 24),
                grow=(1, 2),
                depth1=(1, 2, 3),
                depth2=(1, 2, 3),
                kernel=(1, 3, 5),
                norm=("bn", "off"),
                act=("relu", "tanh", "silu"),
            ),
            _plain,
        ),
        Family(
            "residual",
            _choices(
                width=(4, 6, 8, 12),
                depth1=(1, 2),
                depth2=(1, 2),
                depth3=(0, 1, 2),
                kernel=(1, 3, 5),
                block=("basic", "bottleneck"),
            ),
            _residual,
        ),
        Family(
            "dense",
            _choices(
                growth=(2, 4, 6, 8, 10),
                depth1=(1, 2, 3, 4),
                depth2=(1, 2, 3, 4),
                kernel=(1, 3, 5),
                bottleneck=(0, 1),
            ),
            _dense,
        ),
        Family(
            "inverted",
            _choices(
                width=(4, 8, 12),
                depth1=(1, 2),
                depth2=(1, 2),
                expand1=(1, 3, 6),
                expand2=(1, 3, 6),
                kernel1=(1, 3, 5),
                kernel2=(1, 3, 5),
                se=(0, 1),
            ),
            _inverted,
        ),
        Family(
            "inception",
            _choices(
                width=(4, 8, 12),
                depth=(1, 2),
                path1=_PATH_OPERATORS,
                path2=("off", *_PATH_OPERATORS),
                path3=("off", *_PATH_OPERATORS),
            ),
            _inception,
        ),
        Family(
            "two_path",
            _choices(
                width=(4, 6, 8),
                **{
                    f"{path}{i}": ("off", *_PATH_OPERATORS) if i == 2 else _PATH_OPERATORS
                    for path, i in product(("left", "right"), (1, 2, 3))
                },
            ),
            _two_path,
        ),
        Family(
            "hiaml",
            _choices(width=(4, 8, 12), stage1=_MOTIFS, stage2=_MOTIFS, stage3=_MOTIFS),
            _hiaml,
        ),
        Family(
            "vit",
            _choices(
                width=(16, 24, 32, 48),
                patch=(1, 2, 4),
                depth=(1, 2, 3, 4),
                heads=(1, 2, 4),
                ratio=(1, 2, 4),
                positions=(0, 1),
            ),
            _vit,
        ),
        Family(
            "mixer",
            _choices(
                width=(8, 16, 32, 48),
                patch=(1, 2, 4),
                depth=(1, 2, 3, 4),
                tokens=(0, 8, 16, 32),
                ratio=(1, 2, 4),
            ),
            _mixer,
        ),
    )
}


class Digits(ChoiceSpace):
    """Ten families of small networks for 8x8 digits, written ``family:name=value,...``.

    Example:
        >>> from archrank.data import space
        >>> digits = space("digits")
        >>> arch = "plain:width=8,grow=2,depth1=1,depth2=1,kernel=3,norm=bn,act=relu"
        >>> digits.graph(arch).params, digits.graph(arch).product_flops
        (1442, 23200)
    """

    name = "digits"
    title = "Ten families of small networks for 8x8 digits"
    reference = "our choice"
    tasks: ClassVar[dict[str, Task]] = {"digits": Task((1, 8, 8), 10)}
    choices = (
        Choice("family", tuple(FAMILIES)),
        *(
            Choice(f"{family.name}.{choice.name}", choice.options)
            for family in FAMILIES.values()
            for choice in family.choices
        ),
    )
    size = sum(product_size(family.choices) for family in FAMILIES.values())

    def active(self, values: Values) -> list[bool]:
        return [
            choice.name == "family" or choice.name.startswith(f"{values[0]}.")
            for choice in self.choices
        ]

    def _span(self, family: Family) -> slice:
        first = [choice.name for choice in self.choices].index(
            f"{family.name}.{family.choices[0].name}"
        )
        return slice(first, first + len(family.choices))

    def parse(self, arch: str) -> Values:
        reader = Reader(arch, self.name)
        family = FAMILIES[reader.one_of(FAMILIES)]
        own: list[Any] = []
        for i, choice in enumerate(family.choices):
            reader.expect("," if i else ":")
            reader.expect(f"{choice.name}=")
            if isinstance(choice.options[0], int):
                own.append(reader.integer(choice.options))
            else:
                own.append(reader.one_of(choice.options))
        reader.end()
        values: list[Any] = [family.name, *[None] * (len(self.choices) - 1)]
        values[self._span(family)] = own
        return tuple(values)

    def format(self, values: Values) -> str:
        family = FAMILIES[values[0]]
        own = zip(family.choices, values[self._span(family)], strict=True)
        return f"{family.name}:" + ",".join(f"{choice.name}={value}" for choice, value in own)

    def draw(self, rng: random.Random) -> str:
        """A family, then its choices, each uniform."""
        return self.draw_from(rng.choice(tuple(FAMILIES)), rng)

    def draw_from(self, family: str, rng: random.Random) -> str:
        """One random architecture of a family."""
        values: list[Any] = [family, *[None] * (len(self.choices) - 1)]
        kind = FAMILIES[family]
        values[self._span(kind)] = [rng.choice(choice.options) for choice in kind.choices]
        return self.format(tuple(values))

    def neighbours(self, arch: str) -> list[str]:
        """Every architecture of the same family that differs in one choice."""
        family = self.values(arch)[0]
        return [other for other in super().neighbours(arch) if self.values(other)[0] == family]

    def canonical(self, arch: str) -> str:
        """Cells of the same function are one network; so are two paths that change places."""
        values = list(self.values(arch))
        family = FAMILIES[values[0]]
        span = self._span(family)
        own = dict(zip([c.name for c in family.choices], values[span], strict=True))
        if family.name == "cell":
            cells = NASBench201()
            names = [f"e{source}{target}" for source, target in EDGES]
            same = cells.canonical(cells.format(tuple(own[name] for name in names)))
            own.update(zip(names, cells.parse(same), strict=True))
        if family.name == "two_path":
            sides = sorted([own[f"{side}{i}"] for i in (1, 2, 3)] for side in ("left", "right"))
            for side, names in zip(("left", "right"), sides, strict=True):
                own.update({f"{side}{i}": name for i, name in zip((1, 2, 3), names, strict=True)})
        values[span] = own.values()
        return self.format(tuple(values))

    def network(self, arch: str, task: Task, name: str) -> nn.Module:
        values = self.values(arch)
        family = FAMILIES[values[0]]
        names = [choice.name for choice in family.choices]
        return family.network(dict(zip(names, values[self._span(family)], strict=True)), task)
