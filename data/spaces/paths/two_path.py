"""Two-Path: two parallel chains of small blocks, for CIFAR-10."""

from __future__ import annotations

import random
from collections.abc import Iterator
from math import comb
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import Concat, ConvUnit, PooledLinear
from ..contract import Signature, Space
from ..reading import ArchitectureReader
from .hiaml import Split

CONVOLUTIONS = (
    *("conv3x3", "conv5x5", "double3x3", "bottleneck_r2_k3", "bottleneck_r4_k3"),
    *("bottleneck_e2_k3", "inception_s3", "inception_s5"),
)
SUPPORT = ("conv1x1", "bottleneck_r2_k1", "bottleneck_e2_k1", "avgpool3x3", "maxpool3x3")
OPERATORS = (*CONVOLUTIONS, *SUPPORT)

Block = tuple[tuple[str, ...], bool]
"""Its operators, and whether it halves the resolution and doubles the channels."""
Path = tuple[Block, ...]

_SUPPORT_PROBABILITY = 5 / 13
_MOST_BLOCKS, _MOST_OPERATORS = 4, 3
_BLOCKS = (
    len(CONVOLUTIONS)
    + len(CONVOLUTIONS) ** 2
    + 2 * len(CONVOLUTIONS) * len(SUPPORT)
    + len(CONVOLUTIONS) ** 3
    + 3 * len(CONVOLUTIONS) ** 2 * len(SUPPORT)
)


class PoolNorm(Piece):
    """3x3 pool of stride 1 (padding counts in the average) and batch norm."""

    def __init__(self, width: int, kind: str):
        super().__init__()
        pool = nn.MaxPool2d if kind.startswith("max") else nn.AvgPool2d
        self.pool = pool(3, 1, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pool(x))  # type: ignore[no-any-return]


def _operator(name: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    if name.endswith("pool3x3"):
        return PoolNorm(c_in, name)
    if name.startswith("inception"):
        return Split(c_in, c_out, int(name[-1]), stride)
    if name == "double3x3":
        sizes = ((c_in, c_in, 3, stride), (c_in, c_out, 3, 1))
    elif name.startswith("bottleneck"):
        _, ratio, kernel = name.split("_")
        middle = c_in * 2 if ratio == "e2" else c_in // int(ratio[1])
        sizes = ((c_in, middle, int(kernel[1]), stride), (middle, c_out, int(kernel[1]), 1))
    else:
        return ConvUnit(c_in, c_out, int(name[4]), stride, activation="relu6")
    return nn.Sequential(*(ConvUnit(*size, activation="relu6") for size in sizes))


class PathBlock(Piece):
    """Operators in sequence; the first convolution changes the shape; else identity is added."""

    def __init__(self, operators: tuple[str, ...], c_in: int, c_out: int, stride: int):
        super().__init__()
        layers, width, changed = [], c_in, False
        for name in operators:
            changes = name in CONVOLUTIONS and not changed
            layers.append(
                _operator(name, width, c_out if changes else width, stride if changes else 1)
            )
            width, changed = (c_out, True) if changes else (width, changed)
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


def _valid(operators: tuple[str, ...]) -> bool:
    support = sum(name in SUPPORT for name in operators)
    return 0 < len(operators) <= _MOST_OPERATORS and support <= 1 and support < len(operators)


class TwoPath(Space):
    """Two paths joined by ``|``, blocks by ``-``, a block's operators by ``,``; ``/2`` reduces.

    A path has two to four blocks, of which exactly two reduce; a block one to three operators, at
    least one of them a convolution and at most one a support operator.

    Example:
        >>> from archrank.data import space
        >>> graph = space("two_path").graph("conv3x3/2-conv3x3/2|conv3x3/2-conv3x3/2")
        >>> graph.params, graph.product_flops
        (1381098, 26842112)
    """

    name = "two_path"
    title = "Two-Path"
    reference = "Mills et al., GENNAPE, AAAI 2023"
    tasks: ClassVar[dict[str, Signature]] = {"cifar10": Signature((3, 32, 32), 10)}
    size = sum(comb(n, 2) * _BLOCKS**n for n in (2, 3, 4)) ** 2

    def parse(self, arch: str) -> tuple[Path, Path]:
        """Return the two paths."""
        reader = ArchitectureReader(arch, self.name)
        first = self._path(reader)
        reader.expect("|")
        second = self._path(reader)
        reader.end()
        return first, second

    def _path(self, reader: ArchitectureReader) -> Path:
        start = reader.position
        blocks: list[Block] = []
        while not blocks or reader.take("-"):
            at = reader.position
            names: list[str] = []
            while not names or reader.take(","):
                names.append(reader.one_of(OPERATORS))
            if not _valid(tuple(names)):
                reader.fail(
                    "a block of one to three operators, at least one convolution and at most one "
                    f"of {', '.join(SUPPORT)}",
                    at,
                )
            blocks.append((tuple(names), reader.take("/2")))
        if not 2 <= len(blocks) <= _MOST_BLOCKS or sum(block[1] for block in blocks) != 2:
            reader.fail("a path of two to four blocks, exactly two of them with /2", start)
        return tuple(blocks)

    def format(self, paths: tuple[Path, Path]) -> str:
        """Return the architecture string of two paths."""
        return "|".join(
            "-".join(",".join(names) + ("/2" if reduces else "") for names, reduces in path)
            for path in paths
        )

    def normalise(self, arch: str) -> str:
        return self.format(self.parse(arch))

    def canonical(self, arch: str) -> str:
        """Sort the paths, whose order is free."""
        first, second = sorted(self.parse(arch))
        return self.format((first, second))

    def draw(self, rng: random.Random) -> str:
        """Draw lengths uniformly; first a convolution, then support with chance 5/13."""
        return self.format((self._draw_path(rng), self._draw_path(rng)))

    def _draw_path(self, rng: random.Random) -> Path:
        length = rng.randint(2, _MOST_BLOCKS)
        reducing = rng.sample(range(length), 2)
        return tuple((self._draw_block(rng), i in reducing) for i in range(length))

    def _draw_block(self, rng: random.Random) -> tuple[str, ...]:
        names = [rng.choice(CONVOLUTIONS)]
        for _ in range(rng.randint(1, _MOST_OPERATORS) - 1):
            free = not any(name in SUPPORT for name in names)
            support = free and rng.random() < _SUPPORT_PROBABILITY
            names.append(rng.choice(SUPPORT if support else CONVOLUTIONS))
        rng.shuffle(names)
        return tuple(names)

    def neighbours(self, arch: str) -> list[str]:
        """Change, add or remove one operator or block, or move one reduction."""
        paths = self.parse(arch)
        found: dict[str, None] = {}
        for side in (0, 1):
            for path in self._changed(paths[side]):
                both = (path, paths[1]) if side == 0 else (paths[0], path)
                found[self.format(both)] = None
        found.pop(self.format(paths), None)
        return list(found)

    def _changed(self, path: Path) -> Iterator[Path]:
        for i, (names, reduces) in enumerate(path):
            before, after = path[:i], path[i + 1 :]
            for j in range(len(names)):
                for other in ((), *((name,) for name in OPERATORS)):
                    yield from self._block(
                        before, (*names[:j], *other, *names[j + 1 :]), reduces, after
                    )
            for j in range(len(names) + 1):
                for name in OPERATORS:
                    yield from self._block(before, (*names[:j], name, *names[j:]), reduces, after)
            if not reduces:
                if len(path) > 2:
                    yield (*before, *after)
                for k, (own, halves) in enumerate(path):
                    if halves:
                        moved = list(path)
                        moved[i], moved[k] = (names, True), (own, False)
                        yield tuple(moved)
        if len(path) < _MOST_BLOCKS:
            for i in range(len(path) + 1):
                for name in CONVOLUTIONS:
                    yield (*path[:i], ((name,), False), *path[i:])

    def _block(
        self, before: Path, names: tuple[str, ...], reduces: bool, after: Path
    ) -> Iterator[Path]:
        if _valid(names):
            yield (*before, (names, reduces), *after)

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return whether each block reduces, and its operators one-hot; zeros if absent."""
        code = np.zeros((2, _MOST_BLOCKS, 1 + _MOST_OPERATORS * len(OPERATORS)), np.float32)
        for side, path in enumerate(self.parse(arch)):
            for i, (names, reduces) in enumerate(path):
                code[side, i, 0] = reduces
                for j, name in enumerate(names):
                    code[side, i, 1 + j * len(OPERATORS) + OPERATORS.index(name)] = 1
        return code.ravel()

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        paths = []
        for path in self.parse(arch):
            width, blocks = 32, []
            for names, reduces in path:
                stride = 2 if reduces else 1
                blocks.append(PathBlock(names, width, width * stride, stride))
                width *= stride
            paths.append(nn.Sequential(*blocks))
        return nn.Sequential(
            ConvUnit(task.inputs[0], 32, activation="relu6"),
            ConvUnit(32, 32, 3, 2, activation="relu6"),
            Concat(*paths),
            ConvUnit(256, 512, activation="relu6"),
            PooledLinear(512, task.outputs),
        )
