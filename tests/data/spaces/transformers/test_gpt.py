"""HW-GPT-Bench against its published table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from archrank.data import space
from archrank.data.spaces.transformers.gpt import CONTEXT, HEAD_SIZE, GPTSmall, LanguageModel, Layer
from archrank.data.tables.keys import gpt
from archrank.errors import InputError

SMALL = GPTSmall()
ROW_0 = "e192-b1-h12m2,h12m3,h12m3,h12m3,h12m3,h12m4,h12m2,h8m2,h12m2,h12m3"


def product_flops(arch: str, space: GPTSmall = SMALL) -> int:
    """By formula: the matrices of one sequence, and attention's two products."""
    heads = sum(heads for heads, _ in space.layers(space.parse(arch)))
    return space.macs(arch, batch=1) + heads * 2 * HEAD_SIZE * CONTEXT**2


def test_first_row() -> None:
    with torch.device("meta"):
        built = SMALL.build(ROW_0)
    assert sum(p.numel() for p in built.parameters()) == 28_029_696
    assert SMALL.macs(ROW_0) == 150_211_657_728
    graph = SMALL.graph(ROW_0)
    assert (graph.params, graph.product_flops) == (28_029_696, product_flops(ROW_0))


def test_largest_network_and_sizes() -> None:
    assert SMALL.params("e768-b1-" + ",".join(["h12m4"] * 12)) == 190_594_560
    assert [space(f"gpt{kind}").size for kind in ("", "_m", "_l")] == [
        6 * sum(9**depth for depth in depths)
        for depths in ((10, 11, 12), (22, 23, 24), (34, 35, 36))
    ]


@pytest.mark.parametrize("name", ["gpt_m", "gpt_l"])
def test_formulas_of_the_larger_spaces_agree_with_their_networks(name: str) -> None:
    larger = space(name)
    for arch in larger.sample(2, seed=0):
        graph = larger.graph(arch)
        assert graph.params == larger.params(arch)  # type: ignore[attr-defined]
        assert graph.product_flops == product_flops(arch, larger)  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_row_of_the_table(shared_data: Path) -> None:
    frame = pd.read_parquet(
        shared_data / "hw_gpt_bench" / "gpt_s.parquet",
        columns=["embed_dim", "n_head", "mlp_ratio", "bias", "params", "macs"],
    )
    archs = [gpt(*row) for row in zip(*(frame[c] for c in frame.columns[:4]), strict=True)]
    assert len(set(archs)) == len(archs) == 10_000
    assert np.array_equal([SMALL.params(arch) for arch in archs], frame.params)
    assert np.array_equal([SMALL.macs(arch) for arch in archs], frame.macs)
    for row in range(7, len(archs), 1000):  # and the formulas are the graphs' own figures
        graph = SMALL.graph(archs[row])
        assert graph.params == frame.params[row]
        assert graph.product_flops == product_flops(archs[row])


def test_a_token_does_not_see_later_ones() -> None:
    torch.manual_seed(0)
    network = LanguageModel(24, [(2, 2), (3, 3)], True, 11, 16).eval()
    tokens = torch.randint(11, (2, 16))
    changed = tokens.clone()
    changed[:, 9:] = (tokens[:, 9:] + 1) % 11
    with torch.no_grad():
        before, after = network(tokens), network(changed)
        torch.testing.assert_close(network(tokens[:, :5]), before[:, :5])
    assert before.shape == (2, 16, 11)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_attention_depends_on_distance_only() -> None:
    """Rotations make the product of a query and a key a function of how far apart they are."""
    torch.manual_seed(0)
    attention = Layer(24, 1, 2, True, 12).attention
    one, other = torch.randn(2, HEAD_SIZE)
    turned = [attention.rotated(v.expand(12, HEAD_SIZE)) for v in (one, other)]
    products = turned[0] @ turned[1].T
    for distance in range(12):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert not torch.allclose(products[0], products[0, :1].expand(12))
    assert torch.equal(turned[0][:, HEAD_SIZE // 2 :], one[HEAD_SIZE // 2 :].expand(12, -1))


def test_a_layer_is_two_parallel_residuals() -> None:
    torch.manual_seed(0)
    layer, x = Layer(24, 2, 3, False, 8), torch.randn(1, 8, 24)
    inner = layer.norm2(x)
    mlp = layer.mlp
    gated = F.linear(F.silu(inner @ mlp.gate.weight.T) * (inner @ mlp.up.weight.T), mlp.down.weight)
    torch.testing.assert_close(layer(x), x + layer.attention(layer.norm1(x)) + gated)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (ROW_0.replace("e192", "e193"), "position 1 .*got '193', expected one of 192, 384, 768"),
        (ROW_0.replace("h8", "h7"), "got '7m2', expected one of 4, 8, 12"),
        (ROW_0.rsplit(",", 1)[0], "expected ',' and more layers: at least 10"),
        (ROW_0 + ",h4m2" * 3, "position 76 .*expected at most 12 layers"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SMALL.build(arch)
