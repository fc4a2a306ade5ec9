"""Sizes against sums by hand."""

from __future__ import annotations

import pytest
from reference_network import network, ours, weights


def test_sizes() -> None:
    assert ours("params") == sum(p.numel() for p in network().parameters())
    products = 16 * 4 * (3 * 9) + 4 * 5 * (4 * 9) + 3 * 20
    norm_and_rectifiers = 2 * 64 + 64 + 20
    assert ours("flops") == products + norm_and_rectifiers
    assert ours("activations") == 64 + 20 + 3
    assert ours("l2_norm") == pytest.approx(
        sum(float(w.detach().norm()) for w in weights(network()))
    )
