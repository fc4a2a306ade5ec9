"""TransNAS-Bench-101: which cells are one network, and what its heads give."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations, product
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch

from archrank.data.spaces.cells.nasbench201 import EDGES
from archrank.data.spaces.cells.transnas101 import Cell, TransNASMacro, TransNASMicro
from archrank.errors import InputError

MICRO, MACRO = TransNASMicro(), TransNASMacro()


def weighted_edges(digits: tuple[int, ...], strided: bool) -> tuple[list[int], list[int]]:
    """Return the edges on a way from input to output, and those of them that have weights."""
    filled, used = {0}, {3}
    for (source, target), digit in zip(EDGES, digits, strict=True):
        if digit and source in filled:
            filled.add(target)
    for (source, target), digit in reversed(list(zip(EDGES, digits, strict=True))):
        if digit and source in filled and target in used:
            used.add(source)
    live = [
        i
        for i, (source, target) in enumerate(EDGES)
        if digits[i] and source in filled and target in used
    ]
    return live, [i for i in live if digits[i] > 1 or (strided and EDGES[i][0] == 0)]


def outputs(digits: tuple[int, ...], strided: bool, weights: np.ndarray) -> tuple[Any, ...]:
    """Return what a cell of numbers gives for every way to hand the weights to its edges."""
    live, weighted = weighted_edges(digits, strided)
    orders = np.array(list(permutations(range(len(weighted)))), int)
    orders = orders.reshape(factorial(len(weighted)), len(weighted))
    nodes = [np.full(len(orders), 0.7), *np.zeros((3, len(orders)))]
    for i in live:
        source, target = EDGES[i]
        term = nodes[source]
        if i in weighted:
            weight = weights[orders[:, weighted.index(i)]]
            term = np.sin(weight * (1 + digits[i]) * term + digits[i])
        nodes[target] = nodes[target] + term
    return len(weighted), bool(live), np.round(np.sort(nodes[3]), 8).tobytes()


def test_canonical_cells_are_the_functions_that_weights_can_reach() -> None:
    """All 4,096, against numbers: same outputs over all assignments of weights, same network."""
    weights = np.random.default_rng(0).uniform(0.5, 2, len(EDGES))
    by_numbers, by_rule = defaultdict(set), defaultdict(set)
    for arch in MICRO:
        digits = MICRO.parse(arch)
        by_numbers[tuple(outputs(digits, strided, weights) for strided in (False, True))].add(arch)
        by_rule[MICRO.canonical(arch)].add(arch)
    assert len(by_rule) == 1_376
    assert {frozenset(group) for group in by_numbers.values()} == {
        frozenset(group) for group in by_rule.values()
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0_21_213", "1_20_203", True),
        ("2_30_210", "0_20_201", True),  # no way from node 2: its convolution is not there
        ("2_01_011", "2_00_210", False),  # one convolution added twice, two convolutions
        ("1_02_001", "0_20_001", False),  # as one in plain blocks, not in strided ones
    ],
)
def test_cells_of_one_network(one: str, other: str, same: bool) -> None:
    """Real cells agree for one way to hand over the weights just when their name is the same."""
    assert same == (MICRO.canonical(f"64-41414-{one}") == MICRO.canonical(f"64-41414-{other}"))
    assert same == all(agree(one, other, strided) for strided in (False, True))


@torch.no_grad()
def agree(one: str, other: str, strided: bool) -> bool:
    a, b = (tuple(map(int, code.replace("_", ""))) for code in (one, other))
    (_, from_a), (_, to_b) = weighted_edges(a, strided), weighted_edges(b, strided)
    shape = (4, 8, 2) if strided else (4, 4, 1)
    torch.manual_seed(0)
    first, second, x = Cell(a, *shape).eval(), Cell(b, *shape).eval(), torch.randn(2, 4, 8, 8)
    if len(from_a) != len(to_b):
        return False
    for order in permutations(from_a):
        if [a[i] for i in order] == [b[i] for i in to_b]:
            for i, j in zip(order, to_b, strict=True):
                second.edges[j].load_state_dict(first.edges[i].state_dict())
            if torch.allclose(first(x), second(x), atol=1e-5):
                return True
    return False


@pytest.mark.parametrize("kinds", ["1312", "13312", "133312", "133432"])
@pytest.mark.parametrize("task", ["segmentsemantic", "normal", "autoencoder"])
def test_decoders_give_whole_images(kinds: str, task: str) -> None:
    graph = MACRO.graph(f"64-{kinds}-basic", task)
    assert graph.nodes[-1].out_shape == (1, MACRO.tasks[task].outputs, 256, 256)


def test_jigsaw_takes_nine_tiles_through_one_backbone() -> None:
    """As the table counts: nine times the backbone's multiply-adds, once the head's."""
    arch = "64-41414-1_00_210"
    head = 9 * 512 * 1000
    graph = MICRO.graph(arch, "jigsaw")
    assert graph.nodes[-1].out_shape == (1, 1000)
    whole = 257_425_408  # at 256x256
    assert graph.product_flops - head == 9 * whole // 16
    network = MICRO.build("64-41414-2_00_000", "jigsaw").eval()
    with torch.no_grad():
        assert network(torch.randn(2, 9, 3, 64, 64)).shape == (2, 1000)


def test_all_macro_networks() -> None:
    assert list(MACRO) == [
        f"64-{''.join(kinds)}-basic"
        for length in (4, 5, 6)
        for kinds in product("1234", repeat=length)
        if 1 <= sum(kind in "34" for kind in kinds) <= 4
        and 1 <= sum(kind in "24" for kind in kinds) <= 3
    ]


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("64-41414-1_00_214", "position 16 .* one of the digits 0, 1, 2, 3"),
        ("64-41414-1_00_21", "position 16 .* got the end"),
        ("64-41424-1_00_210", "position 0 "),
        ("64-41414-1_00_210_", "position 17 .* expected the end"),
    ],
)
def test_strings_that_are_no_cells(arch: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        MICRO.build(arch)


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("64-111-basic", "position 3 .* four to six modules"),
        ("64-1111-basic", "one to four of type 3 or 4"),
        ("64-3333331-basic", "four to six modules"),
        ("64-1252-basic", "position 5 .* one of the digits 1, 2, 3, 4"),
        ("64-1242-cell", "expected '-basic'"),
        ("64-1242", "position 7 .* got the end"),
    ],
)
def test_strings_that_are_no_macro_networks(arch: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        MACRO.build(arch)
