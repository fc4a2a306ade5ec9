"""HiAML: four stages of one out of fourteen hand-made blocks each, for CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit, PooledLinear
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader


class Split(Piece):
    """1 x k, then k x 1 convolution, each with norm and ReLU6; the first carries the stride."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1):
        super().__init__()
        self.row = ConvUnit(c_in, c_out, (1, kernel), stride, activation="relu6")
        self.column = ConvUnit(c_out, c_out, (kernel, 1), activation="relu6")

    def forward(self, x: Tensor) -> Tensor:
        return self.column(self.row(x))  # type: ignore[no-any-return]


_Forward = Callable[[Any, Any], Any]

# Parts of each block, and how they are put together (m: the block's parts). A part is C (norm and
# ReLU6), B (norm alone), I (split 3 x 3) or P (identity, or strided 1x1 where the shape changes);
# "s" carries the block's stride and change of channels, "k" keeps the input's channels.
_BLOCKS: dict[str, tuple[dict[str, str], _Forward]] = {
    "z": ({"a": "C3s", "i": "I"}, lambda m, x: (a := m.a(x)) + m.i(a)),
    "a22": ({"a": "C3s", "c": "C1", "b": "B1"}, lambda m, x: (a := m.a(x)) + m.b(m.c(a))),
    "b23": ({"p": "P", "i": "Is", "j": "I"}, lambda m, x: m.p(x) + m.j(m.i(x))),
    "j30": ({"p": "P", "c": "C3s", "i": "I"}, lambda m, x: m.p(x) + m.i(m.c(x))),
    "g30": (
        {"p": "P", "a": "Is", "i": "I", "b": "B1"},
        lambda m, x: (a := m.a(x)) + m.b(m.i(m.p(x) + a)),
    ),
    "r30": (
        {"p": "P", "q": "P", "a": "Is", "b": "B1", "i": "I"},
        lambda m, x: m.q(x) + m.b(m.p(x) + (a := m.a(x))) + m.i(a),
    ),
    "l20": ({"c": "C3s", "b": "B1"}, lambda m, x: m.b(m.c(x))),
    "t20": ({"b": "B1s", "i": "Is"}, lambda m, x: m.b(x) + m.i(x)),
    "t31": (
        {"p": "P", "q": "P", "i": "Is", "c": "C1", "j": "I"},
        lambda m, x: m.q(x) + (b := m.c(m.i(x))) + m.j(m.p(x) + b),
    ),
    "src0": ({"a": "C1s", "c": "C3", "d": "B3"}, lambda m, x: (a := m.a(x)) + m.d(m.c(a))),
    "src1": ({"a": "C1s", "c": "C3k", "d": "B3s"}, lambda m, x: m.a(x) + m.d(m.c(x))),
    "src3": (
        {"b": "B1s", "c": "C1k", "e": "C3s", "d": "B1"},
        lambda m, x: m.b(x) + m.d(m.e(m.c(x))),
    ),
    "src7": ({"a": "B1s", "i": "I", "j": "I"}, lambda m, x: (a := m.a(x)) + m.j(m.i(a))),
    "src8": ({"a": "B1s", "i": "I", "b": "B1"}, lambda m, x: (a := m.a(x)) + m.b(m.i(a))),
}


def _part(code: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    changes = code.endswith("s")
    first = c_in if changes or code.endswith("k") else c_out
    last = c_in if code.endswith("k") else c_out
    step = stride if changes else 1
    if code == "P":
        if c_in == c_out and stride == 1:
            return nn.Identity()
        return ConvUnit(c_in, c_out, 1, stride, activation="none")
    if code.startswith("I"):
        return Split(first, last, 3, step)
    activation = "relu6" if code.startswith("C") else "none"
    return ConvUnit(first, last, int(code[1]), step, activation=activation)


class Block(Piece):
    """One of the fourteen, with a ReLU behind it."""

    def __init__(self, kind: str, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.kind = kind
        for name, code in _BLOCKS[kind][0].items():
            self.add_module(name, _part(code, c_in, c_out, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(_BLOCKS[self.kind][1](self, x))


class HiAML(ChoiceSpace):
    """Four block names joined by ``-``; each stage has two blocks of its kind.

    Example:
        >>> from archrank.data import space
        >>> graph = space("hiaml").graph("z-a22-b23-src3")
        >>> graph.params, graph.product_flops
        (2011466, 95341056)
    """

    name = "hiaml"
    title = "HiAML"
    reference = "Mills et al., GENNAPE, AAAI 2023"
    tasks: ClassVar[dict[str, Signature]] = {"cifar10": Signature((3, 32, 32), 10)}
    additive = True
    choices = tuple(Choice(f"stage{i}", tuple(_BLOCKS)) for i in range(4))
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values = reader.several(4, "-", lambda: reader.one_of(_BLOCKS))
        reader.end()
        return values

    def format(self, values: Values) -> str:
        return "-".join(values)

    def __iter__(self) -> Iterator[str]:
        return map("-".join, product(_BLOCKS, repeat=4))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        c_in = 64
        layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in, 3, 2)]
        for stage, kind in enumerate(self.parse(arch)):
            stride = 2 if stage in (1, 3) else 1
            layers.append(Block(kind, c_in, c_in * stride, stride))
            c_in *= stride
            layers.append(Block(kind, c_in, c_in, 1))
        return nn.Sequential(*layers, PooledLinear(c_in, task.outputs))
