"""Two-Path against the counts of its reference implementation and its rules of sampling."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from archrank.data.spaces.paths.two_path import CONVOLUTIONS, OPERATORS, SUPPORT, TwoPath
from archrank.errors import InputError

SPACE = TwoPath()


@pytest.mark.parametrize(
    ("arch", "params", "macs"),
    [
        ("conv3x3/2-conv3x3/2|conv3x3/2-conv3x3/2", 1_381_098, 26_842_112),
        (
            "conv1x1,double3x3/2-bottleneck_r4_k3-inception_s5,maxpool3x3/2"
            "|bottleneck_e2_k3/2-conv5x5/2",
            1_627_786,
            34_116_608,
        ),
    ],
)
def test_published_figures(arch: str, params: int, macs: int) -> None:
    built = SPACE.build(arch)
    assert sum(p.numel() for p in built.parameters()) == params
    graph = SPACE.graph(arch)
    assert (graph.params, graph.product_flops) == (params, macs)
    assert SPACE.normalise(arch) == arch


def test_size() -> None:
    blocks = sum(
        sum(name in SUPPORT for name in names) <= 1 and any(name in CONVOLUTIONS for name in names)
        for n in (1, 2, 3)
        for names in product(OPERATORS, repeat=n)
    )
    assert SPACE.size == (blocks**2 + 3 * blocks**3 + 6 * blocks**4) ** 2


def test_samples_are_drawn_as_published() -> None:
    paths = [path for arch in SPACE.sample(2000, seed=0) for path in SPACE.parse(arch)]
    lengths = Counter(map(len, paths))
    assert set(lengths) == {2, 3, 4}
    assert all(abs(count / len(paths) - 1 / 3) < 0.04 for count in lengths.values())
    blocks = [names for path in paths for names, _ in path]
    assert all(abs(n / len(blocks) - 1 / 3) < 0.03 for n in Counter(map(len, blocks)).values())
    two = [names for names in blocks if len(names) == 2]
    supported = sum(any(name in SUPPORT for name in names) for names in two) / len(two)
    assert abs(supported - 5 / 13) < 0.04
    assert all(sum(reduces for _, reduces in path) == 2 for path in paths)


def test_the_order_of_paths_is_free() -> None:
    one, other = "conv3x3/2-conv5x5/2", "conv5x5/2-conv5x5/2"
    assert SPACE.canonical(f"{one}|{other}") == SPACE.canonical(f"{other}|{one}")
    graphs = [SPACE.graph(f"{one}|{other}"), SPACE.graph(f"{other}|{one}")]
    assert graphs[0].params == graphs[1].params


def test_neighbours_are_valid_and_mutual() -> None:
    arch = "conv3x3/2-conv3x3,conv1x1-conv3x3/2|conv3x3/2-conv3x3/2"
    around = SPACE.neighbours(arch)
    assert "conv3x3/2-conv3x3/2|conv3x3/2-conv3x3/2" in SPACE.neighbours(
        "conv3x3/2-conv3x3-conv3x3/2|conv3x3/2-conv3x3/2"
    )
    for other in around[::20]:
        assert SPACE.normalise(other) == other
        if "conv3x3,conv1x1" in other:
            assert arch in SPACE.neighbours(other)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("conv3x3/2|conv3x3/2-conv3x3/2", "position 0 .*a path of two to four blocks"),
        ("conv3x3-conv3x3/2|conv3x3/2-conv3x3/2", "exactly two of them with /2"),
        ("conv1x1/2-conv3x3/2|conv3x3/2-conv3x3/2", "position 0 .*at least one convolution"),
        ("conv3x3/2-conv3x4/2|conv3x3/2-conv3x3/2", "position 10 .*got 'conv3x4', expected one of"),
        ("conv3x3/2-conv3x3/2", "position 19 .*got the end, expected '|'"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        SPACE.build(arch)
