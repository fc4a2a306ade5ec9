"""Synaptic flow by hand."""

from __future__ import annotations

import math

import pytest
import torch
from reference_network import network, ours, weights
from torch import nn


def test_synflow_by_hand() -> None:
    net = network()
    ones = torch.ones(1, 3, 6, 6).double()
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    stack = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm2d)))
    found = torch.autograd.grad(stack(ones).sum(), weights(net))
    parts = [(w * g).abs().sum() for w, g in zip(weights(net), found, strict=True)]
    assert ours("synflow") == pytest.approx(float(sum(parts)))
    assert ours("synflow_log") == pytest.approx(math.log(float(sum(parts))))


def test_synflow_with_norm_and_with_damped_gradients() -> None:
    net = network().train()
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    ones = torch.ones(1, 3, 6, 6).double()
    stack = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm2d)))
    expected = 0.0
    for w, g in zip(
        weights(net), torch.autograd.grad(stack(ones).sum(), weights(net)), strict=True
    ):
        for weight, gradient in zip(w.flatten().tolist(), g.flatten().tolist(), strict=True):
            expected += abs(weight) * math.log(1 + abs(gradient))
    assert ours("logsynflow") == pytest.approx(expected)
    found = torch.autograd.grad(net(ones).sum(), weights(net))
    parts = [float((w * g).detach().abs().sum()) for w, g in zip(weights(net), found, strict=True)]
    assert ours("synflow_bn") == pytest.approx(sum(parts))
