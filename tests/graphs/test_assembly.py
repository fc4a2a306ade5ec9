"""Graphs put together from pieces equal those of a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from graph_contents import contents
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archrank.graphs import Graph, Piece, assemble, trace


class Conv(Piece):
    def __init__(self, c_in: int, c_out: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Same(Piece):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Cell(Piece):
    """Pieces inside a piece, in any wiring."""

    def __init__(self, width: int, sources: tuple[int, ...], kinds: tuple[str, ...]):
        super().__init__()
        self.sources = sources
        self.operators = nn.ModuleList(
            {
                "conv": lambda: Conv(width, width),
                "wide": lambda: Conv(width, width, kernel=5),
                "same": Same,
                "identity": nn.Identity,
                "pool": lambda: nn.AvgPool2d(3, 1, 1),
            }[kind]()
            for kind in kinds
        )

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for source, operator in zip(self.sources, self.operators, strict=True):
            nodes.append(operator(nodes[source]) + nodes[-1])
        return torch.cat(nodes[1:], 1)


class Net(nn.Module):
    def __init__(self, width: int, sources: tuple[int, ...], kinds: tuple[str, ...]):
        super().__init__()
        self.stem = Conv(3, width)
        self.cells = nn.ModuleList(Cell(width, sources, kinds) for _ in range(2))
        self.squeeze = Conv(width * len(sources), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for cell in self.cells:
            x = self.squeeze(cell(x))  # the same weights twice
        return x * 2.0


def check(build: Callable[[], nn.Module], inputs: Any) -> Graph:
    assembled = assemble(build, inputs)
    assembled.check()
    given_inputs = inputs
    if not isinstance(inputs[0], int):
        given_inputs = tuple(torch.empty(1, *shape) for shape in inputs)
    traced = trace(build(), given_inputs)
    assert contents(assembled) == contents(traced)
    assert assembled.module_names == traced.module_names
    assert assembled.aten_names == traced.aten_names
    assert assembled == traced
    return assembled


KINDS = ("conv", "wide", "same", "identity", "pool")


@settings(max_examples=40, deadline=None)
@given(data=st.data(), width=st.integers(1, 5), n=st.integers(1, 5))
def test_any_wiring(data: st.DataObject, width: int, n: int) -> None:
    sources = tuple(data.draw(st.integers(0, i)) for i in range(n))
    kinds = tuple(data.draw(st.sampled_from(KINDS)) for _ in range(n))
    check(lambda: Net(width, sources, kinds), (3, 8, 8))


def test_a_piece_as_the_whole_network() -> None:
    check(lambda: Conv(3, 4), (3, 8, 8))
    check(Same, (3, 8, 8))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.spare = Conv(3, 4), Conv(2, 4), Conv(7, 7)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(self.left(x), self.right(y)) + self.left(x)


def test_two_inputs_and_a_piece_that_is_never_called() -> None:
    graph = check(Two, [(3, 8, 8), (2, 8, 8)])
    assert "spare.conv.weight" in graph.parameter_names


def test_outside_assembly_a_piece_is_an_ordinary_module() -> None:
    net = Net(2, (0, 1), ("conv", "pool"))
    assert type(net.stem) is Conv
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 2, 8, 8)
    assemble(lambda: Net(2, (0, 1), ("conv", "pool")), (3, 8, 8))
    assert type(Conv(1, 1)) is Conv


def test_an_error_leaves_no_placeholders_behind() -> None:
    def build() -> nn.Module:
        Conv(1, 1)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        assemble(build, (3, 8, 8))
    assert type(Conv(1, 1)) is Conv


class Loose(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.stem = Conv(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x)  # type: ignore[no-any-return]


class Pair(Piece):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


def test_what_cannot_be_assembled_says_so() -> None:
    with pytest.raises(TypeError, match="parameters outside a Piece"):
        assemble(Loose, (3, 8, 8))
    with pytest.raises(TypeError, match="returns one"):
        assemble(Pair, (3, 8, 8))
