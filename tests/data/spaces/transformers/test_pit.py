"""PiT against published sizes."""

from __future__ import annotations

import pytest
import torch

import archrank
from archrank.data.spaces.transformers.pit import PiT, pooling_transformer
from archrank.errors import InputError

VISION = PiT()


@pytest.mark.parametrize(
    ("arch", "count"),
    [
        ("b32r4-d2h2-d6h4-d4h8", 4_847_272),  # PiT-Ti
        ("b48r4-d2h2-d6h4-d4h8", 10_618_888),  # PiT-XS
        ("b40r2-d2h2-d4h4-d4h8", 4_732_120),
        ("b56r2-d1h2-d4h8-d2h8", 10_643_464),
    ],
)
def test_published_figures(arch: str, count: int) -> None:
    with torch.device("meta"):
        built = VISION.build(arch)
    assert sum(p.numel() for p in built.parameters()) == count
    graph = VISION.graph(arch)
    assert graph.params == count
    assert graph == archrank.trace(built, VISION.inputs())
    assert graph.hash == archrank.trace(built, VISION.inputs()).hash


def test_a_published_network_with_other_heads() -> None:
    with torch.device("meta"):
        network = pooling_transformer(48, 4, [(2, 3), (6, 6), (4, 12)], (3, 224, 224), 1000)
    assert sum(p.numel() for p in network.parameters()) == 23_461_912  # PiT-S


def test_tokens_are_pooled() -> None:
    shapes = {n.in_shape for n in VISION.graph("b32r4-d2h2-d6h4-d4h8").nodes if n.aten}
    assert {(1, 1 + side**2, width) for side, width in ((27, 64), (14, 128), (7, 256))} <= shapes
    with torch.no_grad():
        out = VISION.build("b16r2-d1h2-d4h4-d2h4")(torch.randn(2, 3, 224, 224))
    assert out.shape == (2, 1000)


def test_everything() -> None:
    everything = list(VISION)
    assert len(everything) == len(set(everything)) == len(VISION) == 7 * 4 * 27 * 10
    assert all(VISION.normalise(arch) == arch for arch in everything)
    assert set(VISION.sample(500, seed=0)) <= set(everything)
    assert set(VISION.neighbours(everything[0])) <= set(everything)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("b20r4-d2h2-d6h4-d4h8", "position 1 .*got '20r4', expected one of 16, 24"),
        ("b32r4-d2h4-d6h2-d4h8", "position 14 .*got '2', expected one of 4, 8"),
        ("b32r4-d2h8-d6h8-d4h4", "position 19 .*got '4', expected 8"),
        ("b32r4-d2h2-d6h4", "position 15 .*got the end, expected '-d'"),
        ("b32r4-d2h2-d6h4-d4h8!", "position 20 .*expected the end"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VISION.build(arch)
