"""epsinas by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_network import data, network, ours, weights
from torch import Tensor, nn

import archrank
from archrank.proxies.recording import changed_weights


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


class Everything(nn.Module):
    """All kinds of layers, on (N, 6, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
        self.same = nn.Conv2d(8, 8, (3, 1), padding="same", dilation=2, groups=8, bias=False)
        self.reflecting = nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect")
        self.transposed = nn.ConvTranspose2d(4, 6, 2, 2)
        self.line = nn.Conv1d(6, 5, 3, bias=False)
        self.space = nn.Conv3d(1, 3, 2)
        self.tokens = nn.Linear(4, 7)
        self.head = nn.Linear(7, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.grouped(x))  # in place: what is repeated must be its own memory
        x = self.transposed(self.reflecting(self.same(x)).tanh())
        x = self.line(x.flatten(2)).relu_()
        x = self.space(x.unflatten(2, (2, 31))[:, None])
        return self.head(self.tokens(x[..., :4]).flatten(1, 3).cumsum(1)).flatten(1)


def test_alike_outputs_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, images = Everything().double(), torch.randn(4, 6, 8, 8, dtype=torch.float64)
    quick = archrank.score(net, images, proxies="epsinas")["epsinas"].value
    monkeypatch.setattr(changed_weights, "_SUMS", frozenset())
    slow = archrank.score(net, images, proxies="epsinas")["epsinas"].value
    assert quick == pytest.approx(slow, rel=1e-9)
