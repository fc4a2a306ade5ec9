"""What networks are charged for, against a count of their nodes one by one."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import archrank
from archrank.costs.inventory import counted, inventory
from archrank.data import space
from archrank.predictors.features.operator_classes import KINDS, kinds_of

KINDS_NUMBER = len(KINDS)


@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "gpt", "hiaml"])
def test_totals_are_those_of_the_nodes(name: str) -> None:
    for arch in space(name).sample(3, seed=0):
        graph = space(name).graph(arch)
        found = inventory(graph)
        counts = found.kinds.reshape(3, KINDS_NUMBER)
        expected = np.zeros((3, KINDS_NUMBER))
        for node, kind in zip(graph.nodes, kinds_of(graph).tolist(), strict=True):
            if node.operator not in ("input", "output"):
                expected[:, kind] += [1, node.flops, math.prod(node.out_shape)]
        np.testing.assert_array_equal(counts, expected)
        assert counts[1].sum() == graph.flops
        assert sum(found.operators.values()) == counts[0].sum()
        assert np.expm1(found.sizes[:2]).round().tolist() == [graph.flops, graph.params]


def test_what_no_output_needs_is_counted_apart() -> None:
    cells = space("nasbench201")
    used = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|"
    vain = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|"
    conv3 = KINDS.index("conv3")
    assert inventory(cells.graph(used)).vain[conv3] == 0
    assert inventory(cells.graph(vain)).vain[conv3] == 15  # one in each cell
    # What is needed is the same of both; in the second more is computed.
    np.testing.assert_array_equal(
        inventory(cells.graph(used)).vain[-4:], inventory(cells.graph(vain)).vain[-4:]
    )
    assert (
        inventory(cells.graph(vain)).kinds[conv3] == 15 + inventory(cells.graph(used)).kinds[conv3]
    )


def test_operators_of_one_size_have_one_name() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, (1, 3), stride=(1, 2), groups=2),
        nn.Flatten(),
        nn.Linear(96, 2),
    )
    assert inventory(archrank.trace(net, (4, 8, 8))).operators == {
        "conv2d 3x3 4x8x8 to 4x8x8": 2.0,
        "conv2d 1x3 stride 2 groups 2 4x8x8 to 4x8x3": 1.0,
        "linear 96 to 2": 1.0,
    }


def test_counts_as_a_table() -> None:
    rng = np.random.default_rng(0)
    names = [f"op{i}" for i in range(6)]
    rows = [Counter(rng.choice(names, 5).tolist()) for _ in range(7)]
    table = counted(rows, names[:4])
    assert table.tolist() == [[float(row[name]) for name in names[:4]] for row in rows]


def test_a_network_of_nothing() -> None:
    found = inventory(archrank.trace(nn.Identity(), (3, 4, 4)))
    assert found.operators == {}
    assert not found.kinds.any()
    assert torch.isfinite(torch.as_tensor(found.vain)).all()
