"""Zen-score where its value is known."""

from __future__ import annotations

import math

import pytest
from torch import nn

import archrank


def test_zen_of_a_linear_network_is_closed_form() -> None:
    # features = x before pooling of an identity network: the L1 norm of gamma * eps
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    value = archrank.score(net, (3, 40, 40), proxies="zen")["zen"].value
    elements = 3 * 40 * 40
    assert value == pytest.approx(math.log(1e-2 * elements * math.sqrt(2 / math.pi)), rel=2e-3)


def test_zen_adds_the_scale_that_batch_norm_removes() -> None:
    def build(norm: bool) -> nn.Module:
        body = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
        body += [nn.BatchNorm2d(16)] if norm else []
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))

    values = [
        archrank.score(build(norm), (3, 16, 16), proxies="zen")["zen"].value for norm in (0, 1)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.1)


def test_zen_of_a_deep_network_without_norms_is_within_range() -> None:
    """Features of 60 linear layers of width 64 grow by 8 each: 10^54, more than single holds."""
    body = [nn.Linear(64, 64, bias=False) for _ in range(60)]
    value = archrank.score(nn.Sequential(*body, nn.Linear(64, 4)), (64,), proxies="zen")[
        "zen"
    ].value
    assert value == pytest.approx(60 * math.log(8), rel=0.1)
