"""What networks are charged for, against a count of their nodes one by one."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import archrank
from archrank.costs.operators.inventory import counted, inventory, needed, program
from archrank.data import space
from archrank.predictors.features.operator_classes import CLASSES, classes_of

CLASSES_NUMBER = len(CLASSES)


@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "gpt", "hiaml"])
def test_totals_are_those_of_the_nodes(name: str) -> None:
    for arch in space(name).sample(3, seed=0):
        graph = space(name).graph(arch)
        found = inventory(graph)
        counts = found.classes.reshape(3, CLASSES_NUMBER)
        expected = np.zeros((3, CLASSES_NUMBER))
        for node, kind in zip(graph.nodes, classes_of(graph).tolist(), strict=True):
            if node.operator not in ("input", "output"):
                expected[:, kind] += [1, node.flops, math.prod(node.out_shape)]
        np.testing.assert_array_equal(counts, expected)
        assert counts[1].sum() == graph.flops
        assert sum(found.operators.values()) == counts[0].sum()
        assert np.expm1(found.sizes[:2]).round().tolist() == [graph.flops, graph.params]


def test_what_no_output_needs_is_counted_apart() -> None:
    cells = space("nasbench201")
    used = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|"
    idle = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|"
    conv3 = CLASSES.index("conv3")
    assert inventory(cells.graph(used)).unused[conv3] == 0
    assert inventory(cells.graph(idle)).unused[conv3] == 15  # one in each cell
    # What is needed is the same of both; in the second more is computed.
    np.testing.assert_array_equal(
        inventory(cells.graph(used)).unused[-4:], inventory(cells.graph(idle)).unused[-4:]
    )
    assert (
        inventory(cells.graph(idle)).classes[conv3]
        == 15 + inventory(cells.graph(used)).classes[conv3]
    )


def by_hand(arch: str) -> tuple[int, int, int]:
    """Convolutions, sums and pools of a cell that an output reads, edge by edge."""
    ends = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    names = [edge.split("~")[0] for edge in arch.replace("+", "").split("|") if edge]
    live = {end: name for end, name in zip(ends, names, strict=True) if name != "none"}
    same = {node: node for node in range(4)}  # a node of one skip is the node that it reads
    for node in (1, 2, 3):
        into = [end for end in live if end[1] == node]
        if len(into) == 1 and live[into[0]] == "skip_connect":
            same[node] = same[into[0][0]]
    empty = {n for n in (1, 2, 3) if not any(end[1] == n for end in live)}
    while True:  # a skip of zeros is zeros
        live = {e: o for e, o in live.items() if e[0] not in empty or o != "skip_connect"}
        now = {n for n in (1, 2, 3) if not any(end[1] == n for end in live)}
        if now == empty:
            break
        empty = now
    read, before = {3}, set()
    while read != before:
        before, read = read, read | {a for a, b in live if b in read}
    used = {end: name for end, name in live.items() if end[1] in read}
    convs = {end for end, name in used.items() if name.startswith("nor_conv")}
    pools = {same[a] for (a, _), name in used.items() if name.startswith("avg_pool")}
    sums = sum(max(sum(end[1] == node for end in used) - 1, 0) for node in (1, 2, 3))
    return len(convs), sums, len(pools)


@pytest.mark.parametrize("arch", space("nasbench201").sample(40, seed=3))
def test_what_runs_is_what_an_edge_by_edge_count_says(arch: str) -> None:
    graph = space("nasbench201").graph(arch)
    runs = needed(graph)
    found = Counter(name for name, run in zip(graph.operators, runs.tolist(), strict=True) if run)
    frame = space("nasbench201").graph("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    around = Counter(
        name for name, run in zip(frame.operators, needed(frame).tolist(), strict=True) if run
    )
    extra = found - around
    convs, sums, pools = by_hand(arch)
    if convs + pools + sums == 0:
        return  # the frame itself, or zeros
    assert extra["conv2d"] == 15 * convs
    assert extra["avg_pool"] == 15 * pools
    assert extra["add"] == 15 * sums


ENDS = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def edges(arch: str) -> dict[tuple[int, int], str]:
    """Operators of a cell, by the nodes that they join."""
    names = [edge.split("~")[0] for edge in arch.replace("+", "").split("|") if edge]
    return dict(zip(ENDS, names, strict=True))


def cells(number: int, seed: int, without: set[str]) -> list[str]:
    """Cells without some operators."""
    sampled = space("nasbench201").sample(number, seed=seed)
    return [arch for arch in sampled if not without & set(edges(arch).values())]


@pytest.mark.parametrize("arch", cells(150, 4, {"skip_connect"}))
def test_products_with_zero_in_weights_run_what_an_edge_by_edge_count_says(arch: str) -> None:
    cell = edges(arch)
    into = {n: [e for e, name in cell.items() if e[1] == n and name != "none"] for n in (1, 2, 3)}

    def closed(nodes: set[int]) -> set[int]:
        for node in (3, 2, 1):
            nodes |= {a for a, _ in into[node]} if node in nodes else set()
        return nodes

    read = closed({3})
    ends = {
        node
        for node in (1, 2)
        if len(into[node]) == 1
        and cell[into[node][0]].startswith("nor_conv")
        and {name for e, name in cell.items() if e[0] == node} == {"none"}
    }
    extra = closed(read | ends) - read
    if 0 in extra:
        pytest.skip("no cell reads the one before it")
    expected = 15 * sum(cell[e].startswith("nor_conv") for node in extra for e in into[node])
    graph = space("nasbench201").graph(arch)
    seen = program(graph, thorough=True)
    assert np.isin(graph.operators, "conv2d")[seen.scaled].sum() == expected
    assert not (seen.scaled & (seen.runs | seen.zero)).any()
    found = inventory(graph)
    kinds = found.scaled - (found.classes - found.unused[:-4])
    assert kinds[[CLASSES.index("conv1"), CLASSES.index("conv3")]].sum() == expected


@pytest.mark.parametrize("arch", cells(150, 5, {"none", "skip_connect"}))
def test_activations_apart_are_of_what_others_read_too(arch: str) -> None:
    outs = [[name for e, name in edges(arch).items() if e[0] == node] for node in range(3)]
    convs = [sum(name.startswith("nor_conv") for name in names) for names in outs]
    apart = sum(n for n, names in zip(convs, outs, strict=True) if len(names) > 1)
    graph = space("nasbench201").graph(arch)
    # Both blocks between stages read their input twice.
    assert program(graph, thorough=False).apart.sum() == 15 * apart + 2


def test_sums_with_zeros_by_the_order_of_what_they_add() -> None:
    def sums(arch: str) -> list[int]:
        seen = program(space("nasbench201").graph(arch), thorough=False)
        return [*(int(seen.sums_with_zeros(first).sum()) for first in (True, False))]

    assert sums("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|") == [0, 30]
    assert sums("|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|") == [0, 0]
    conv = "|nor_conv_3x3~0|+|none~0|none~1|+|{}~0|{}~1|none~2|"
    assert sums(conv.format("none", "skip_connect")) == [15, 15]
    assert sums(conv.format("skip_connect", "none")) == [0, 30]


def test_zeros_that_several_nodes_read_are_made_unless_a_compiler_is_thorough() -> None:
    graph = space("nasbench201").graph(
        "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|"
    )
    names = np.asarray(graph.operators)
    made = [Counter(names[program(graph, thorough).runs].tolist()) for thorough in (True, False)]
    assert [counts["zero"] for counts in made] == [0, 15]  # of the first node of each cell
    assert made[1]["add"] - made[0]["add"] == 15  # the sum that reads them


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
    assert not found.classes.any()
    assert torch.isfinite(torch.as_tensor(found.unused)).all()
