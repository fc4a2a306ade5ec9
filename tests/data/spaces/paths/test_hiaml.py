"""HiAML: its blocks, its strings, its networks as files."""

from __future__ import annotations

import pickle

import pytest
import torch

from archrank.data import space
from archrank.data.spaces.paths.hiaml import Block
from archrank.errors import InputError

SPACE = space("hiaml")


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
