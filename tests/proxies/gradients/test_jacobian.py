"""Proxies of the input's gradient against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_network import data, network, ours
from torch import Tensor, nn

import archrank
from archrank.proxies.gradients.jacobian import epe_nas, jacob_cov


def test_jacob_cov_with_numpy() -> None:
    net, (images, _) = network().train(), data()
    images.requires_grad_()
    rows = torch.autograd.grad(net(images).sum(), images)[0].flatten(1).numpy()
    v = np.linalg.eigvalsh(np.corrcoef(rows))
    expected = -np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5))
    assert ours("jacob_cov") == pytest.approx(expected, rel=1e-6)


def jacobian(net: nn.Module, images: Tensor) -> np.ndarray:
    images = images.clone().requires_grad_()
    return torch.autograd.grad(net.train()(images).sum(), images)[0].flatten(1).numpy()


def test_epe_nas_by_loops() -> None:
    images, labels = data()
    rows, expected = jacobian(network(), images), 0.0
    for c in range(3):
        correlation = np.corrcoef(rows[labels.numpy() == c])
        expected += abs(np.log(np.abs(correlation) + 1e-5).sum())
    assert ours("epe_nas") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("outputs", "many"), [(100, False), (101, True), (250, True)])
def test_epe_nas_compares_classes_where_there_are_many(outputs: int, many: bool) -> None:
    """Many outputs, not many classes in the batch: a batch seldom holds more than a hundred."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, outputs)).double()
    images = torch.randn(12, 3, 4, 4, dtype=torch.float64)
    labels = torch.arange(12) % 4 * 24
    rows, per_class = jacobian(net, images), []
    for c in range(4):
        correlation = np.corrcoef(rows[labels.numpy() == 24 * c])
        per_class.append(np.log(np.abs(correlation) + 1e-5).sum() / (3 if many else 1))
    if many:
        expected = sum(abs(a - b) for a in per_class for b in per_class) / 4
    else:
        expected = sum(abs(score) for score in per_class)
    got = archrank.score(net, images, labels, proxies="epe_nas")["epe_nas"].value
    assert got == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_correlations_know_neither_scale_nor_offset(seed: int, scale: float, offset: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(8, 30, generator=generator, dtype=torch.float64)
    factors = torch.linspace(0.5, 2, 8, dtype=torch.float64)[:, None] * scale
    for changed in (rows * factors, rows + offset):
        labels = torch.arange(8) % 2
        assert jacob_cov(changed).total == pytest.approx(jacob_cov(rows).total, rel=1e-6)
        first, second = (epe_nas(r, labels, 10).total for r in (rows, changed))
        assert second == pytest.approx(first, rel=1e-6)


def test_jacob_cov_refuses_constant_rows() -> None:
    with pytest.raises(archrank.errors.ScoreError, match="constant"):
        jacob_cov(torch.ones(4, 5))
