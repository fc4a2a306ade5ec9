"""Each proxy against a slow, literal computation of its formula."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archrank
from archrank.proxies.gradsign import chance
from archrank.proxies.jacobian import jacob_cov
from archrank.proxies.naswot import naswot
from archrank.proxies.signals import SignSums

N = 6


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 3)).double()


def data(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, 3, 6, 6, generator=generator).double(), torch.arange(N) % 3


def weights(net: nn.Module) -> list[nn.Parameter]:
    return [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def gradients(net: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(net.train()(images), labels), weights(net)))


def ours(name: str, **options) -> float:
    images, labels = data()
    return archrank.score(network(), images, labels, proxies=name, **options)[name].value


def test_sizes() -> None:
    assert ours("params") == sum(p.numel() for p in network().parameters())
    products = 16 * 4 * (3 * 9) + 4 * 5 * (4 * 9) + 3 * 20
    norm_and_rectifiers = 2 * 64 + 64 + 20
    assert ours("flops") == products + norm_and_rectifiers
    assert ours("activations") == 64 + 20 + 3
    assert ours("l2_norm") == pytest.approx(
        sum(float(w.detach().norm()) for w in weights(network()))
    )


def test_grad_norm_and_plain() -> None:
    net, found = network(), gradients(network(), *data())
    assert ours("grad_norm") == pytest.approx(sum(float((g**2).sum()) ** 0.5 for g in found))
    plain = sum(float((w * g).detach().sum()) for w, g in zip(weights(net), found, strict=True))
    assert ours("plain") == pytest.approx(plain)


def test_snip_is_the_gradient_of_a_mask() -> None:
    net, (images, labels) = network(), data()
    masks = [torch.ones_like(w, requires_grad=True) for w in weights(net)]
    names = ["0.weight", "3.weight", "6.weight"]
    masked = {n: w.detach() * m for n, w, m in zip(names, weights(net), masks, strict=True)}
    loss = F.cross_entropy(torch.func.functional_call(net.train(), masked, images), labels)
    expected = sum(float(g.abs().sum()) for g in torch.autograd.grad(loss, masks))
    assert ours("snip") == pytest.approx(expected)


def test_grasp_with_the_whole_hessian() -> None:
    net, (images, labels) = network(), data()
    shapes = [w.shape for w in weights(net)]
    sizes = [w.numel() for w in weights(net)]

    def loss(flat: Tensor) -> Tensor:
        parts = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        named = dict(zip(("0.weight", "3.weight", "6.weight"), parts, strict=True))
        return F.cross_entropy(torch.func.functional_call(net.train(), named, images), labels)

    flat = torch.cat([w.detach().flatten() for w in weights(net)])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.cat([g.flatten() for g in gradients(net, images, labels)])
    assert ours("grasp") == pytest.approx(float(-(flat * (hessian @ gradient)).sum()))


def test_fisher_by_loops() -> None:
    net, (images, labels) = network().train(), data()
    outputs = []
    for layer in (net[0], net[3], net[6]):
        layer.register_forward_hook(lambda m, i, o: outputs.append(o))
    loss = F.cross_entropy(net(images), labels)
    total = 0.0
    for output, gradient in zip(outputs, torch.autograd.grad(loss, outputs), strict=True):
        for c in range(output.shape[1]):
            per_sample = [float((output[n, c] * gradient[n, c]).detach().sum()) for n in range(N)]
            total += 0.5 * float(np.mean(np.square(per_sample)))
    assert ours("fisher") == pytest.approx(total)


def test_fisher_survives_in_place_rectifiers() -> None:
    def build(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace), nn.Conv2d(4, 4, 3), nn.ReLU(inplace),
            nn.Flatten(), nn.Linear(16, 3),
        ).double()  # fmt: skip

    images, labels = data()
    scores = [archrank.score(build(i), images, labels, proxies="fisher,naswot") for i in (0, 1)]
    for name in ("fisher", "naswot"):
        assert scores[0][name].value == pytest.approx(scores[1][name].value)


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


def test_jacob_cov_with_numpy() -> None:
    net, (images, _) = network().train(), data()
    images.requires_grad_()
    rows = torch.autograd.grad(net(images).sum(), images)[0].flatten(1).numpy()
    v = np.linalg.eigvalsh(np.corrcoef(rows))
    expected = -np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5))
    assert ours("jacob_cov") == pytest.approx(expected, rel=1e-6)


def test_jacob_cov_refuses_constant_rows() -> None:
    with pytest.raises(archrank.errors.ScoreError, match="constant"):
        jacob_cov(torch.ones(4, 5))


def test_naswot_with_explicit_codes() -> None:
    net, (images, _) = network().train(), data()
    codes = []
    for layer in (net[2], net[4]):
        layer.register_forward_hook(lambda m, i, o: codes.append((i[0] > 0).flatten(1)))
    net(images)
    code = torch.cat(codes, dim=1).numpy().astype(float)
    kernel = code @ code.T + (1 - code) @ (1 - code).T
    assert ours("naswot") == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_naswot_refuses_equal_codes() -> None:
    with pytest.raises(archrank.errors.ScoreError, match="same code"):
        naswot(torch.full((3, 3), 7.0))


@pytest.mark.parametrize("count", [2, 4])
def test_zico_with_numpy(count: int) -> None:
    batches = [data(seed) for seed in range(count)]
    per_batch = [[g.numpy() for g in gradients(network(), *batch)] for batch in batches]
    expected = 0.0
    for layer in range(3):
        g = np.stack([grads[layer] for grads in per_batch])
        std, mean = g.std(axis=0), np.abs(g).mean(axis=0)
        expected += np.log((mean[std > 0] / std[std > 0]).sum())
    got = archrank.score(network(), batches, proxies="zico", batches=count)["zico"].value
    assert got == pytest.approx(expected)


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


@pytest.mark.parametrize("n", range(1, 11))
def test_chance_by_enumeration(n: int) -> None:
    sums = [abs(sum(signs)) for signs in itertools.product((-1, 1), repeat=n)]
    mean, deviation = chance(n)
    assert mean == pytest.approx(np.mean(sums))
    assert deviation == pytest.approx(np.std(sums), abs=1e-7)


@given(st.integers(2, 40), st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_forms_of_gradsign_agree(n: int, m: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    signs = generator.choice([-1, 0, 1], size=(n, m))
    sums = SignSums(n, {"w": torch.from_numpy(signs.sum(axis=0)).float().view(1, m)})
    forms = {p: archrank.proxies.get(p).function(sums).total for p in ("gradsign", "gradsign_mean")}
    assert forms["gradsign"] == np.abs(signs.sum(axis=0)).sum()
    assert forms["gradsign"] == pytest.approx(m * forms["gradsign_mean"])
    if n > 2:
        mean, deviation = chance(n)
        excess = archrank.proxies.get("gradsign_excess").function(sums).total
        z = archrank.proxies.get("gradsign_z").function(sums).total
        assert excess == pytest.approx(forms["gradsign_mean"] - mean)
        assert z == pytest.approx(excess * math.sqrt(m) / deviation)


def test_coin_tosses_score_zero_whatever_the_size() -> None:
    generator = np.random.default_rng(0)
    for m in (1_000, 100_000):
        signs = generator.choice([-1, 1], size=(64, m)).sum(axis=0)
        sums = SignSums(64, {"w": torch.from_numpy(signs).float().view(1, m)})
        assert abs(archrank.proxies.get("gradsign_z").function(sums).total) < 4
