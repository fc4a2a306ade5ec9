"""ParZC's weighted sums, layer by layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference_network import data, gradients, network, weights
from torch import nn

import archrank

DEPTH_WEIGHTS = {
    "": lambda i, n: ((n - i) / n) ** 2,
    "_linear": lambda i, n: (n - i) / n,
    "_exponential": lambda i, n: math.exp(-i / n),
    "_sigmoid": lambda i, n: 1 / (1 + math.exp(-10 * (0.5 - i / n))),
    "_sine": lambda i, n: (math.sin(0.1 * i) + 1) / 2,
}


@pytest.mark.parametrize("weighting", DEPTH_WEIGHTS)
@pytest.mark.parametrize("base", ["synflow", "snip", "grad_norm"])
def test_parzc_dagger_layer_by_layer(weighting: str, base: str) -> None:
    net = network()
    values = []
    if base == "synflow":
        with torch.no_grad():
            for p in net.parameters():
                p.abs_()
        stack = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm2d)))
        found = torch.autograd.grad(stack(torch.ones(1, 3, 6, 6).double()).sum(), weights(net))
        for w, g in zip(weights(net), found, strict=True):
            values.append(math.log(1 + float((w * g).detach().abs().mean())))
    else:
        for w, g in zip(weights(net), gradients(net, *data()), strict=True):
            values.append(float((w * g).detach().abs().mean() if base == "snip" else g.norm()))
    expected = [DEPTH_WEIGHTS[weighting](i, 3) * v for i, v in enumerate(values)]
    name = f"parzc_dagger{weighting}[base={base}]"
    images, labels = data()
    scores = archrank.score(network(), images, labels, proxies=[name])
    ((full_name, result),) = scores.items()
    assert full_name == (name if base != "synflow" else f"parzc_dagger{weighting}")
    assert result.value == pytest.approx(sum(expected))
    nodes = scores.nodes(full_name)
    assert nodes[~np.isnan(nodes)].tolist() == pytest.approx(expected)
