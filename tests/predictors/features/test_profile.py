"""Profiles of networks, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import archrank
from archrank.predictors.features.profile import names, profile


def read(net: nn.Module, shape: tuple[int, ...]) -> dict[str, float]:
    return dict(zip(names(), profile(archrank.trace(net, shape)).tolist(), strict=True))


class Gated(nn.Module):
    """A convolution, a gate of its pooled map, a residual sum and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
        self.gate = nn.Conv2d(8, 8, 1, bias=False)
        self.head = nn.Linear(8, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = self.depthwise(x)
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return self.head((x + y).mean((2, 3)))


def test_shares_are_those_counted_by_hand() -> None:
    found = read(Gated(), (3, 32, 32))
    params = {"conv3": 3 * 8 * 9, "depthwise5": 8 * 25, "conv1": 64, "linear": 80}
    for name, count in params.items():
        assert found[f"share of params in {name}"] == pytest.approx(count / sum(params.values()))
    assert sum(found[f"share of flops in {n}"] for n in params) == pytest.approx(1, abs=0.15)
    assert found["log2 params"] == pytest.approx(np.log2(1 + sum(params.values())))
    assert found["log2 flops in conv3"] == pytest.approx(np.log2(1 + 3 * 8 * 9 * 16 * 16))
    assert found["log2 features"] == pytest.approx(np.log2(9))


def test_details_of_design_are_found() -> None:
    found = read(Gated(), (3, 32, 32))
    assert found["gates"] == pytest.approx(1 / 4)
    assert found["residual sums"] == pytest.approx(1 / 4)
    assert found["mean depthwise kernel"] == 5
    assert found["first stride"] == 1
    assert found["biases"] == 0
    plain = read(nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 1)), (3, 8, 8))
    assert plain["gates"] == plain["residual sums"] == plain["attention layers"] == 0
    assert plain["share of gelu"] > 0
    assert plain["share of relu"] == 0
    assert plain["biases"] == 1


def test_attention_sees_its_tokens() -> None:
    net = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    found = read(net, (49, 16))
    assert found["attention layers"] == pytest.approx(1)
    assert found["share of flops in attention"] + found["share of flops in product"] > 0.2
    assert found["share of layer_norm"] > 0


def test_shares_do_not_grow_with_the_images() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1))
    small, large = read(net, (3, 16, 16)), read(net, (3, 64, 64))
    for name in names():
        if name.startswith("share"):
            assert small[name] == pytest.approx(large[name], abs=1e-3), name


def test_a_network_without_layers_has_a_profile() -> None:
    values = profile(archrank.trace(nn.ReLU(), (4,)))
    assert values.shape == (len(names()),)
    assert np.isfinite(values).all()
