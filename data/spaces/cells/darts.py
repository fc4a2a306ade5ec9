"""DARTS genotypes: NAS-Bench-301, DARTS itself, and the cell spaces of NDS.

Every network stacks two cells; a cell's nodes add two operators on earlier nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, combinations_with_replacement
from math import comb
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import FactorizedReduce, PooledLinear
from ..contract import Choice, ChoiceSpace, Task, Values
from ..reading import Reader
from .nasbench201 import ReLUConvBN, Stem

Edge = tuple[str, int]
CellWiring = tuple[tuple[Edge, Edge], ...]
"""Of each node its two (operator, input)."""

DARTS_OPERATORS = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"),
    *("sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)


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
        task: Task,
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


# --- spaces ---------------------------------------------------------------------------------------


def _cell_choices(operators: tuple[str, ...], nodes: int, repeats: bool) -> tuple[Choice, ...]:
    pairs = combinations_with_replacement if repeats else combinations
    return tuple(
        choice
        for cell in ("normal", "reduce")
        for node in range(2, 2 + nodes)
        for choice in (
            Choice(f"{cell}{node}.inputs", tuple(pairs(range(node), 2))),
            Choice(f"{cell}{node}.first", operators),
            Choice(f"{cell}{node}.second", operators),
        )
    )


def _cells_size(operators: tuple[str, ...], nodes: int, repeats: bool) -> int:
    kinds, size = len(operators), 1
    for node in range(2, 2 + nodes):
        equal = node * comb(kinds + 1, 2) if repeats else 0
        size *= comb(node, 2) * kinds**2 + equal
    return size**2


class GenotypeSpace(ChoiceSpace):
    """``normal:|op~input|op~input|+|..|..|+... reduce:...``: two cells, two operators per node.

    Inputs 0 and 1 are the outputs of the cell before last and of the last cell, 2 the first node.
    A node's operators stand in the order of their inputs.
    """

    operators: ClassVar[tuple[str, ...]] = DARTS_OPERATORS
    nodes: ClassVar[int] = 4
    repeats: ClassVar[bool] = False
    loose_ends: ClassVar[bool] = False
    width: ClassVar[int]
    layers: ClassVar[int]

    def _read_cell(self, reader: Reader) -> list[Any]:
        found: list[Any] = []
        for node in range(2, 2 + self.nodes):
            if node > 2:
                reader.expect("+")
            start = reader.position
            reader.expect("|")
            edges = []
            for _ in range(2):
                name = reader.one_of(self.operators)
                reader.expect("~")
                edges.append((reader.integer(range(node)), name))
                reader.expect("|")
            edges.sort()
            if edges[0][0] == edges[1][0] and not self.repeats:
                reader.fail("a node with two different inputs", start)
            found += [(edges[0][0], edges[1][0]), edges[0][1], edges[1][1]]
        return found

    def parse(self, arch: str) -> Values:
        reader = Reader(arch, self.name)
        values = self._read_cells(reader)
        reader.end()
        return tuple(values)

    def _read_cells(self, reader: Reader) -> list[Any]:
        reader.expect("normal:")
        values = self._read_cell(reader)
        reader.expect(" reduce:")
        return values + self._read_cell(reader)

    def wirings(self, values: Values) -> tuple[CellWiring, CellWiring]:
        """The normal and the reduction cell."""
        triples = list(zip(*[iter(values)] * 3, strict=True))
        nodes = tuple(
            tuple(sorted(((one, i), (two, j)), key=lambda edge: (edge[1], edge[0])))
            for (i, j), one, two in triples
        )
        return nodes[: self.nodes], nodes[self.nodes :]  # type: ignore[return-value]

    def format(self, values: Values) -> str:
        cells = (
            "+".join("|" + "".join(f"{name}~{i}|" for name, i in node) for node in cell)
            for cell in self.wirings(values)
        )
        return "normal:{} reduce:{}".format(*cells)

    def _concat(self, cell: CellWiring) -> tuple[int, ...]:
        nodes = range(2, 2 + len(cell))
        used = {source for node in cell for _, source in node} if self.loose_ends else set()
        return tuple(i for i in nodes if i not in used)

    def network(self, arch: str, task: Task, name: str) -> nn.Module:
        return self._network(self.parse(arch), task, self.width, self.layers)

    def _network(
        self, values: Values, task: Task, width: int, layers: int, **options: bool
    ) -> nn.Module:
        normal, reduce = self.wirings(values)
        cells = (normal, self._concat(normal)), (reduce, self._concat(reduce))
        return Network(cells[0], cells[1], task, width, layers, **options)


_CIFAR10 = Task((3, 32, 32), 10)


class DARTS(GenotypeSpace):
    """DARTS' evaluation networks: width 36 and 20 cells; 48 and 14 for ImageNet.

    Example:
        >>> from archrank.data import space
        >>> len(space("darts").graph(space("darts").sample(1, seed=0)[0]).parameter_names) > 300
        True
    """

    name = "darts"
    title = "DARTS"
    reference = "Liu et al., DARTS, ICLR 2019"
    tasks: ClassVar[Mapping[str, Task]] = {
        "cifar10": _CIFAR10,
        "cifar100": Task((3, 32, 32), 100),
        "imagenet": Task((3, 224, 224), 1000),
    }
    width, layers = 36, 20
    choices = _cell_choices(DARTS_OPERATORS, 4, False)
    size = _cells_size(DARTS_OPERATORS, 4, False)

    def network(self, arch: str, task: Task, name: str) -> nn.Module:
        values = self.parse(arch)
        if name == "imagenet":
            return self._network(values, task, 48, 14, imagenet=True)
        return self._network(values, task, self.width, self.layers)


class NASBench301(GenotypeSpace):
    """Width 32 and eight cells, as NAS-Bench-301 trains them.

    The other tasks are the networks of the zero-cost study (NAS-Bench-Suite-Zero): norms inside
    the cells' operators have no weights, and pools are followed by one.

    Example:
        >>> from archrank.data import space
        >>> nb301 = space("nasbench301")
        >>> cell = "|sep_conv_3x3~0|sep_conv_3x3~1|+" * 3 + "|sep_conv_3x3~0|skip_connect~1|"
        >>> nb301.graph(f"normal:{cell} reduce:{cell}").params
        1400682
    """

    name = "nasbench301"
    title = "NAS-Bench-301"
    reference = "Zela et al., Surrogate NAS benchmarks, ICLR 2022"
    tasks: ClassVar[Mapping[str, Task]] = {
        "cifar10": _CIFAR10,
        "cifar10-zerocost": _CIFAR10,
        "svhn": _CIFAR10,
        "scifar100": Task((3, 60, 60), 100),
        "ninapro": Task((1, 32, 32), 18),
    }
    width, layers = 32, 8
    choices = _cell_choices(DARTS_OPERATORS, 4, False)
    size = _cells_size(DARTS_OPERATORS, 4, False)

    def network(self, arch: str, task: Task, name: str) -> nn.Module:
        study = name != "cifar10"
        values = self.parse(arch)
        return self._network(
            values, task, self.width, self.layers, affine=not study, pool_norm=study
        )


def swap_network(arch: str) -> nn.Module:
    """The one cell on which SWAP scores a DARTS genotype; its features after global average.

    There is no stem: the image is both inputs, and the only cell is a reduction cell of width 6,
    so only the reduction genotype counts.

    Source: Peng et al., SWAP-NAS, ICLR 2024 (released code).

    Example:
        >>> import archrank
        >>> from archrank.data import space
        >>> from archrank.data.spaces.cells.darts import swap_network
        >>> network = swap_network(space("darts").sample(1, seed=0)[0])
        >>> archrank.trace(network, (3, 32, 32)).nodes[-1].out_shape
        (1, 24)
    """
    darts = DARTS()
    _, reduce = darts.wirings(darts.parse(arch))
    return _OneCell(Cell(reduce, (2, 3, 4, 5), 3, 3, 6, True, False, True, False))


class _OneCell(nn.Module):
    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x, x).mean((2, 3))  # type: ignore[no-any-return]


_WIDTHS, _DEPTHS = (16, 24, 32), (4, 8, 12, 16, 20)
_SIZES = (Choice("width", _WIDTHS), Choice("depth", _DEPTHS))


class NDSSpace(GenotypeSpace):
    """A cell space of NDS: ``w16 d8 normal:... reduce:...``, width and number of cells first.

    The ranges of width and depth are recalled from the paper and were not checked against data.
    """

    repeats = True
    tasks: ClassVar[Mapping[str, Task]] = {
        "cifar10": _CIFAR10,
        "imagenet": Task((3, 224, 224), 1000),
    }
    reference = "Radosavovic et al., On network design spaces, ICCV 2019"

    def parse(self, arch: str) -> Values:
        reader = Reader(arch, self.name)
        reader.expect("w")
        width = reader.integer(_WIDTHS)
        reader.expect(" d")
        depth = reader.integer(_DEPTHS)
        reader.expect(" ")
        values = self._read_cells(reader)
        reader.end()
        return (width, depth, *values)

    def format(self, values: Values) -> str:
        return f"w{values[0]} d{values[1]} {super().format(values[2:])}"

    def network(self, arch: str, task: Task, name: str) -> nn.Module:
        width, depth, *values = self.parse(arch)
        return self._network(tuple(values), task, width, depth, imagenet=name == "imagenet")


def _nds_size(operators: tuple[str, ...], nodes: int) -> int:
    return len(_WIDTHS) * len(_DEPTHS) * _cells_size(operators, nodes, True)


class NDSNASNet(NDSSpace):
    """NDS, NASNet's operators."""

    name, title = "nds_nasnet", "NDS: NASNet cells"
    operators = (
        *("skip_connect", "conv_3x1_1x3", "conv_7x1_1x7", "dil_conv_3x3", "avg_pool_3x3"),
        *("max_pool_3x3", "max_pool_5x5", "max_pool_7x7", "conv_1x1", "conv_3x3"),
        *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
    )
    nodes, loose_ends = 5, True
    choices = (*_SIZES, *_cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSAmoeba(NDSSpace):
    """NDS, AmoebaNet's operators."""

    name, title = "nds_amoeba", "NDS: AmoebaNet cells"
    operators = (
        *("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "avg_pool_3x3"),
        *("max_pool_3x3", "dil_sep_conv_3x3", "conv_7x1_1x7"),
    )
    nodes, loose_ends = 5, True
    choices = (*_SIZES, *_cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSPNAS(NDSSpace):
    """NDS, PNAS' operators; the output holds all nodes."""

    name, title = "nds_pnas", "NDS: PNAS cells"
    operators = (
        *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "conv_7x1_1x7", "skip_connect"),
        *("avg_pool_3x3", "max_pool_3x3", "dil_conv_3x3"),
    )
    nodes = 5
    choices = (*_SIZES, *_cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSENAS(NDSSpace):
    """NDS, ENAS' operators."""

    name, title = "nds_enas", "NDS: ENAS cells"
    operators = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
    nodes, loose_ends = 5, True
    choices = (*_SIZES, *_cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSDARTS(NDSSpace):
    """NDS, DARTS' operators with ``none``; the output holds all nodes."""

    name, title = "nds_darts", "NDS: DARTS cells"
    operators = ("none", *DARTS_OPERATORS)
    choices = (*_SIZES, *_cell_choices(operators, 4, True))
    size = _nds_size(operators, 4)
