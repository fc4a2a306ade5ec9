"""Inception: four stages of blocks with one to four parallel paths, for CIFAR-10."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import Concat, ConvUnit, PooledLinear
from ..contract import Signature, Space
from ..reading import ArchitectureReader
from .two_path import PoolNorm

CONVOLUTIONS = (
    *("conv3x3", "conv5x5", "depthwise3x3", "depthwise5x5"),
    *("inception_s3", "inception_s5", "inception_p3", "inception_p5"),
)
SUPPORT = ("conv1x1", "avgpool3x3", "maxpool3x3", "double1x1")
OPERATORS = (*CONVOLUTIONS, *SUPPORT)
_POOLS = ("avgpool3x3", "maxpool3x3")
_FACTORS = {"": 1.0, "@half": 0.5, "@double": 2.0}
_MOST_OPERATORS = {1: 3, 2: 4, 3: 8, 4: 10}  # in a block, by its number of paths
_FEWEST_OPERATORS = {1: 1, 2: 1, 3: 2, 4: 2}  # in a path
_LONGEST = 4  # the most operators of a path that these limits allow
_REPEATS = (2, 3, 4, 5, 6)
_SUPPORT_PROBABILITY = 4 / 12
_LEAST_WIDTH = 16
_CHANNELS = (32, 64, 128, 256)


@dataclass(frozen=True, order=True)
class Path:
    """Operators in sequence, the factor of the width between them, and of three the wide one."""

    operators: tuple[str, ...]
    inner: str = ""
    wide: bool = False

    @property
    def changing(self) -> list[int]:
        """Positions of operators that can change the number of channels."""
        return [i for i, name in enumerate(self.operators) if name not in _POOLS]


@dataclass(frozen=True)
class Stage:
    """The number of repeats of a block, and its paths."""

    repeats: int
    paths: tuple[Path, ...]


def _widths(paths: tuple[Path, ...], c_out: int) -> list[int]:
    n = len(paths)
    if n == 3:
        return [max(_LEAST_WIDTH, c_out // (2 if path.wide else 4)) for path in paths]
    share = c_out // n
    return [max(_LEAST_WIDTH, w) for w in (*[share] * (n - 1), c_out - share * (n - 1))]


def _inner(path: Path, c_out: int) -> int:
    return max(_LEAST_WIDTH, int(c_out * _FACTORS[path.inner]))


def _unit(
    c_in: int,
    c_out: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    activation: str = "relu6",
) -> nn.Module:
    """Build a convolution with bias and norm, like all of this family."""
    return ConvUnit(c_in, c_out, kernel, stride, groups, True, activation, True)


class ParallelSplit(Piece):
    """1 x k beside k x 1, half of the channels each; a stride takes both kernels in both."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int):
        super().__init__()
        row, column = (1, kernel), (kernel, 1)
        branches = []
        for size, width, one, other in (
            (row, c_out // 2, (1, stride), (stride, 1)),
            (column, c_out - c_out // 2, (stride, 1), (1, stride)),
        ):
            layers = [_unit(c_in, width, size, one, activation="none")]
            if stride > 1:
                layers.append(_unit(width, width, size[::-1], other, activation="none"))
            branches.append(nn.Sequential(*layers, nn.ReLU6()))
        self.branches = Concat(*branches)
        self.activation = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.branches(x))  # type: ignore[no-any-return]


def _operator(name: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    if name in _POOLS:
        return PoolNorm(c_in, name)
    if name == "double1x1":
        return nn.Sequential(_unit(c_in, c_out, 1), _unit(c_out, c_out, 1))
    if name.startswith("depthwise"):
        layers = [_unit(c_out, c_out, int(name[9]), stride, groups=c_out)]
        if c_in != c_out:
            layers.insert(0, ConvUnit(c_in, c_out, 1, norm=False, activation="none", bias=False))
        return nn.Sequential(*layers)
    kernel = int(name[-1])
    if name.startswith("inception_s"):
        return nn.Sequential(
            _unit(c_in, c_out, (1, kernel), (1, stride)),
            _unit(c_out, c_out, (kernel, 1), (stride, 1)),
        )
    if name.startswith("inception_p"):
        return ParallelSplit(c_in, c_out, kernel, stride)
    return _unit(c_in, c_out, kernel, stride)


def _path(path: Path, c_in: int, c_out: int, stride: int) -> nn.Module:
    first, last = path.changing[0], path.changing[-1]
    inner = _inner(path, c_out)
    strided = next(i for i, name in enumerate(path.operators) if name in CONVOLUTIONS)
    layers, width = [], c_in
    for i, name in enumerate(path.operators):
        new = c_out if i == last else inner if i == first else width
        layers.append(_operator(name, width, new, stride if i == strided else 1))
        width = new
    return nn.Sequential(*layers)


class Block(Piece):
    """Parallel paths, side by side; 1x1 where the widths do not add up; identity where it fits."""

    def __init__(self, paths: tuple[Path, ...], c_in: int, c_out: int, stride: int):
        super().__init__()
        widths = _widths(paths, c_out)
        own = [_path(path, c_in, w, stride) for path, w in zip(paths, widths, strict=True)]
        self.paths = Concat(*own) if len(own) > 1 else own[0]
        fits = sum(widths) == c_out
        self.merge = nn.Identity() if fits else _unit(sum(widths), c_out, 1, activation="none")
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.merge(self.paths(x))
        return x + y if self.adds else y


def _blocks() -> int:
    """Count the possible blocks, where different orders of paths are different blocks."""
    kinds, changing = len(CONVOLUTIONS), len(SUPPORT) - len(_POOLS)
    of_length = [0] * (_LONGEST + 1)  # paths, by their number of operators
    for n in range(1, _LONGEST + 1):
        inner = len(_FACTORS) if n > 1 else 1
        of_length[n] = kinds**n * inner
        if n > 1:
            places = n * kinds ** (n - 1)
            of_length[n] += places * changing * inner
            of_length[n] += places * len(_POOLS) * (len(_FACTORS) if n > 2 else 1)
    total = 0
    for n, most in _MOST_OPERATORS.items():
        for lengths in product(range(_FEWEST_OPERATORS[n], _LONGEST + 1), repeat=n):
            if sum(lengths) <= most:
                total += prod(of_length[k] for k in lengths) * (3 if n == 3 else 1)
    return total


class Inception(Space):
    """Four stages joined by ``-``: repeats, ``*``, paths joined by ``|``, operators by ``,``.

    ``@half`` or ``@double`` behind a path is the width between its first and last operator that
    change channels; ``wide:`` before one of three paths marks the one with half of the channels.
    The number of operators in a block and in a path is as published. The number of architectures
    was not counted.

    Notes:
        The uniform distribution of the number of operators in a block is our choice.

    Example:
        >>> from archrank.data import space
        >>> graph = space("inception").graph("-".join(["2*conv3x3"] * 4))
        >>> graph.params, graph.product_flops
        (2369802, 81105920)
    """

    name = "inception"
    title = "Inception"
    reference = "Mills et al., GENNAPE, AAAI 2023"
    tasks: ClassVar[dict[str, Signature]] = {"cifar10": Signature((3, 32, 32), 10)}
    size = (len(_REPEATS) * _blocks()) ** 4

    # --- strings ------------------------------------------------------------------------------

    def parse(self, arch: str) -> tuple[Stage, ...]:
        """Return the four stages."""
        reader = ArchitectureReader(arch, self.name)
        stages = []
        for i in range(4):
            if i:
                reader.expect("-")
            repeats = reader.integer(_REPEATS)
            reader.expect("*")
            start = reader.position
            paths: list[Path] = []
            while not paths or reader.take("|"):
                paths.append(self._read_path(reader))
            if problem := _problem(tuple(paths)):
                reader.fail(problem, start)
            stages.append(Stage(repeats, tuple(paths)))
        reader.end()
        return tuple(stages)

    def _read_path(self, reader: ArchitectureReader) -> Path:
        wide = reader.take("wide:")
        names: list[str] = []
        while not names or reader.take(","):
            names.append(reader.one_of(OPERATORS))
        inner = next((name for name in ("@half", "@double") if reader.take(name)), "")
        return Path(tuple(names), inner, wide)

    def format(self, stages: tuple[Stage, ...]) -> str:
        """Return the architecture string of four stages."""
        return "-".join(
            f"{stage.repeats}*"
            + "|".join(
                f"{'wide:' if path.wide else ''}{','.join(path.operators)}{path.inner}"
                for path in stage.paths
            )
            for stage in stages
        )

    def normalise(self, arch: str) -> str:
        return self.format(self.parse(arch))

    def canonical(self, arch: str) -> str:
        """Sort a block's paths, whose order is free, and drop factors that do not change the
        width."""
        stages = []
        for stage, c_out in zip(self.parse(arch), _CHANNELS, strict=True):
            widths = _widths(stage.paths, c_out)
            paths = (
                replace(path, inner="") if _inner(path, width) == width else path
                for path, width in zip(stage.paths, widths, strict=True)
            )
            stages.append(replace(stage, paths=tuple(sorted(paths))))
        return self.format(tuple(stages))

    def draw(self, rng: random.Random) -> str:
        """Draw numbers of paths and repeats uniformly; the rest as published."""
        return self.format(
            tuple(Stage(rng.choice(_REPEATS), self._draw_paths(rng)) for _ in range(4))
        )

    def _draw_paths(self, rng: random.Random) -> tuple[Path, ...]:
        n = rng.randint(1, 4)
        lengths = [_FEWEST_OPERATORS[n]] * n
        for _ in range(rng.randint(sum(lengths), _MOST_OPERATORS[n]) - sum(lengths)):
            lengths[rng.randrange(n)] += 1
        wide = rng.randrange(n) if n == 3 else -1
        return tuple(self._draw_path(rng, k, i == wide) for i, k in enumerate(lengths))

    def _draw_path(self, rng: random.Random, length: int, wide: bool) -> Path:
        names = [rng.choice(CONVOLUTIONS)]
        for _ in range(length - 1):
            free = not any(name in SUPPORT for name in names)
            support = free and rng.random() < _SUPPORT_PROBABILITY
            names.append(rng.choice(SUPPORT if support else CONVOLUTIONS))
        rng.shuffle(names)
        path = Path(tuple(names), wide=wide)
        if len(path.changing) < 2:
            return path
        return replace(path, inner=rng.choices(("@half", "", "@double"), (3, 6, 1))[0])

    def neighbours(self, arch: str) -> list[str]:
        """Change, add or remove one operator, or change one width or number of repeats."""
        stages = self.parse(arch)
        found: dict[str, None] = {}
        for i, stage in enumerate(stages):
            for other in _changed(stage):
                if not _problem(other.paths):
                    found[self.format((*stages[:i], other, *stages[i + 1 :]))] = None
        found.pop(self.format(stages), None)
        return list(found)

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return for each stage one-hot repeats, and for each path its widths and operators."""
        width = len(OPERATORS)
        code = np.zeros((4, len(_REPEATS) + 4 * (4 + _LONGEST * width)), np.float32)
        for i, stage in enumerate(self.parse(arch)):
            code[i, _REPEATS.index(stage.repeats)] = 1
            for j, path in enumerate(stage.paths):
                at = len(_REPEATS) + j * (4 + _LONGEST * width)
                code[i, at + list(_FACTORS).index(path.inner)] = 1
                code[i, at + 3] = path.wide
                for k, name in enumerate(path.operators):
                    code[i, at + 4 + k * width + OPERATORS.index(name)] = 1
        return code.ravel()

    # --- networks -----------------------------------------------------------------------------

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        c_in = _CHANNELS[0]
        layers: list[nn.Module] = [_unit(task.inputs[0], c_in, 3)]
        for stage, c_out in zip(self.parse(arch), _CHANNELS, strict=True):
            for _ in range(stage.repeats):
                layers.append(Block(stage.paths, c_in, c_out, c_out // c_in))
                c_in = c_out
        return nn.Sequential(*layers, _unit(c_in, 512, 3), PooledLinear(512, task.outputs))


def _problem(paths: tuple[Path, ...]) -> str:
    """Return the rule that a block breaks, as what was expected; empty if it breaks none."""
    n = len(paths)
    if not 1 <= n <= 4:
        return "one to four paths"
    if sum(len(path.operators) for path in paths) > _MOST_OPERATORS[n]:
        return f"at most {_MOST_OPERATORS[n]} operators in {n} paths"
    for path in paths:
        support = sum(name in SUPPORT for name in path.operators)
        if not _FEWEST_OPERATORS[n] <= len(path.operators) <= _LONGEST:
            return f"at least {_FEWEST_OPERATORS[n]} operators in each of {n} paths"
        if support > 1 or support == len(path.operators):
            return f"at least one convolution and at most one of {', '.join(SUPPORT)} in a path"
        if path.inner and len(path.changing) < 2:
            return "@half or @double only behind two operators that change channels"
    if sum(path.wide for path in paths) != (n == 3):
        return "exactly one of three paths marked wide:, and none of others"
    return ""


def _changed(stage: Stage) -> Iterator[Stage]:
    for repeats in _REPEATS:
        yield replace(stage, repeats=repeats)
    for i, path in enumerate(stage.paths):

        def with_path(*new: Path, at: int = i) -> Stage:
            return replace(stage, paths=(*stage.paths[:at], *new, *stage.paths[at + 1 :]))

        names = path.operators
        for inner in _FACTORS:
            yield with_path(replace(path, inner=inner))
        for j in range(len(names)):
            for other in ((), *((name,) for name in OPERATORS)):
                changed = replace(path, operators=(*names[:j], *other, *names[j + 1 :]))
                yield with_path(changed)
                yield with_path(replace(changed, inner=""))
        for j in range(len(names) + 1):
            for name in OPERATORS:
                yield with_path(replace(path, operators=(*names[:j], name, *names[j:])))
        if len(stage.paths) == 3 and not path.wide:
            paths = tuple(replace(p, wide=p is path) for p in stage.paths)
            yield replace(stage, paths=paths)
