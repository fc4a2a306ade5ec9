"""Once-for-all: blocks that are not there, resolutions, gates and activations."""

from __future__ import annotations

import pytest
from torch import nn

from archrank.data.spaces.blocks import InvertedResidual, SqueezeExcitation
from archrank.data.spaces.mobile.ofa import OFAMobileNetV3, ProxylessNAS, StagedMobileNet
from archrank.data.spaces.mobile.ofa_resnet import OFAResNet
from archrank.errors import InputError

MOBILE, PROXYLESS, RESNET = OFAMobileNetV3(), ProxylessNAS(), OFAResNet()
STAGE = "k3e3,k3e3"
SMALLEST = "-".join([STAGE] * 5)
RESNET_STAGES = ["0.65:0.2,0.2"] * 2 + ["0.65:0.2,0.2,0.2,0.2", "0.65:0.2,0.2"]


@pytest.mark.parametrize("space", [MOBILE, PROXYLESS], ids=lambda space: space.name)
def test_strings_hold_only_blocks_that_are_there(space: StagedMobileNet) -> None:
    for arch in space.sample(20, seed=0):
        blocks = [m for m in space.build(arch).modules() if isinstance(m, InvertedResidual)]
        assert arch.count("k") == len(blocks) - 1  # and one that is always there
        assert sum(space.active(space.parse(arch))) == (
            1 + space.stages + 2 * arch.count("k")  # resolution, depths, kernels and expansions
        )


@pytest.mark.parametrize("space", [MOBILE, PROXYLESS], ids=lambda space: space.name)
def test_the_graph_is_of_the_architecture_s_resolution(space: StagedMobileNet) -> None:
    arch = space.sample(1, seed=1)[0].partition("@")[0]
    for resolution in (128, 180, 256):
        shape = space.graph(f"{arch}@{resolution}").nodes[0].out_shape
        assert shape == (1, 3, resolution, resolution)


def test_gates_and_activations() -> None:
    network = MOBILE.build(SMALLEST)
    blocks = [m for m in network.modules() if isinstance(m, InvertedResidual)][1:]
    gates = [m.gate for m in blocks]
    assert [isinstance(gate, SqueezeExcitation) for gate in gates] == (
        [False] * 2 + [True] * 2 + [False] * 2 + [True] * 4
    )
    # a quarter of the expanded channels, rounded to eight
    assert [gate.down.out_channels for gate in gates if not isinstance(gate, nn.Identity)] == (
        [24, 32, 64, 88, 88, 120]
    )
    assert [type(m.expand.activation) for m in blocks] == [nn.ReLU] * 4 + [nn.Hardswish] * 6


def test_proxyless_begins_without_a_sum_and_ends_in_one_block() -> None:
    blocks = [
        m for m in PROXYLESS.build(SMALLEST + "-k7e6").modules() if isinstance(m, InvertedResidual)
    ]
    assert len(blocks) == 12
    assert [blocks[0].adds, blocks[-1].adds] == [False, False]
    assert {m.eps for m in blocks[3].modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        (SMALLEST + "@120", "position 50 .* got '120', expected 128 to 256"),
        (SMALLEST + "@222", "position 50 .* got '222'"),
        (SMALLEST + "@", "position 50 .* got the end"),
        (SMALLEST + "@224 ", "position 53 "),
        (SMALLEST + "-k3e3", "position 49 .* expected the end"),
        (f"{STAGE},k3e3,k3e3,k3e3-{SMALLEST}", "position 0 .* 2 or 3 or 4 blocks, not 5"),
        ("k4" + SMALLEST[2:], "position 1 .* one of 3, 5, 7"),
        ("k3e5" + SMALLEST[4:], "position 3 .* one of 3, 4, 6"),
    ],
)
def test_strings_that_are_none(arch: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        MOBILE.build(arch)


def test_the_last_proxyless_stage_is_one_block() -> None:
    with pytest.raises(InputError, match="a stage of 1 blocks, not 2"):
        PROXYLESS.build(f"{SMALLEST}-{STAGE}")


def test_sizes() -> None:
    assert PROXYLESS.size == MOBILE.size * 9  # type: ignore[operator]
    small, large = 3**2 + 3**3 + 3**4, 3**4 + 3**5 + 3**6
    assert RESNET.size == 3 * 3 * 2 * (3 * small) ** 3 * 3 * large


def test_the_resnet_stem_s_residual_adds_one_convolution() -> None:
    plain, residual = (
        RESNET.graph("-".join([stem, *RESNET_STAGES])) for stem in ("1.0,1.0", "1.0,1.0+")
    )
    assert residual.params - plain.params == 9 * 32 * 32 + 2 * 32
    assert residual.product_flops - plain.product_flops == 9 * 32 * 32 * 112 * 112


def test_resnet_shortcuts_pool_before_they_convolve() -> None:
    nodes = RESNET.graph("-".join(["1.0,1.0", *RESNET_STAGES])).nodes
    pooled = [n.out_shape[2:] for n in nodes if n.operator == "avg_pool"]
    assert pooled == [(28, 28), (14, 14), (7, 7)]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (["0.7,1.0", *RESNET_STAGES], "position 0 .* one of 0.65, 0.8, 1.0"),
        (["1.0,1.0++", *RESNET_STAGES], r"position 8 .* expected '-'"),
        (["1.0,1.0", "0.8:0.3,0.2", *RESNET_STAGES[1:]], "position 12 .* one of 0.2, 0.25, 0.35"),
        (["1.0,1.0", "0.8:0.2", *RESNET_STAGES[1:]], "position 8 .* 2 to 4 blocks, not 1"),
        (["1.0,1.0", *RESNET_STAGES, "1.0:0.2,0.2"], "expected the end"),
    ],
)
def test_strings_that_are_no_resnets(parts: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        RESNET.build("-".join(parts))
