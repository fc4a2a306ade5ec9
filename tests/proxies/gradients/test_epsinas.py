"""epsinas by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_network import data, network, ours, weights


def test_epsinas_by_hand() -> None:
    images, _ = data()
    outputs = []
    for constant in (1e-7, 1.0):
        net = network().train()
        with torch.no_grad():
            for w in weights(net):
                w.fill_(constant)
            found = net(images).flatten()
        outputs.append(((found - found.min()) / (found.max() - found.min())).numpy())
    first, second = outputs
    assert ours("epsinas") == pytest.approx(np.abs(first - second).mean() / np.mean(outputs))
