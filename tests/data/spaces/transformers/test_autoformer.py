"""AutoFormer against published sizes."""

from __future__ import annotations

import pytest
import torch

from archrank.data import space
from archrank.data.spaces.transformers.autoformer import (
    Attention,
    relative_places,
    vision_transformer,
)
from archrank.errors import InputError

IMAGE = (3, 224, 224)


@pytest.mark.parametrize(
    ("name", "smallest", "largest", "fewest", "most"),
    [
        ("tiny", ("e192", "h3r3.5", 12), ("e240", "h4r4", 14), 5_366_056, 10_517_272),
        ("small", ("e320", "h5r3", 12), ("e448", "h7r4", 14), 13_057_320, 34_790_440),
        ("base", ("e528", "h9r3", 14), ("e624", "h10r4", 16), 41_687_896, 76_882_264),
    ],
)
def test_smallest_and_largest(
    name: str,
    smallest: tuple[str, str, int],
    largest: tuple[str, str, int],
    fewest: int,
    most: int,
) -> None:
    one = space(f"autoformer_{name}")
    for (width, layer, depth), count in ((smallest, fewest), (largest, most)):
        arch = f"{width}-{','.join([layer] * depth)}"
        with torch.device("meta"):
            built = one.build(arch)
        assert sum(p.numel() for p in built.parameters()) == count
        assert one.graph(arch).params == count


@pytest.mark.parametrize(
    ("width", "heads", "ratios", "count"),
    [
        # The released Tiny network has ratios that its own space does not list.
        (192, [3] * 10 + [4, 3, 3], "3.5 3.5 3 3.5 3 3 4 4 3.5 4 3.5 4 3.5", 5_867_944),
        (
            384,
            [6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7],
            "3 3.5 3 3.5 4 4 4 4 4 4 4 3.5 4",
            22_891_432,
        ),
        (
            576,
            [9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10],
            "3.5 3.5 4 3.5 4 3.5 3.5 3 4 4 3 4 3 3.5",
            53_691_688,
        ),
    ],
)
def test_released_networks(width: int, heads: list[int], ratios: str, count: int) -> None:
    layers = list(zip(heads, map(float, ratios.split()), strict=True))
    with torch.device("meta"):
        network = vision_transformer(width, layers, IMAGE, 1000)
    assert sum(p.numel() for p in network.parameters()) == count


def test_sizes() -> None:
    assert space("autoformer_tiny").size == 3 * sum(4**depth for depth in (12, 13, 14))
    assert space("autoformer_small").size == 3 * sum(9**depth for depth in (12, 13, 14))
    assert space("autoformer_base").size == 3 * sum(6**depth for depth in (14, 15, 16))


def test_flops_of_one_layer() -> None:
    """The difference of one layer: four matrices, and attention's products with and without
    relative positions."""
    one = space("autoformer_tiny")
    graphs = [one.graph("e192-" + ",".join(["h3r4"] * depth)) for depth in (13, 12)]
    tokens, features = 197, 3 * 64
    matrices = 192 * 3 * features + features * 192 + 2 * 192 * 768
    products = 4 * tokens**2 * features
    assert graphs[0].product_flops - graphs[1].product_flops == tokens * matrices + products
    assert graphs[0].params - graphs[1].params == (
        matrices + 3 * features + 192 + 768 + 192 + 4 * 192 + 4 * 30 * 64
    )


def test_places_of_pairs() -> None:
    vertical, horizontal = relative_places(20)
    assert vertical.shape == horizontal.shape == (401, 401)
    for table in (vertical, horizontal):
        assert not table[0].any()
        assert not table[:, 0].any()
        assert (table[1:, 1:].min(), table.max()) == (1, 29)
    from_token, to_token = 1 + 20 * 3 + 5, 1 + 20 * 7 + 2
    assert (vertical[from_token, to_token], horizontal[from_token, to_token]) == (19, 12)
    assert vertical[1, 400] == 29  # 19 apart, told from no other above 14


def test_attention_with_relative_positions() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, 2).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        query, key, value = attention.qkv(x)[0].view(5, 3, 2, 64).unbind(1)
        keys, values = attention.key_positions(), attention.value_positions()
        assert keys.shape == (5, 5, 64)
        found = torch.zeros(5, 2, 64, dtype=torch.float64)
        for head in range(2):
            for i in range(5):
                scores = torch.stack(
                    [query[i, head] @ (key[j, head] + keys[i, j]) / 8 for j in range(5)]
                )
                for j, weight in enumerate(scores.softmax(0)):
                    found[i, head] += weight * (value[j, head] + values[i, j])
        torch.testing.assert_close(attention(x)[0], attention.project(found.flatten(1)))


def test_the_class_token_is_not_read() -> None:
    network = vision_transformer(24, [(1, 2.0)], (3, 32, 32), 5)
    tokens = torch.randn(2, 5, 24)
    other = tokens.clone()
    other[:, 0] += 1
    torch.testing.assert_close(network.head(tokens), network.head(other))
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("e200-h3r4", "position 1 .*got '200', expected one of 192, 216, 240"),
        ("e192-h5r4", "position 6 .*got '5r4', expected one of 3, 4"),
        ("e192-h3r3", "position 8 .*got '3', expected one of 3.5, 4"),
        ("e192-h3r4,h3r4", "expected ',' and more layers: at least 12"),
        ("e192-" + ",".join(["h3r4"] * 15), "position 74 .*expected at most 14 layers"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        space("autoformer_tiny").build(arch)
