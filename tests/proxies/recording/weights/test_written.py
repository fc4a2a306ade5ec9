"""Weights that a forward writes to, cuts off, or repeats for each sample, and hooks on weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

OF_THE_GRAPH = {"flops", "activations", "az_complexity", "nasgraph", "nasgraph_density"}
N = 6


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(N, 3, 6, 6, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(x, torch.arange(N) % 4) for x in given]


class Network(nn.Module):
    """A network that does something to its second layer, and applies it in some way."""

    def __init__(self, change: Callable[[Any], Any] | None = None, apply: Any = None):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = (nn.Conv2d(c, 6, 3, padding=1) for c in (3, 6))
        self.head = nn.Linear(6, 4)
        self.register_buffer("mask", torch.ones(6, 6, 3, 3).tril())
        self.double()
        vars(self)["change"], vars(self)["apply"] = change, apply

    def forward(self, x: Tensor) -> Tensor:
        if vars(self)["change"] is not None:
            vars(self)["change"](self)
        x = F.gelu(self.one(x))
        apply = vars(self)["apply"]
        x = self.two(x) if apply is None else apply(self.two, x)
        return self.head(F.relu(x).mean((2, 3)))


def scaled(net: Network) -> None:
    with torch.no_grad():
        net.two.weight.div_(net.two.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1))


WRITES: dict[str, Callable[[Network], Any]] = {
    "masked": lambda net: net.two.weight.data.mul_(net.mask),  # as in PixelCNN
    "normalised": scaled,
    "clipped": lambda net: net.two.weight.data.clamp_(-0.05, 0.05),  # as in Wasserstein GANs
    "exchanged": lambda net: setattr(net.two.weight, "data", net.two.weight.data * net.mask),
}


def compared(found: archrank.Scores, expected: archrank.Scores, out: set[str]) -> None:
    for name in expected.keys() - out:
        assert found[name].status == expected[name].status, (name, found[name].reason)
        if expected[name].value is not None:
            wanted = pytest.approx(expected[name].value, rel=1e-6, abs=1e-9)
            assert found[name].value == wanted, name


@pytest.mark.parametrize("kind", WRITES)
def test_the_weights_are_those_that_the_forward_wrote(kind: str) -> None:
    model, twin = Network(WRITES[kind]), Network()
    WRITES[kind](twin)
    before = model.two.weight.clone()
    found = archrank.score(model, data())
    assert torch.equal(model.two.weight, before)
    compared(found, archrank.score(twin, data()), OF_THE_GRAPH)


def in_groups(layer: nn.Conv2d, x: Tensor) -> Tensor:
    weight, bias = layer.weight.repeat(len(x), 1, 1, 1), layer.bias.repeat(len(x))
    made = F.conv2d(x.reshape(1, -1, 6, 6), weight, bias, padding=1, groups=len(x))
    return made.view(len(x), 6, 6, 6)


def test_a_weight_repeated_for_each_sample_is_one() -> None:
    found = archrank.score(Network(apply=in_groups), data())
    # Where the shape changes behind a layer, its block may end.
    blocks = {"az_expressivity", "az_progressivity", "az_trainability"}
    compared(found, archrank.score(Network(), data()), OF_THE_GRAPH | blocks)


def of_loop(net: Network) -> dict[str, float]:
    """Return scores of plain autograd, each sample alone for gradsign."""
    ((x, targets), _), weights = data(), [net.one.weight, net.two.weight, net.head.weight]

    def gradients(x: Tensor, targets: Tensor) -> list[Tensor]:
        loss = F.cross_entropy(net(x), targets)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found)]  # noqa: B905

    whole = gradients(x, targets)
    signs = [torch.zeros_like(w) for w in weights]
    for i in range(N):
        for total, gradient in zip(signs, gradients(x[i : i + 1], targets[i : i + 1]), strict=True):
            total += gradient.sign()
    return {
        "grad_norm": sum(float(g.norm()) for g in whole),
        "snip": sum(float((w * g).abs().sum()) for w, g in zip(weights, whole, strict=True)),
        "gradsign": sum(float(total.abs().sum()) for total in signs),
    }


CUTS: dict[str, Callable[[nn.Conv2d, Tensor], Tensor]] = {
    "detached": lambda layer, x: F.conv2d(x, layer.weight.detach(), layer.bias, padding=1),
    "data": lambda layer, x: F.conv2d(x, layer.weight.data, layer.bias, padding=1),
    "scaled and detached": lambda layer, x: F.conv2d(
        x, (2 * layer.weight).detach(), layer.bias, padding=1
    ),
    "its sign alone": lambda layer, x: F.conv2d(
        x, layer.weight.detach().sign() * 0.1, layer.bias, padding=1
    ),
}


@pytest.mark.parametrize("kind", CUTS)
def test_a_weight_that_is_cut_off_has_no_gradient(kind: str) -> None:
    net = Network(apply=CUTS[kind])
    found = archrank.score(net, data(), proxies="grad_norm,snip,gradsign")
    for name, value in of_loop(copy.deepcopy(net)).items():
        assert found[name].value == pytest.approx(value), name


def test_hooks_on_weights_change_gradients() -> None:
    """As those do that freeze rows, or scale the gradients of some layers."""
    net = Network()
    net.two.weight.register_hook(lambda gradient: gradient * net.mask)
    net.one.weight.register_hook(lambda gradient: -0.1 * gradient)
    expected = of_loop(net)
    found = archrank.score(net, data(), proxies=[*expected])
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
    assert len(net.two.weight._backward_hooks) == 1


class Modulated(nn.Module):
    """A convolution whose kernels a style scales, as in StyleGAN2, or its input and output."""

    def __init__(self, kernels: bool):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.style = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 6)
        self.weight, self.head = nn.Parameter(torch.randn(1, 6, 6, 3, 3)), nn.Linear(6, 4)
        self.kernels = kernels
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.one(x), 0.2)
        style, n = 1 + self.style(x.mean((2, 3))), len(x)
        if self.kernels:
            weight = self.weight * style.view(n, 1, 6, 1, 1)
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
            x = x.reshape(1, n * 6, 6, 6)
            x = F.conv2d(x, weight.view(n * 6, 6, 3, 3), padding=1, groups=n).view(n, 6, 6, 6)
        else:
            square = self.weight[0].square().sum((2, 3)) * style[:, None].square()
            x = F.conv2d(x * style[:, :, None, None], self.weight[0], padding=1)
            x = x * torch.rsqrt(square.sum(2) + 1e-8)[:, :, None, None]
        return self.head(F.leaky_relu(x, 0.2).mean((2, 3)))


def test_kernels_that_a_style_scales_are_weights() -> None:
    model, twin = Modulated(True), Modulated(False)
    assert torch.allclose(model(data()[0][0]), twin(data()[0][0]))
    scores, expected = (archrank.score(m, data()) for m in (model, twin))
    # Features of a layer are those before the output is scaled, or after.
    scaled = {"near", "meco", "meco_opt", "in_train", "croze"}
    blocks = {"az_expressivity", "az_progressivity", "az_trainability"}
    compared(scores, expected, OF_THE_GRAPH | scaled | blocks)
    assert (scores.nodes("snip") == scores.nodes("snip")).sum() == 4
    assert not {n for n in scaled if scores[n].status != "ok"}


class Contrast(nn.Module):
    """A network beside a teacher that is the average of past ones, and past keys (MoCo)."""

    def __init__(self, write: str):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(5, 8), nn.Linear(8, 8)
        self.teacher = copy.deepcopy(self.one).requires_grad_(False)
        self.register_buffer("keys", F.normalize(torch.randn(8, 12), dim=0))
        self.register_buffer("next", torch.zeros(1, dtype=torch.long))
        self.double()
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        queries = F.normalize(self.two(F.relu(self.one(x))))
        with torch.no_grad():
            for its, own in zip(self.teacher.parameters(), self.one.parameters(), strict=True):
                if self.write == "exchanged":
                    its.data = its.data * 0.9 + own.data * 0.2
                elif self.write == "of data":
                    its.data.mul_(0.9).add_(own.data, alpha=0.2)
                else:
                    its.mul_(0.9).add_(own, alpha=0.2)
            keys = F.normalize(self.teacher(x))
        alike = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ self.keys.clone()], 1)
        with torch.no_grad():
            start = int(self.next)
            self.keys[:, start : start + len(x)] = keys.T[:, : 12 - start]
            self.next[0] = (start + len(x)) % 12
        return alike


@pytest.mark.parametrize("write", ["exchanged", "of data", "in place"])
def test_a_teacher_and_a_queue_begin_each_forward_alike(write: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    targets, model = torch.zeros(N, dtype=torch.long), Contrast(write)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = archrank.score(model, x, targets, proxies="grad_norm,snip,gradsign,near,fisher")
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    weights = [model.one.weight, model.two.weight]

    def gradients(rows: Tensor) -> tuple[Tensor, ...]:
        model.load_state_dict(before)
        return torch.autograd.grad(F.cross_entropy(model(rows), targets[: len(rows)]), weights)

    whole = gradients(x)
    signs = [sum(g.sign() for g in one) for one in zip(*map(gradients, x.split(1)), strict=True)]
    model.load_state_dict(before)
    assert found["grad_norm"].value == pytest.approx(sum(float(g.norm()) for g in whole))
    assert found["gradsign"].value == sum(float(total.abs().sum()) for total in signs)
    assert found["near"].status == found["fisher"].status == "ok"
