"""Accel-NASBench's networks: their gates, activations and layers without expansion."""

from __future__ import annotations

import pytest
from torch import nn

from archrank.data.spaces.blocks import InvertedResidual, SqueezeExcitation
from archrank.data.spaces.mobile.mnasnet import MnasNet
from archrank.errors import InputError

SPACE = MnasNet()
STAGE = "e6k3l1"
GATED = "-".join(["e1k3l1se", "e4k5l2se", *["e6k3l1se"] * 5])


def test_gates_are_sized_by_the_block_s_input() -> None:
    gates = [m for m in SPACE.build(GATED).modules() if isinstance(m, SqueezeExcitation)]
    assert [gate.down.out_channels for gate in gates] == [8, 4, 6, 6, 10, 20, 28, 48]
    assert [gate.down.in_channels for gate in gates][:3] == [32, 64, 96]  # after the expansion


def test_no_expansion_is_no_convolution() -> None:
    blocks = [m for m in SPACE.build(GATED).modules() if isinstance(m, InvertedResidual)]
    assert [isinstance(block.expand, nn.Identity) for block in blocks] == [True] + [False] * 7
    assert [block.adds for block in blocks] == [False, False, True] + [False] * 5


def test_activations_are_those_of_the_published_runs() -> None:
    operators = set(SPACE.graph(GATED).operators)
    assert {"relu", "hardsigmoid"} <= operators
    assert not {"silu", "sigmoid"} & operators


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([STAGE] * 6, "position 41 .* expected '-'"),
        ([STAGE] * 8, "position 48 .* expected the end"),
        (["e2k3l1", *[STAGE] * 6], "position 1 .* one of 1, 4, 6"),
        (["e6k7l1", *[STAGE] * 6], "position 3 .* one of 3, 5"),
        (["e6k3l4", *[STAGE] * 6], "position 5 .* one of 1, 2, 3"),
        ([*[STAGE] * 5, "e6k3l5", STAGE], "position 40 .* one of 1, 2, 3, 4"),
        (["e6k3l1s", *[STAGE] * 6], "position 6 .* expected '-'"),
    ],
)
def test_strings_that_are_none(stages: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        SPACE.build("-".join(stages))


def test_only_the_sixth_stage_has_four_layers() -> None:
    assert "-".join([*[STAGE] * 5, "e6k3l4", STAGE]) in SPACE
