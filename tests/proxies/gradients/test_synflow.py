"""Synaptic flow by hand."""

from __future__ import annotations

import math

import pytest
import torch
from reference_network import network, ours, weights
from torch import Tensor, nn

import archrank


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


class Tokens(nn.Module):
    """Batch norm of tokens that are turned into images, or of images."""

    def __init__(self, tokens: bool):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.mix, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4)
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.tokens:
            x = x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2).reshape(x.shape)
        return self.head(torch.relu(self.mix(torch.relu(self.norm(x)))).mean((2, 3)))


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_of_one_sample_in_any_order(tokens: bool, order: torch.memory_format) -> None:
    plain = Tokens(False).double()
    with torch.no_grad():
        for p in plain.parameters():
            p.abs_()
    matrices = [p for p in plain.parameters() if p.dim() > 1]
    found = torch.autograd.grad(plain(torch.ones(1, 3, 8, 8).double()).sum(), matrices)
    expected = sum(
        float((w * g).abs().sum().detach()) for w, g in zip(matrices, found, strict=True)
    )
    model, x = Tokens(tokens).to(memory_format=order), torch.randn(4, 3, 8, 8)
    result = archrank.score(model, x.to(memory_format=order), proxies="synflow_bn")["synflow_bn"]
    assert result.value == pytest.approx(expected, rel=1e-6)
