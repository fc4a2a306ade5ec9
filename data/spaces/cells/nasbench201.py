"""NAS-Bench-201 (the topology space of NATS-Bench) and NATS-Bench's size space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import product
from typing import ClassVar

from torch import Tensor, nn

from ....graphs import Piece
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) in the order of the architecture string."""

_EMPTY = "#"


class ReLUConvBN(Piece):
    """ReLU, convolution without bias, batch norm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(self.relu(x)))  # type: ignore[no-any-return]


class Zero(Piece):
    """Zeros of the input's shape, with another number of channels if asked for."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.c_in = c_in
        self.c_out = c_out

    def forward(self, x: Tensor) -> Tensor:
        if self.c_in == self.c_out:
            return x.mul(0.0)
        return x.new_zeros(x.shape[0], self.c_out, *x.shape[2:]) + 0.0 * x.sum()


class AveragePool(Piece):
    """3x3 at stride 1, padding not counted; behind a 1x1 convolution if channels change."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.before = None if c_in == c_out else ReLUConvBN(c_in, c_out, 1)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x if self.before is None else self.before(x))  # type: ignore[no-any-return]


def _operator(name: str, c_in: int, c_out: int) -> nn.Module:
    if name == "none":
        return Zero(c_in, c_out)
    if name == "skip_connect":
        return nn.Identity() if c_in == c_out else ReLUConvBN(c_in, c_out, 1)
    if name == "avg_pool_3x3":
        return AveragePool(c_in, c_out)
    return ReLUConvBN(c_in, c_out, 1 if name == "nor_conv_1x1" else 3)


class DenseCell(Piece):
    """Four nodes, each the sum of an operator (``edges``) on every earlier one."""

    edges: nn.ModuleList

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for target in (1, 2, 3):
            terms = [
                edge(nodes[source])
                for edge, (source, end) in zip(self.edges, EDGES, strict=True)
                if end == target
            ]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            nodes.append(total)
        return nodes[3]


class Cell(DenseCell):
    """The cell of NAS-Bench-201."""

    def __init__(self, operators: tuple[str, ...], c_in: int, c_out: int):
        super().__init__()
        self.edges = nn.ModuleList(
            _operator(name, c_in if source == 0 else c_out, c_out)
            for name, (source, _) in zip(operators, EDGES, strict=True)
        )


class Reduction(Piece):
    """Residual block of stride 2: two convolutions beside a pool and 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv_a = ReLUConvBN(c_in, c_out, 3, 2)
        self.conv_b = ReLUConvBN(c_out, c_out, 3, 1)
        self.shortcut = PooledShortcut(c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.conv_b(self.conv_a(x))  # type: ignore[no-any-return]


class PooledShortcut(Piece):
    """Average pool 2x2, then a 1x1 convolution without norm or activation."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.pool = nn.AvgPool2d(2, 2)
        self.conv = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pool(x))  # type: ignore[no-any-return]


class Stem(Piece):
    """Convolution 3x3 and batch norm, no activation."""

    def __init__(self, channels: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, c_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))  # type: ignore[no-any-return]


class Head(Piece):
    """Batch norm, ReLU, global average, linear classifier."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.relu(self.bn(x))).flatten(1))  # type: ignore[no-any-return]


class Network(nn.Module):
    """Stem, cells and reductions, head."""

    def __init__(self, stem: nn.Module, body: Sequence[nn.Module], head: nn.Module):
        super().__init__()
        self.stem = stem
        self.body = nn.ModuleList(body)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for module in self.body:
            x = module(x)
        return self.head(x)  # type: ignore[no-any-return]


_TASKS = {
    "cifar10": Signature((3, 32, 32), 10),
    "cifar100": Signature((3, 32, 32), 100),
    "ImageNet16-120": Signature((3, 16, 16), 120),
    "svhn": Signature((3, 32, 32), 10),
    "scifar100": Signature((3, 60, 60), 100),
    "ninapro": Signature((1, 32, 32), 18),
}


@lru_cache(maxsize=15_625)
def _parsed(arch: str, space: str) -> Values:
    reader = ArchitectureReader(arch, space)
    values: list[str] = []
    for target in (1, 2, 3):
        if target > 1:
            reader.expect("+")
        reader.expect("|")
        for source in range(target):
            values.append(reader.one_of(OPERATORS))
            reader.expect("~")
            reader.integer([source])
            reader.expect("|")
    reader.end()
    return tuple(values)


class NASBench201(ChoiceSpace):
    """One cell of six edges and five operators, repeated 15 times.

    Example:
        >>> from archrank.data import space
        >>> nb201 = space("nasbench201")
        >>> arch = (
        ...     "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|"
        ...     "+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
        ... )
        >>> nb201.graph(arch).params, nb201.graph(arch).product_flops
        (802426, 113951360)
    """

    name = "nasbench201"
    title = "NAS-Bench-201, NATS-Bench topology space"
    reference = "Dong & Yang, NAS-Bench-201, ICLR 2020; Dong et al., NATS-Bench, 2021"
    tasks = _TASKS
    additive = True
    choices = tuple(Choice(f"{source}->{target}", OPERATORS) for source, target in EDGES)
    size = product_size(choices)

    width: ClassVar[int] = 16
    cells: ClassVar[int] = 5

    def parse(self, arch: str) -> Values:
        return _parsed(arch, self.name)

    def format(self, values: Values) -> str:
        edges = iter(values)
        nodes = (
            "|" + "".join(f"{next(edges)}~{source}|" for source in range(target))
            for target in (1, 2, 3)
        )
        return "+".join(nodes)

    def __iter__(self) -> Iterator[str]:
        return map(self.format, product(OPERATORS, repeat=len(EDGES)))

    def canonical(self, arch: str) -> str:
        """Return the first architecture (in the order of iteration) with the same function.

        There are 5,390 functions. Skip edges equal their source, edges of none or from an empty
        node equal nothing, and the order of a sum is free. A convolution that is added twice counts
        as two separate ones, so some classes hold cells that differ in this. Too coarse classes are
        safe, since no duplicates leak between train and test.
        """
        return _first_of_function()[_wiring(self.parse(arch))]

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        operators = self.parse(arch)
        width, body = self.width, list[nn.Module]()
        for stage in range(3):
            if stage:
                body.append(Reduction(width, 2 * width))
                width *= 2
            body.extend(Cell(operators, width, width) for _ in range(self.cells))
        return Network(Stem(task.inputs[0], self.width), body, Head(width, task.outputs))


def _wiring(operators: Values) -> str:
    """Return the cell's output as an expression of the input."""
    nodes = ["0"]
    for target in (1, 2, 3):
        terms = []
        for name, (source, end) in zip(operators, EDGES, strict=True):
            if end == target and name != "none" and nodes[source] != _EMPTY:
                skip = name == "skip_connect"
                terms.append(nodes[source] if skip else f"({nodes[source]})@{name}")
        nodes.append("+".join(sorted(terms)) or _EMPTY)
    return nodes[3]


@cache
def _first_of_function() -> dict[str, str]:
    space = NASBench201()
    first: dict[str, str] = {}
    for operators in product(OPERATORS, repeat=len(EDGES)):
        first.setdefault(_wiring(operators), space.format(operators))
    return first


_WIDTHS = tuple(range(8, 65, 8))


class NATSSizes(ChoiceSpace):
    """One fixed cell, five numbers of channels.

    Example:
        >>> from archrank.data import space
        >>> space("nats_sss").graph("8:8:8:8:8").params
        11714
    """

    name = "nats_sss"
    title = "NATS-Bench size space"
    reference = "Dong et al., NATS-Bench, TPAMI 2021"
    tasks: ClassVar[dict[str, Signature]] = {
        name: _TASKS[name] for name in ("cifar10", "cifar100", "ImageNet16-120")
    }
    choices = tuple(Choice(f"channels{i}", _WIDTHS) for i in range(5))
    size = product_size(choices)

    cell: ClassVar[tuple[str, ...]] = (
        *("nor_conv_3x3", "nor_conv_3x3", "nor_conv_3x3"),
        *("skip_connect", "nor_conv_3x3", "nor_conv_3x3"),
    )

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values = reader.several(5, ":", lambda: reader.integer(_WIDTHS))
        reader.end()
        return values

    def format(self, values: Values) -> str:
        return ":".join(map(str, values))

    def __iter__(self) -> Iterator[str]:
        return map(self.format, product(_WIDTHS, repeat=5))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        w = self.parse(arch)
        body = [
            Cell(self.cell, w[0], w[0]),
            Reduction(w[0], w[1]),
            Cell(self.cell, w[1], w[2]),
            Reduction(w[2], w[3]),
            Cell(self.cell, w[3], w[4]),
        ]
        return Network(Stem(task.inputs[0], w[0]), body, Head(w[4], task.outputs))
