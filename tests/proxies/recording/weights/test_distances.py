"""Centres to which distances are taken are weights, in whatever way the distances are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

N, WIDTH, CENTRES = 6, 8, 7
OF_FEATURES = {"near", "fisher", "in_train", "croze"}
Distances = Callable[[Tensor, Tensor], Tensor]


def by_product(x: Tensor, c: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True) + c.square().sum(1) - 2 * x @ c.T


WAYS: dict[str, Distances] = {
    "cdist": torch.cdist,
    "by products": lambda x, c: torch.cdist(x, c, compute_mode="use_mm_for_euclid_dist"),
    "of differences": lambda x, c: (x[:, None] - c).square().sum(-1).sqrt(),
    "multiplied": lambda x, c: ((x[:, None] - c) * (x[:, None] - c)).sum(-1).sqrt(),
    "norms": lambda x, c: (x[:, None] - c).norm(dim=-1),
    "centres first": lambda x, c: (c - x[:, None]).norm(dim=-1),
    "pairwise": lambda x, c: F.pairwise_distance(x[:, None], c, eps=0.0),
}


class Prototypes(nn.Module):
    def __init__(self, distances: Distances):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(5, WIDTH).double(), nn.Linear(CENTRES, 4).double()
        self.centres = nn.Parameter(torch.randn(CENTRES, WIDTH).double())
        vars(self)["distances"] = distances

    def forward(self, x: Tensor) -> Tensor:
        distances = vars(self)["distances"](torch.tanh(self.embed(x)), self.centres)
        return self.head(torch.exp(-distances))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, 5, generator=generator).double(), torch.arange(N) % 4


@pytest.mark.parametrize("way", WAYS)
def test_centres_are_weights_whose_features_are_refused(way: str) -> None:
    model, (x, y) = Prototypes(WAYS[way]), data()
    weights = [p for p in model.parameters() if p.dim() > 1]
    found = archrank.score(model, (x, y), proxies=["snip", "gradsign", "synflow", *OF_FEATURES])
    for name in OF_FEATURES:
        assert found[name].status == "unsupported", name
        assert "'centres'" in str(found[name].reason)
        assert "distances to centres" in str(found[name].reason)

    slopes = torch.autograd.grad(F.cross_entropy(model(x), y), weights)
    snip = sum(float((w * g).abs().sum().detach()) for w, g in zip(weights, slopes, strict=True))
    assert found["snip"].value == pytest.approx(snip)
    signs = [torch.zeros_like(w) for w in weights]
    for i in range(N):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        for total, gradient in zip(signs, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
    assert found["gradsign"].value == sum(float(s.abs().sum()) for s in signs)


def test_products_that_distances_are_made_of_have_features() -> None:
    """The network says of what layer its features are to be."""
    model = Prototypes(lambda x, c: by_product(x, c).clamp(min=1e-12).sqrt())
    found = archrank.score(model, data(), proxies=["snip", *OF_FEATURES])
    expected = archrank.score(Prototypes(torch.cdist), data(), proxies=["snip"])
    assert {found[name].status for name in OF_FEATURES} == {"ok"}
    assert found["snip"].value == pytest.approx(expected["snip"].value)


def test_a_shift_before_a_norm_is_no_centre() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift, self.head = nn.Parameter(torch.randn(1, 5)), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            moved = x - self.shift
            return self.head(moved / moved.square().sum(1, keepdim=True).sqrt())

    found = archrank.score(Shifted().double(), data(), proxies=["near", "l2_norm"])
    assert found["near"].status == "ok"
    model = Shifted().double()
    found = archrank.score(model, data(), proxies=["l2_norm"])
    assert found["l2_norm"].value == pytest.approx(float(model.head.weight.detach().norm()))
