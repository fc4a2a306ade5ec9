"""Autograd functions of the model's own: right where autograd knows the weights, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

N, WIDTH = 6, 8

FORWARD = "near,naswot,swap,meco,zen,az_expressivity"
BACKWARD = "grad_norm,snip,grasp,fisher,synflow,in_train,gradsign,ntk_condition,croze,zico,vkdnw"


class Checkpoint(torch.autograd.Function):
    """Runs layers without gradients, and again in the backward, as fairscale's checkpoints do."""

    @staticmethod
    def forward(context: Any, x: Tensor, run: Callable[[Tensor], Tensor], *_: Any) -> Tensor:
        context.run = run
        context.save_for_backward(x)
        return run(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        x = context.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            torch.autograd.backward(context.run(x), gradient)
        return x.grad, None, None


class Linear(torch.autograd.Function):
    """A linear layer that gets its weight as an argument."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return F.linear(x, weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        x, weight = context.saved_tensors
        return gradient @ weight, gradient.flatten(0, -2).T @ x.flatten(0, -2)


WAYS: dict[str, Callable[[nn.Linear, Tensor], Tensor]] = {
    "plain": lambda layer, x: layer(x),
    "closure": lambda layer, x: Checkpoint.apply(x, layer),
    "in a list": lambda layer, x: Checkpoint.apply(x, layer, [*layer.parameters()]),
    "argument": lambda layer, x: Linear.apply(x, layer.weight),
}


class Model(nn.Module):
    """Two layers with another between them, on tokens."""

    def __init__(self, way: str):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.body = nn.Linear(3, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        self.head, self.way = nn.Linear(WIDTH, 4), WAYS[way]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.way(self.body, F.relu(self.embed(x)))).mean(1))


def scores(way: str, proxies: str) -> archrank.Scores:
    x = torch.randn(2 * N, 5, 3, generator=torch.Generator().manual_seed(1))
    y = torch.arange(2 * N) % 4
    return archrank.score(Model(way), [(x[:N], y[:N]), (x[N:], y[N:])], proxies=proxies)


@pytest.mark.parametrize("way", ["closure", "in a list", "argument"])
def test_what_needs_no_gradient_of_weights_is_the_same(way: str) -> None:
    found, expected = scores(way, FORWARD), scores("plain", FORWARD)
    for name, result in expected.items():
        assert found[name].status == result.status, name
        assert found[name].value == pytest.approx(result.value, rel=1e-5), name


@pytest.mark.parametrize("way", ["closure", "in a list"])
def test_weights_that_autograd_does_not_know_are_refused(way: str) -> None:
    for name, result in scores(way, BACKWARD).items():
        assert result.status == "unsupported", name
        assert "'body.weight' is applied inside Checkpoint" in str(result.reason), name


def test_weights_that_are_arguments_are_right() -> None:
    found, expected = scores("argument", BACKWARD), scores("plain", BACKWARD)
    assert found["fisher"].status == "unsupported"  # the layer's output has no gradient of its own
    for name, result in expected.items():
        if name != "fisher":
            assert found[name].value == pytest.approx(result.value, rel=1e-4), name
