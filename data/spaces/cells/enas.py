"""ENAS macro networks of six layers, as their weights were shared (the D-VAE set)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit, FactorizedReduce, PooledLinear
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader

LAYERS, CHANNELS = 6, 36
OPERATORS = ("conv3x3", "separable3x3", "conv5x5", "separable5x5", "avg_pool3x3", "max_pool3x3")
"""By code."""
_CODES, _BITS = tuple(range(len(OPERATORS))), (0, 1)
_REDUCE_AFTER = (1, 3)


class SeparableUnit(Piece):
    """Depthwise and pointwise convolution, norm, ReLU."""

    def __init__(self, width: int, kernel: int, eps: float):
        super().__init__()
        self.depthwise = nn.Conv2d(
            width, width, kernel, padding=kernel // 2, groups=width, bias=False
        )
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.pointwise(self.depthwise(x))))


def _operator(name: str, width: int) -> nn.Module:
    kernel = int(name[-1])
    inner: nn.Module
    if name.startswith("avg"):
        # padding does not count, as in the framework of the published labels
        inner = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    elif name.startswith("max"):
        inner = nn.MaxPool2d(3, 1, 1)
    elif name.startswith("separable"):
        inner = SeparableUnit(width, kernel, eps=1e-3)
    else:
        inner = ConvUnit(width, width, kernel, eps=1e-3)
    return nn.Sequential(ConvUnit(width, width, 1), inner)


class Layer(Piece):
    """An operator on the previous layer, plus the marked earlier tensors, then norm."""

    def __init__(self, operator: str, width: int, norm: bool):
        super().__init__()
        self.operator = _operator(operator, width)
        self.norm = Norm(width) if norm else nn.Identity()

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        total = self.operator(x)
        for skip in skips:
            total = total + skip
        return self.norm(total)  # type: ignore[no-any-return]


class Norm(Piece):
    """Batch norm alone."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)  # type: ignore[no-any-return]


class SharedPath(nn.Module):
    """The path of one architecture through the supernet."""

    def __init__(self, values: Values, task: Signature):
        super().__init__()
        own = iter(values)
        codes, self.skips = [], []
        for i in range(LAYERS):
            codes.append(next(own))
            bits = [next(own) for _ in range(i)]
            self.skips.append([j for j, bit in enumerate(bits) if bit])
        self.stem = ConvUnit(task.inputs[0], CHANNELS, activation="none")
        self.layers = nn.ModuleList(
            Layer(OPERATORS[code], CHANNELS, norm=i > 0) for i, code in enumerate(codes)
        )
        self.reductions = nn.ModuleList(
            nn.ModuleList(FactorizedReduce(CHANNELS, CHANNELS, False) for _ in range(after + 2))
            for after in _REDUCE_AFTER
        )
        self.head = PooledLinear(CHANNELS, task.outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        tensors = [self.stem(x)]
        reductions = iter(self.reductions)
        for i, (layer, skips) in enumerate(zip(self.layers, self.skips, strict=True)):
            tensors.append(layer(tensors[-1], *(tensors[j] for j in skips)))
            if i in _REDUCE_AFTER:
                stage = next(reductions)
                assert isinstance(stage, nn.ModuleList)
                tensors = [reduce(t) for reduce, t in zip(stage, tensors, strict=True)]
        return self.head(tensors[-1])  # type: ignore[no-any-return]


class ENAS(ChoiceSpace):
    """``[[op],[op,bit],[op,bit,bit],...]``: the code of each layer's operator, and its skips.

    Codes: 0 conv3x3, 1 separable 3x3, 2 conv5x5, 3 separable 5x5, 4 average pool, 5 max pool. A
    layer always takes the previous one; bit j adds the tensor at position j, where 0 is the stem.
    The network is the path through the supernet, since the labels were made with shared weights.

    Example:
        >>> from archrank.data import space
        >>> graph = space("enas").graph(
        ...     "[[1],[4,0],[5,0,0],[0,1,1,1],[2,1,1,1,1],[3,0,0,0,0,1]]"
        ... )
        >>> graph.params, graph.product_flops
        (69084, 12748392)
    """

    name = "enas"
    title = "ENAS macro networks of six layers"
    reference = "Pham et al., ENAS, ICML 2018; set of Zhang et al., D-VAE, NeurIPS 2019"
    tasks: ClassVar[dict[str, Signature]] = {"cifar10": Signature((3, 32, 32), 10)}
    additive = True
    choices = tuple(
        choice
        for i in range(LAYERS)
        for choice in (
            Choice(f"operator{i}", _CODES),
            *(Choice(f"skip{i}.{j}", _BITS) for j in range(i)),
        )
    )
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values: list[Any] = []

        def symbol(text: str) -> None:
            while reader.take(" "):
                pass
            reader.expect(text)
            while reader.take(" "):
                pass

        symbol("[")
        for i in range(LAYERS):
            if i:
                symbol(",")
            symbol("[")
            values.append(reader.digit(_CODES))
            for _ in range(i):
                symbol(",")
                values.append(reader.digit(_BITS))
            symbol("]")
        symbol("]")
        reader.end()
        return tuple(values)

    def format(self, values: Values) -> str:
        own = iter(values)
        layers = ("[" + ",".join(str(next(own)) for _ in range(i + 1)) + "]" for i in range(LAYERS))
        return "[" + ",".join(layers) + "]"

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        return SharedPath(self.parse(arch), task)
