"""Binary codes of rectifiers, counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_network import data, network, ours
from torch import nn

import archrank
from archrank.proxies.activations.naswot import naswot


def test_naswot_with_explicit_codes() -> None:
    net, (images, _) = network().train(), data()
    codes = []
    for layer in (net[2], net[4]):
        layer.register_forward_hook(lambda m, i, o: codes.append((i[0] > 0).flatten(1)))
    net(images)
    code = torch.cat(codes, dim=1).numpy().astype(float)
    kernel = code @ code.T + (1 - code) @ (1 - code).T
    assert ours("naswot") == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_linear_regions_counts_codes() -> None:
    net, (images, _) = network().train(), data()
    codes = []
    for layer in (net[2], net[4]):
        layer.register_forward_hook(lambda m, i, o: codes.append((i[0] > 0).flatten(1)))
    net(images)
    expected = len({tuple(code) for code in torch.cat(codes, dim=1).tolist()})
    assert ours("linear_regions") == expected
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(108, 2), nn.ReLU(), nn.Linear(2, 3)).double()
    many = torch.randn(40, 3, 6, 6, dtype=torch.float64)
    signs = {tuple(row) for row in (narrow[1](many.flatten(1)) > 0).tolist()}
    got = archrank.score(narrow, many, proxies="linear_regions")["linear_regions"].value
    assert got == len(signs) <= 4


def test_naswot_refuses_equal_codes() -> None:
    with pytest.raises(archrank.errors.ScoreError, match="same code"):
        naswot(torch.full((3, 3), 7.0))
