"""TransNAS-Bench-101: a cell space and a macro space, each with seven tasks' heads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain, groupby, permutations, product
from math import floor, log2
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....graphs import Piece
from ...image_batches import images
from ..blocks import ConvUnit, FactorizedReduce, PooledLinear
from ..contract import Choice, ChoiceSpace, Signature, Space, Values, product_size
from ..reading import ArchitectureReader
from .nasbench201 import EDGES, DenseCell, ReLUConvBN

BASE = 64
MICRO_MODULES = (4, 1, 4, 1, 4)
OPERATORS = ("none", "skip", "conv1x1", "conv3x3")
"""By digit."""
_DIGITS = (0, 1, 2, 3)
_INPUT = -1  # the input of a cell, among the numbers of its edges
_IMAGE = (3, 256, 256)
_TASKS = {
    "class_scene": Signature(_IMAGE, 47),
    "class_object": Signature(_IMAGE, 75),
    "room_layout": Signature(_IMAGE, 9),
    "jigsaw": Signature((9, 3, 64, 64), 1000),
    "segmentsemantic": Signature(_IMAGE, 17),
    "normal": Signature(_IMAGE, 3),
    "autoencoder": Signature(_IMAGE, 3),
    # The zero-cost study built these with other numbers of outputs.
    "class_scene-63": Signature(_IMAGE, 63),
    "class_object-100": Signature(_IMAGE, 100),
}


# --- backbones ------------------------------------------------------------------------------------


class Zero(Piece):
    """Zeros of the shape that the block gives."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.c_in, self.c_out, self.stride = c_in, c_out, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.c_in == self.c_out and self.stride == 1:
            return x.mul(0.0)
        strided = x[:, :, :: self.stride, :: self.stride]
        return strided.mul(0.0).repeat(1, -(-self.c_out // self.c_in), 1, 1)[:, : self.c_out]


def _operator(digit: int, c_in: int, c_out: int, stride: int) -> nn.Module:
    if digit == 0:
        return Zero(c_in, c_out, stride)
    if digit == 1:
        if stride == 1 and c_in == c_out:
            return nn.Identity()
        return FactorizedReduce(c_in, c_out) if stride == 2 else ReLUConvBN(c_in, c_out, 1)
    return ReLUConvBN(c_in, c_out, 1 if digit == 2 else 3, stride)


class Cell(DenseCell):
    """Four nodes; edges from the first carry the stride and the change of channels."""

    def __init__(self, digits: tuple[int, ...], c_in: int, c_out: int, stride: int):
        super().__init__()
        self.edges = nn.ModuleList(
            _operator(digit, c_in, c_out, stride)
            if source == 0
            else _operator(digit, c_out, c_out, 1)
            for digit, (source, _) in zip(digits, EDGES, strict=True)
        )


class Basic(Piece):
    """Two 3x3 beside identity, or beside a strided 1x1 where the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.first = ReLUConvBN(c_in, c_out, 3, stride)
        self.second = ReLUConvBN(c_out, c_out, 3)
        same = stride == 1 and c_in == c_out
        self.shortcut = (
            nn.Identity() if same else ConvUnit(c_in, c_out, 1, stride, activation="none")
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))  # type: ignore[no-any-return]


def _backbone(
    channels: int, modules: tuple[int, ...], cell: tuple[int, ...] | None
) -> list[nn.Module]:
    """Build stem and modules of two blocks; only a module's first block changes the shape."""
    layers: list[nn.Module] = [
        ConvUnit(channels, BASE // 2, 3, 2, activation="none"),
        ReLUConvBN(BASE // 2, BASE, 3, 2),
    ]
    c_in = BASE
    for kind in modules:
        c_out = c_in * (2 if kind % 2 == 0 else 1)
        for stride, width in ((2 if kind > 2 else 1, c_in), (1, c_out)):
            layers.append(
                Basic(width, c_out, stride) if cell is None else Cell(cell, width, c_out, stride)
            )
        c_in = c_out
    return layers


# --- heads ----------------------------------------------------------------------------------------


class Tiles(Piece):
    """The nine tiles of each image as a batch of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)


class JigsawHead(Piece):
    """Nine pooled tiles side by side, linear."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(9 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x).flatten(1)
        return self.linear(pooled.reshape(-1, 9 * pooled.shape[1]))  # type: ignore[no-any-return]


class DecoderLayer(Piece):
    """3x3 convolution, or transposed one of stride 2; norm; leaky ReLU."""

    def __init__(self, c_in: int, c_out: int, up: bool = False):
        super().__init__()
        self.conv: nn.Module = (
            nn.ConvTranspose2d(c_in, c_out, 3, 2, 1, 1)
            if up
            else nn.Conv2d(c_in, c_out, 3, padding=1)
        )
        self.norm = nn.BatchNorm2d(c_out)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))  # type: ignore[no-any-return]


class DecoderOutput(Piece):
    """3x3 convolution alone, or with tanh."""

    def __init__(self, c_in: int, c_out: int, tanh: bool):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.activation = nn.Tanh() if tanh else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(x))  # type: ignore[no-any-return]


def _decoder(width: int, outputs: int, modules: tuple[int, ...], segments: bool) -> nn.Module:
    # Sized for images of 224, whatever they are.
    side = 56
    for kind in modules:
        side //= 2 if kind > 2 else 1
    ups = floor(log2(256 / side))
    if segments:
        plan = [(1024, False)]
        for up in (*[False] * (6 - ups), *[True] * (ups - 1)):
            plan.append((plan[-1][0] // 2, up))
        plan.append((plan[-1][0], True))
    else:
        plan = [
            *((1024, False), (1024, False), (512, ups >= 6), (512, False), (256, ups >= 5)),
            *((128, False), (64, ups >= 4), (64, False), (32, ups >= 3), (32, False)),
            *((16, True), (32, False), (16, True)),
        ]
    layers: list[nn.Module] = []
    for c_out, up in plan:
        layers.append(DecoderLayer(width, c_out, up))
        width = c_out
    return nn.Sequential(*layers, DecoderOutput(width, outputs, tanh=not segments))


def _network(
    modules: tuple[int, ...], cell: tuple[int, ...] | None, task: Signature, name: str
) -> nn.Module:
    doublings = sum(kind % 2 == 0 for kind in modules)
    width = BASE * 2**doublings
    if name == "jigsaw":
        backbone = _backbone(task.inputs[1], modules, cell)
        return nn.Sequential(Tiles(), *backbone, JigsawHead(width, task.outputs))
    backbone = _backbone(task.inputs[0], modules, cell)
    if name in ("segmentsemantic", "normal", "autoencoder"):
        decoder = _decoder(width, task.outputs, modules, name == "segmentsemantic")
        return nn.Sequential(*backbone, decoder)
    return nn.Sequential(*backbone, PooledLinear(width, task.outputs))


# --- what the heads learn -------------------------------------------------------------------------


def regression_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean squared error; images of another size are resized to the output's."""
    if targets.dim() == 4 and targets.shape[2:] != output.shape[2:]:
        targets = F.interpolate(targets, output.shape[2:], mode="bilinear", antialias=True)
    return F.mse_loss(output, targets)


def segmentation_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Compute the cross-entropy of every pixel's class; maps are resized to the output's size."""
    maps = F.interpolate(targets[:, None].float(), output.shape[2:], mode="nearest")
    return F.cross_entropy(output, maps[:, 0].long())


class TransNAS:
    """The common part of both spaces: the tasks' data and losses.

    Targets are random, since those of the published tasks (layouts of rooms, maps of normals and of
    classes) belong to images that no package ships. The published networks learn images with an
    adversarial part in the loss, which is left out here.
    """

    tasks: ClassVar[Mapping[str, Signature]] = _TASKS
    _SMALLEST_TILE = 32

    def batch(
        self,
        n: int,
        seed: int,
        task: str | None = None,
        arch: str | None = None,
        source: str | tuple[Tensor, Tensor] = "random",
        resolution: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return images and the targets of the task's head, random if images do not give them.

        With a ``resolution``, the tiles of jigsaw shrink in the same proportion as the images of
        the other tasks, but not below 32.
        """
        name = task or next(iter(self.tasks))
        facts = self.task(name)  # type: ignore[attr-defined]
        generator = torch.Generator().manual_seed(seed)
        size = facts.inputs[-1]
        if resolution is not None:
            size = resolution
            if name == "jigsaw":
                size = max(self._SMALLEST_TILE, facts.inputs[-1] * resolution // _IMAGE[-1])
        if name == "jigsaw":
            tiles, _ = images(source, 9 * n, seed, (3, size, size))
            targets = torch.randint(facts.outputs, (n,), generator=generator)
            return tiles.unflatten(0, (n, 9)), targets
        x, y = images(source, n, seed, (3, size, size), facts.outputs if "class" in name else None)
        if name == "room_layout":
            y = torch.randn(n, facts.outputs, generator=generator)
        elif name == "segmentsemantic":
            y = torch.randint(facts.outputs, (n, size, size), generator=generator)
        elif name == "normal":
            y = torch.rand(n, 3, size, size, generator=generator) * 2 - 1
        elif name == "autoencoder":
            y = x.tanh()  # the head ends in tanh
        return x, y

    def loss(self, task: str | None = None) -> Callable[[Any, Any], Tensor] | None:
        """Return the loss: cross-entropy of classes or of every pixel, or mean squared error."""
        name = task or next(iter(self.tasks))
        self.task(name)  # type: ignore[attr-defined]
        if name == "segmentsemantic":
            return segmentation_loss
        return regression_loss if name in ("room_layout", "normal", "autoencoder") else None


# --- spaces ---------------------------------------------------------------------------------------


class TransNASMicro(TransNAS, ChoiceSpace):
    """``64-41414-a_bc_def``: the digits of each node's edges, 0 none, 1 skip, 2 and 3 convolutions.

    Jigsaw passes nine tiles of 64x64 per image through one backbone as a batch of nine. The table's
    ``flops`` counts the backbone for only one tile.

    Example:
        >>> from archrank.data import space
        >>> space("transnas101_micro").graph("64-41414-1_00_210", "class_object").params
        916843
    """

    name = "transnas101_micro"
    title = "TransNAS-Bench-101, cells"
    reference = "Duan et al., TransNAS-Bench-101, CVPR 2021"
    additive = True
    choices = tuple(Choice(f"{source}->{target}", _DIGITS) for source, target in EDGES)
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        reader.expect(f"{BASE}-{''.join(map(str, MICRO_MODULES))}-")
        values = []
        for target in (1, 2, 3):
            if target > 1:
                reader.expect("_")
            values += [reader.digit(_DIGITS) for _ in range(target)]
        reader.end()
        return tuple(values)

    def format(self, values: Values) -> str:
        a, *rest = map(str, values)
        code = f"{a}_{''.join(rest[:2])}_{''.join(rest[2:])}"
        return f"{BASE}-{''.join(map(str, MICRO_MODULES))}-{code}"

    def __iter__(self) -> Iterator[str]:
        return map(self.format, product(_DIGITS, repeat=len(EDGES)))

    def canonical(self, arch: str) -> str:
        """Return the first architecture of the same function.

        Edges of nothing, or without a way to the output, do not count; sums have no order. A skip
        equals its source, except from the first node if a block changes the shape. There it is a
        separate convolution. There are 1,376 networks.
        """
        return _first_of_function()[_function(self.parse(arch))]

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        return _network(MICRO_MODULES, tuple(self.parse(arch)), task, name)


Wiring = tuple[tuple[Any, ...], ...]


def _function(digits: Values) -> tuple[Wiring, Wiring]:
    return _wiring(digits, False), _wiring(digits, True)


def _wiring(digits: Values, strided: bool) -> Wiring:
    """Return the weighted edges that the output depends on, and the inputs of each and of the
    output.

    Edges with different weights are different: a convolution that is added twice is not two
    convolutions. Edges that differ only in their weights are numbered in the order that gives the
    least tuple.
    """
    sums: list[tuple[int, ...]] = [(_INPUT,)]
    takes: dict[int, tuple[int, ...]] = {}
    form = {_INPUT: "0"}  # the form of what an edge computes, apart from weights
    for target in (1, 2, 3):
        terms: list[int] = []
        for edge, (digit, (source, end)) in enumerate(zip(digits, EDGES, strict=True)):
            if end != target or digit == 0 or not sums[source]:
                continue
            if digit == 1 and not (strided and source == 0):
                terms += sums[source]
                continue
            terms.append(edge)
            takes[edge] = sums[source]
            form[edge] = f"({'+'.join(sorted(form[term] for term in sums[source]))})@{digit}"
        sums.append(tuple(terms))
    output = sums[-1]
    live = set(output)
    for edge in reversed(takes):
        live.update(takes[edge] if edge in live else ())
    alike = groupby(sorted(live - {_INPUT}, key=form.__getitem__), form.__getitem__)
    orders = product(*(tuple(permutations(edges)) for _, edges in alike))

    def numbered(order: tuple[int, ...]) -> Wiring:
        number = {edge: i for i, edge in enumerate(order)} | {_INPUT: _INPUT}
        own = ((digits[edge], *sorted(number[term] for term in takes[edge])) for edge in order)
        return (*own, tuple(sorted(number[term] for term in output)))

    return min(numbered(tuple(chain(*groups))) for groups in orders)


@cache
def _first_of_function() -> dict[tuple[Wiring, Wiring], str]:
    space = TransNASMicro()
    first: dict[tuple[Wiring, Wiring], str] = {}
    for digits in product(_DIGITS, repeat=len(EDGES)):
        first.setdefault(_function(digits), space.format(digits))
    return first


@cache
def _macros() -> tuple[str, ...]:
    """Return every valid list of modules, shorter ones first."""
    found = []
    for length in (4, 5, 6):
        for kinds in product((1, 2, 3, 4), repeat=length):
            strided = sum(kind > 2 for kind in kinds)
            doubled = sum(kind % 2 == 0 for kind in kinds)
            if 1 <= strided <= 4 and 1 <= doubled <= 3:
                found.append("".join(map(str, kinds)))
    return tuple(found)


class TransNASMacro(TransNAS, Space):
    """``64-MODULES-basic``: 4 to 6 modules, 1 same, 2 channels x2, 3 resolution /2, 4 both.

    One to four modules halve the resolution, one to three double the channels.

    Example:
        >>> from archrank.data import space
        >>> macro = space("transnas101_macro")
        >>> len(macro), macro.graph("64-1242-basic", "class_object-100").params
        (3256, 11237764)
    """

    name = "transnas101_macro"
    title = "TransNAS-Bench-101, macro"
    reference = "Duan et al., TransNAS-Bench-101, CVPR 2021"
    size = 3256

    def parse(self, arch: str) -> tuple[int, ...]:
        """Return the types of the modules."""
        reader = ArchitectureReader(arch, self.name)
        reader.expect(f"{BASE}-")
        start, kinds = reader.position, list[int]()
        while not reader.peek("-"):
            kinds.append(reader.digit((1, 2, 3, 4)))
            if len(kinds) > 6:
                reader.fail("four to six modules", start)
        if "".join(map(str, kinds)) not in _valid_macros():
            reader.fail(
                "four to six modules, of which one to four of type 3 or 4 and one to three of "
                "type 2 or 4",
                start,
            )
        reader.expect("-basic")
        reader.end()
        return tuple(kinds)

    def normalise(self, arch: str) -> str:
        return _macro(self.parse(arch))

    def draw(self, rng: random.Random) -> str:
        """Draw uniformly from all architectures."""
        return f"{BASE}-{rng.choice(_macros())}-basic"

    def __iter__(self) -> Iterator[str]:
        return (f"{BASE}-{kinds}-basic" for kinds in _macros())

    def neighbours(self, arch: str) -> list[str]:
        """Change, add or remove one module."""
        kinds = self.parse(arch)
        found: dict[str, None] = {}
        for i in range(len(kinds) + 1):
            for new in ((), (1,), (2,), (3,), (4,)):
                for skipped in (0, 1):
                    changed = "".join(map(str, (*kinds[:i], *new, *kinds[i + skipped :])))
                    if changed in _valid_macros():
                        found[f"{BASE}-{changed}-basic"] = None
        found.pop(_macro(kinds), None)
        return list(found)

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return the one-hot type of each of six modules; zeros for absent modules."""
        code = np.zeros((6, 4), np.float32)
        for i, kind in enumerate(self.parse(arch)):
            code[i, kind - 1] = 1
        return code.ravel()

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        return _network(self.parse(arch), None, task, name)


@cache
def _valid_macros() -> frozenset[str]:
    return frozenset(_macros())


def _macro(kinds: tuple[int, ...]) -> str:
    return f"{BASE}-{''.join(map(str, kinds))}-basic"
