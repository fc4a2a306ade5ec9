"""Numbers of any size against double precision where it holds, and against decimals beyond."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import archrank
from archrank.proxies.recording.flow.wide_range import WideRange

FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, w: F.linear(x, w, w[:, 0]),
    "convolution": lambda x, w: F.conv1d(x[:, None], w[:3, None, :3], w[0, :3], padding=1),
    "residual": lambda x, w: x + torch.relu(F.linear(x, w)),
    "max pool": lambda x, w: F.max_pool1d(F.linear(x, w)[:, None], 2),
    "average": lambda x, w: F.avg_pool1d((x @ w)[:, None], 2) + x.mean(),
    "concatenation": lambda x, w: torch.cat([x @ w, x, x * 0 + 1], dim=1),
    "softmax": lambda x, w: (x @ w).softmax(-1) @ w,
    "attention": lambda x, w: F.scaled_dot_product_attention(x @ w, x, x),
    "sigmoid gate": lambda x, w: (x @ w) * torch.sigmoid(x),
    "GELU": lambda x, w: F.gelu(x @ w) + F.silu(x),
    "hard gates": lambda x, w: F.hardswish(x @ w) + F.relu6(x) + F.softplus(x),
    "layer norm": lambda x, w: F.layer_norm(x @ w, (6,), w[0], w[1]) + x,
    "group norm": lambda x, w: F.group_norm((x @ w)[..., None], 2, w[0], w[1]).squeeze(-1),
    "batch norm": lambda x, w: F.batch_norm((x @ w), None, None, w[0], w[1], True),
    "root mean square": lambda x, w: x * torch.rsqrt((x @ w).pow(2).mean(-1, True) + 1e-6),
    "norm": lambda x, w: F.normalize(x @ w, dim=-1) * x.norm(),
    "in place": lambda x, w: (x @ w).mul_(x).add_(x).relu_(),
    "part in place": lambda x, w: _in_part(x @ w, x),
    "quotient": lambda x, w: (x @ w) / (x.sum(-1, keepdim=True) + 1),
    "powers": lambda x, w: (x @ w).pow(3) + (x * x).sqrt(),
    "where": lambda x, w: torch.where(x > 1, x @ w, x.masked_fill(x > 2, 0.0)),
}


def _in_part(product: Tensor, x: Tensor) -> Tensor:
    changed = product.clone()
    changed[:, 0] = x[:, 1]
    changed[:, 2:4] *= 3
    return changed


def values(function: Callable, x: Tensor, w: Tensor, exponent: int, wide: bool) -> list[Tensor]:
    """Return function and its gradients of x * 4^exponent, on numbers near 1 if ``wide``."""
    x, w = x.clone(), w.clone().requires_grad_()
    mode = WideRange()

    def true(tensor: Tensor) -> Tensor:
        power = mode.power_of(tensor) if wide else 0
        return tensor.detach() * 2.0**power * 2.0**power

    with sdpa_kernel(SDPBackend.MATH):
        if wide:
            with mode:
                scaled = x * 1.0
                mode._set(scaled.untyped_storage()._cdata, exponent)
                y = function(scaled.requires_grad_(), w)
                found = torch.autograd.grad(y.sum(), [scaled, w], allow_unused=True)
        else:
            scaled = (x * 4.0**exponent).requires_grad_()
            y = function(scaled, w)
            found = torch.autograd.grad(y.sum(), [scaled, w], allow_unused=True)
    return [true(t) for t in (y, *found) if t is not None]


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=12, deadline=None)
@given(exponent=st.integers(-120, 120), seed=st.integers(0, 99))
def test_operators_and_their_gradients(name: str, exponent: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 6, generator=generator, dtype=torch.float64) + 0.1
    w = torch.rand(6, 6, generator=generator, dtype=torch.float64)
    want = values(FUNCTIONS[name], x, w, exponent, wide=False)
    got = values(FUNCTIONS[name], x, w, exponent, wide=True)
    for one, other in zip(got, want, strict=True):
        size = float(other.abs().max())
        if math.isfinite(size) and size > 1e-250:
            torch.testing.assert_close(one / size, other / size, rtol=1e-9, atol=1e-9)


class Plain(nn.Module):
    """Layers of two units, with biases and a way around each."""

    def __init__(self, depth: int, scale: float):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(depth))
        for layer in self.layers:
            layer.weight.data *= scale

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x


def by_decimals(net: Plain) -> list[Decimal]:
    """Sum of |W * dR/dW| of each layer, in decimals of fifty digits and any size."""
    layers = [
        (
            [[Decimal(abs(float(v))) for v in row] for row in layer.weight],
            [Decimal(abs(float(v))) for v in layer.bias],
        )
        for layer in net.layers
    ]
    inputs, x = [], [Decimal(1), Decimal(1)]
    for weight, bias in layers:
        inputs.append(x)
        x = [x[i] + sum(weight[i][j] * x[j] for j in (0, 1)) + bias[i] for i in (0, 1)]
    gradient, totals = [Decimal(1), Decimal(1)], []
    for (weight, _), source in zip(reversed(layers), reversed(inputs), strict=True):
        totals.append(sum(weight[i][j] * source[j] * gradient[i] for i in (0, 1) for j in (0, 1)))
        gradient = [gradient[j] + sum(weight[i][j] * gradient[i] for i in (0, 1)) for j in (0, 1)]
    return totals[::-1]


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "scale"), [(5, 1.0), (200, 1.0), (900, 1.0), (300, 30.0)])
def test_flow_of_deep_networks(depth: int, scale: float) -> None:
    torch.manual_seed(0)
    net = Plain(depth, scale)
    scores = archrank.score(
        net, (2,), proxies=["synflow", "synflow_log", "logsynflow", "parzc_dagger"], batch_size=2
    )
    with localcontext() as context:
        context.prec = 50
        totals = by_decimals(net)
        log = float(sum(totals).ln())
        parts = [float(total.ln()) for total in totals]
    assert scores["synflow_log"].value == pytest.approx(log, rel=1e-12)
    nodes = scores.nodes("synflow_log")
    assert nodes[~torch.isnan(torch.tensor(nodes)).numpy()] == pytest.approx(parts, rel=1e-12)
    assert scores["logsynflow"].status == "ok"
    if log < 700:
        assert scores["synflow"].value == pytest.approx(math.exp(log), rel=1e-9)
    else:
        assert scores["synflow"].status == "not applicable"
        assert "10^" in scores["synflow"].reason


@pytest.mark.parametrize("scale", [1e-3, 0.05])
def test_flow_of_deep_networks_that_vanishes(scale: float) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4, bias=False) for _ in range(300)]
    vector, log = torch.ones(4, dtype=torch.float64), 0.0
    for layer in layers:
        layer.weight.data *= scale
        vector = layer.weight.detach().double().abs() @ vector
        largest = float(vector.max())
        vector, log = vector / largest, log + math.log(largest)
    log += math.log(float(vector.sum())) + math.log(len(layers))
    scores = archrank.score(nn.Sequential(*layers), (4,), proxies=["synflow", "synflow_log"])
    assert scores["synflow_log"].value == pytest.approx(log, rel=1e-12)
    assert scores["synflow"].status == "not applicable"
    assert "less than double precision holds" in scores["synflow"].reason


def test_no_flow_at_all() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    for parameter in net[1].parameters():
        nn.init.zeros_(parameter)
    scores = archrank.score(net, (4,), proxies=["synflow", "synflow_log"])
    assert scores["synflow"].value == 0
    assert scores["synflow_log"].reason == "no flow reaches the output"


def test_a_part_in_single_precision_is_in_double() -> None:
    """Linear attention that asks for single precision, deep down a network that overflows it."""

    class Attention(nn.Module):
        def __init__(self, casts: bool):
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(*(nn.Linear(16, 16) for _ in range(3)))
            self.head, self.casts = nn.Linear(16, 4), casts

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x) * 1e200
            q = torch.relu(x.float() if self.casts else x)
            kept = q.mT @ q
            return self.head((q @ kept / (q @ kept).sum(-1, keepdim=True)).to(x.dtype).mean(1))

    names = ["synflow", "synflow_log", "logsynflow"]
    scores, expected = (
        archrank.score(Attention(casts), (5, 16), proxies=names) for casts in (True, False)
    )
    for name in names:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-6), name
