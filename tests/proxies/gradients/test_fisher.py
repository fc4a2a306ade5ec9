"""Fisher against loops over channels and samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_network import N, data, network, ours
from torch import Tensor, nn

import archrank


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


@pytest.mark.parametrize("way", ["data", "list"])
def test_outputs_are_those_before_they_are_written_to(way: str) -> None:
    """Also by what torch counts no version for."""

    class Writes(nn.Module):
        def __init__(self, writes: bool):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.writes = nn.Linear(5, 8), nn.Linear(8, 4), writes

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            if not self.writes:
                x = x + x.detach() if way == "data" else 2 * x
            elif way == "data":
                x.data.mul_(2)
            else:
                torch._foreach_mul_([x], 2.0)
            return self.two(torch.tanh(x))

    x, targets = torch.randn(6, 5), torch.arange(6) % 4
    found, wanted = (archrank.score(Writes(w), x, targets)["fisher"].value for w in (True, False))
    assert found == pytest.approx(wanted)


def test_layers_of_positions_alone_depend_on_no_sample() -> None:
    """They learn, and have no channel of any sample."""

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.place = nn.Linear(3, 8), nn.Linear(2, 8)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            places = self.place(torch.stack([torch.arange(5.0), torch.ones(5)], 1))
            self.outputs = [self.embed(x)]
            self.outputs.append(self.head(F.relu(self.outputs[0] + places).mean(1)))
            return self.outputs[1]

    x, targets = torch.randn(6, 5, 3), torch.arange(6) % 4
    model = Positions()
    loss = F.cross_entropy(model(x), targets)
    slopes = torch.autograd.grad(loss, model.outputs)
    products = [(o * g).detach() for o, g in zip(model.outputs, slopes, strict=True)]
    per_channel = [products[0].sum(1), products[1]]
    expected = sum(float(p.square().mean(0).sum() / 2) for p in per_channel)
    model.outputs.clear()
    assert archrank.score(model, x, targets)["fisher"].value == pytest.approx(expected, rel=1e-5)
