"""HiAML against the counts of its reference implementation."""

from __future__ import annotations

import pickle

import pytest
import torch

from archrank.data import space
from archrank.data.spaces.paths.hiaml import Block
from archrank.errors import InputError

SPACE = space("hiaml")


@pytest.mark.parametrize(
    ("arch", "params", "macs"),
    [
        ("z", 2_714_698, 116_836_864),
        ("a22", 1_895_498, 83_282_432),
        ("b23", 2_390_090, 99_011_072),
        ("j30", 2_756_426, 117_885_440),
        ("g30", 2_597_194, 107_399_680),
        ("r30", 2_638_922, 108_448_256),
        ("t31", 2_638_922, 108_448_256),
        ("l20", 1_688_394, 74_893_824),
        ("t20", 1_281_098, 54_970_880),
        ("src0", 3_861_578, 158_779_904),
        ("src1", 2_939_594, 149_342_720),
        ("src3", 1_999_818, 90_622_464),
        ("src7", 2_637_386, 108_448_256),
        ("src8", 1_611_082, 66_505_216),
        ("z-a22-b23-src3", 2_011_466, 95_341_056),
    ],
)
def test_published_figures(arch: str, params: int, macs: int) -> None:
    arch = arch if "-" in arch else "-".join([arch] * 4)
    built = SPACE.build(arch)
    assert sum(p.numel() for p in built.parameters()) == params
    graph = SPACE.graph(arch)
    assert (graph.params, graph.product_flops) == (params, macs)


def test_everything() -> None:
    everything = list(SPACE)
    assert len(everything) == len(set(everything)) == len(SPACE) == 38_416
    assert len(SPACE.neighbours("z-z-z-z")) == 4 * 13


def test_networks_survive_pickling() -> None:
    network = SPACE.build("z-r30-t31-src8").eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(pickle.loads(pickle.dumps(network))(x), network(x))


def test_a_block_by_its_formula() -> None:
    block, x = Block("t31", 8, 16, 2).eval(), torch.randn(1, 8, 8, 8)
    with torch.no_grad():
        b = block.c(block.i(x))
        wanted = torch.relu(block.q(x) + b + block.j(block.p(x) + b))
        torch.testing.assert_close(block(x), wanted)
        assert wanted.shape == (1, 16, 4, 4)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("z-z-z", "position 5 .*got the end, expected '-'"),
        ("z-z-z-src2", "position 6 .*got 'src2', expected one of z, a22"),
        ("z-z-z-src33", "position 6 .*got 'src33'"),
        ("z-z-z-z-z", "position 7 .*expected the end"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPACE.build(arch)
