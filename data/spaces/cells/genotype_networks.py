"""Networks that stack two kinds of cells, in which each node adds two operators on earlier
nodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import FactorizedReduce, PooledLinear
from ..contract import Signature
from .nasbench201 import ReLUConvBN, Stem

Edge = tuple[str, int]
CellWiring = tuple[tuple[Edge, Edge], ...]
"""The two (operator, input) pairs of each node."""

# --- operators ------------------------------------------------------------------------------------


class Separable(Piece):
    """Twice: ReLU, depthwise (the first strided), pointwise, norm."""

    def __init__(self, width: int, kernel: int, stride: int, dilation: int, affine: bool):
        super().__init__()
        self.first = _depthwise_unit(width, kernel, stride, dilation, affine)
        self.second = _depthwise_unit(width, kernel, 1, dilation, affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


class Dilated(Piece):
    """ReLU, depthwise of dilation 2, pointwise, norm."""

    def __init__(self, width: int, kernel: int, stride: int, affine: bool):
        super().__init__()
        self.unit = _depthwise_unit(width, kernel, stride, 2, affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(x)  # type: ignore[no-any-return]


def _depthwise_unit(
    width: int, kernel: int, stride: int, dilation: int, affine: bool
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width, width, kernel, stride, padding, dilation, width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width, affine=affine),
    )


class Factorized(Piece):
    """ReLU, 1 x k (stride on the width), k x 1 (stride on the height), norm."""

    def __init__(self, width: int, kernel: int, stride: int, affine: bool):
        super().__init__()
        half = kernel // 2
        self.relu = nn.ReLU()
        self.row = nn.Conv2d(width, width, (1, kernel), (1, stride), (0, half), bias=False)
        self.column = nn.Conv2d(width, width, (kernel, 1), (stride, 1), (half, 0), bias=False)
        self.norm = nn.BatchNorm2d(width, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.column(self.row(self.relu(x))))  # type: ignore[no-any-return]


class Convolution(Piece):
    """ReLU, convolution, norm."""

    def __init__(self, width: int, kernel: int, stride: int, affine: bool):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(width, width, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.relu(x)))  # type: ignore[no-any-return]


class Pool(Piece):
    """Pool of the same size, padding not counted; norm behind it by choice."""

    def __init__(self, kind: str, width: int, kernel: int, stride: int, norm: bool):
        super().__init__()
        self.pool: nn.Module = (
            nn.MaxPool2d(kernel, stride, kernel // 2)
            if kind == "max"
            else nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)
        )
        self.norm = nn.BatchNorm2d(width, affine=False) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pool(x))  # type: ignore[no-any-return]


class Zero(Piece):
    """Zeros."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


def _operator(name: str, width: int, stride: int, affine: bool, pool_norm: bool) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(width, width, affine=affine)
    kind, _, size = name.partition("_")
    kernel = int(name.split("x")[-1]) if kind != "conv" else 0
    if size.startswith("pool"):
        return Pool(kind, width, kernel, stride, pool_norm)
    if kind == "sep":
        return Separable(width, kernel, stride, 1, affine)
    if name.startswith("dil_sep"):
        return Separable(width, kernel, stride, 2, affine)
    if kind == "dil":
        return Dilated(width, kernel, stride, affine)
    if name.endswith(("_1x3", "_1x7")):
        return Factorized(width, int(name[-1]), stride, affine)
    return Convolution(width, int(name[-1]), stride, affine)


# --- networks -------------------------------------------------------------------------------------


class Cell(Piece):
    """Two preprocessed inputs, nodes that each add two operators, a concat."""

    def __init__(
        self,
        wiring: CellWiring,
        concat: tuple[int, ...],
        c_before: int,
        c_previous: int,
        width: int,
        reduces: bool,
        after_reduction: bool,
        affine: bool,
        pool_norm: bool,
    ):
        super().__init__()
        self.wiring, self.concat = wiring, concat
        self.before = (
            FactorizedReduce(c_before, width) if after_reduction else ReLUConvBN(c_before, width, 1)
        )
        self.previous = ReLUConvBN(c_previous, width, 1)
        self.operators = nn.ModuleList(
            _operator(name, width, 2 if reduces and source < 2 else 1, affine, pool_norm)
            for node in wiring
            for name, source in node
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        states = [self.before(before), self.previous(previous)]
        operators = iter(self.operators)
        for (_, first), (_, second) in self.wiring:
            left = next(operators)(states[first])
            states.append(left + next(operators)(states[second]))
        return torch.cat([states[i] for i in self.concat], 1)


class ImageNetStem(Piece):
    """Two strided convolutions (a quarter of the resolution)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Network(nn.Module):
    """Stem, cells (those at a third and two thirds reduce), classifier; no auxiliary head."""

    def __init__(
        self,
        normal: tuple[CellWiring, tuple[int, ...]],
        reduce: tuple[CellWiring, tuple[int, ...]],
        task: Signature,
        width: int,
        layers: int,
        affine: bool = True,
        pool_norm: bool = False,
        imagenet: bool = False,
    ):
        super().__init__()
        c_before = c_previous = width if imagenet else 3 * width
        after_reduction = imagenet
        if imagenet:
            self.stem: nn.Module = ImageNetStem(task.inputs[0], width)
            self.second_stem: nn.Module = ReLUConvBN(width, width, 3, 2)
        else:
            self.stem = Stem(task.inputs[0], 3 * width)
            self.second_stem = nn.Identity()
        self.cells = nn.ModuleList()
        for i in range(layers):
            reduces = i in (layers // 3, 2 * layers // 3)
            width *= 2 if reduces else 1
            wiring, concat = reduce if reduces else normal
            self.cells.append(
                Cell(
                    *(wiring, concat, c_before, c_previous, width),
                    *(reduces, after_reduction, affine, pool_norm),
                )
            )
            c_before, c_previous = c_previous, len(concat) * width
            after_reduction = reduces
        self.head = PooledLinear(c_previous, task.outputs)

    def forward(self, x: Tensor) -> Tensor:
        before = self.stem(x)
        previous = self.second_stem(before)
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
        return self.head(previous)  # type: ignore[no-any-return]
