"""CRoZe by hand."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_network import N, data, gradients, network, ours, weights
from torch import Tensor, nn

import archrank
from archrank.proxies.recording import twins


def test_croze_by_hand() -> None:
    def run(net: nn.Module, images: Tensor, labels: Tensor):
        outputs: list[Tensor] = []
        hooks = [net[i].register_forward_hook(lambda m, i, o: outputs.append(o)) for i in (0, 3, 6)]
        found = gradients(net, images, labels)
        for hook in hooks:
            hook.remove()
        return found, [o.detach() for o in outputs]

    def cosine(a: Tensor, b: Tensor) -> float:
        a, b = a.detach().flatten().numpy(), b.detach().flatten().numpy()
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    net, twin, (images, labels) = network(), network(), data()
    clean, outputs = run(net, images, labels)
    with torch.no_grad():
        for w, g in zip(weights(twin), clean, strict=True):
            w += 0.01 * w.norm() * g / g.norm()
    moving = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(twin.train()(moving), labels), moving)
    disturbed, twin_outputs = run(twin, images + 0.01 * slope.sign(), labels)
    expected = 0.0
    for i in range(3):
        stepped = weights(net)[i] - clean[i], weights(twin)[i] - disturbed[i]
        agreement = abs(cosine(clean[i], disturbed[i])) * (1 + cosine(outputs[i], twin_outputs[i]))
        expected += (1 + cosine(*stepped)) * agreement
    assert ours("croze") == pytest.approx(expected, rel=1e-6)


def test_croze_lets_go_of_features_as_it_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[weakref.ref[Tensor]] = []
    cosine = twins._cosine

    def watched(first: Tensor, second: Tensor) -> float:
        if first.shape == (N, 4, 4, 4):
            assert all(feature() is None for feature in compared)
            compared.append(weakref.ref(first))
        return cosine(first, second)

    monkeypatch.setattr(twins, "_cosine", watched)
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), *convolutions, nn.Flatten(), nn.Linear(64, 3)).double()
    images, labels = data()
    assert archrank.score(net, images, labels, proxies="croze")["croze"].value > 0
    assert len(compared) == 6


def test_a_number_of_tokens_that_changes_in_the_twin_is_said_to() -> None:
    class Cut(nn.Module):
        """A network that reads a token less of an input beyond a bound."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.body, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.embed(x)[:, : 5 if x.abs().max() <= 1 else 4]
            return self.head(F.relu(self.body(tokens)).mean(1))

    torch.manual_seed(0)
    x = torch.randn(N, 5, 3).sign()  # a step along any gradient leads beyond the bound
    score = archrank.score(Cut(), x, torch.arange(N) % 4, proxies="croze")["croze"]
    assert score.status == "unsupported"
    assert "module 'body' gives" in str(score.reason)
