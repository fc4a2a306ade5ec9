"""Proxies of weights and first-order gradients against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference_network import data, gradients, network, ours, weights
from torch import Tensor

import archrank
from archrank.errors import ScoreError
from archrank.proxies.gradients.gradient import grasp, plain, zico
from archrank.proxies.recording.signals import GradientStatistics
from archrank.proxies.registry import Measure


def test_grad_norm_and_plain() -> None:
    net, found = network(), gradients(network(), *data())
    assert ours("grad_norm") == pytest.approx(sum(float((g**2).sum()) ** 0.5 for g in found))
    total = sum(float((w * g).detach().sum()) for w, g in zip(weights(net), found, strict=True))
    assert ours("plain") == pytest.approx(total)


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


@pytest.mark.parametrize("count", [2, 4])
def test_zico_of_batches_that_hardly_differ(count: int) -> None:
    """The deviations of single precision are those of its gradients, to the last bit but one."""
    images, labels = data()
    batches = [(images.float() * (1 + 1e-5 * i), labels) for i in range(count)]
    per_batch = [[g.double().numpy() for g in gradients(network().float(), *b)] for b in batches]
    expected = 0.0
    for layer in range(3):
        g = np.stack([grads[layer] for grads in per_batch])
        std, mean = g.std(axis=0), np.abs(g).mean(axis=0)
        expected += np.log((mean[std > 0] / std[std > 0]).sum())
    got = archrank.score(network().float(), batches, proxies="zico", batches=count)["zico"].value
    assert got == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("proxy", [plain, grasp])
def test_sums_that_cancel_out_in_single_precision(proxy: Callable[..., Measure]) -> None:
    generator = torch.Generator().manual_seed(0)
    weights, slopes = (torch.randn(10**6, generator=generator) for _ in range(2))
    products = (weights * slopes).double()
    slopes[0] -= (products.sum() / weights[0]).float()
    expected = math.fsum((weights * slopes).tolist())
    assert abs(expected) < 1e-3
    found = abs(proxy({"one": weights}, {"one": slopes}).total)
    assert found == pytest.approx(abs(expected), rel=1e-9, abs=1e-9)


ELEMENTS = arrays(np.float64, st.integers(1, 9), elements=st.floats(0, 10))


@settings(deadline=None)
@given(std=ELEMENTS, seed=st.integers(0, 99))
def test_only_what_deviates_counts(std: np.ndarray, seed: int) -> None:
    mean = np.random.default_rng(seed).random(len(std))
    moving = std > 1e-30
    std = np.where(moving, std, 0.0)
    statistics = GradientStatistics(torch.from_numpy(mean), torch.from_numpy(std))
    ratios, ones = mean[moving] / std[moving], 1 / std[moving]
    assert statistics.per_deviation(statistics.mean_abs) == pytest.approx(ratios.sum())
    assert statistics.per_deviation(1.0) == pytest.approx(ones.sum())
    layers = {"still": GradientStatistics(torch.ones(3), torch.zeros(3)), "one": statistics}
    if moving.any():
        assert zico(layers).by_parameter == {"one": pytest.approx(np.log(ratios.sum()))}
    else:
        with pytest.raises(ScoreError, match="no gradient differs"):
            zico(layers)
