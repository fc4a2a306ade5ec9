"""Matrices that values pick out of a stack, as experts have them, against a loop over samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

N, TOKENS, WIDTH, EXPERTS, EACH = 6, 5, 8, 3, 2

Experts = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(tokens (T, C), weights (E, C, C), picked (T, K)) -> (T, K, C)."""


def repeated(x: Tensor) -> Tensor:
    return x[:, None].repeat_interleave(EACH, 0)


WAYS: dict[str, Experts] = {
    "einsum": lambda x, w, i: torch.einsum("td,tkdo->tko", x, w[i]),
    "transposed": lambda x, w, i: torch.einsum("tkod,td->tko", w.transpose(1, 2)[i], x),
    "bmm": lambda x, w, i: torch.bmm(repeated(x), w[i.flatten()]).view(len(x), EACH, -1),
    "one hot": lambda x, w, i: torch.einsum("td,tke,edo->tko", x, F.one_hot(i, EXPERTS).to(x), w),
    "select": lambda x, w, i: (repeated(x) @ w.index_select(0, i.flatten())).view(len(x), EACH, -1),
}


class Mixture(nn.Module):
    """Tokens of which each gets the experts that its router picks."""

    def __init__(self, way: str):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.router = nn.Linear(3, WIDTH), nn.Linear(WIDTH, EXPERTS)
        self.experts = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH) * 0.3)
        self.head, self.way = nn.Linear(WIDTH, 4), WAYS[way]
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        tokens = F.relu(self.embed(x)).flatten(0, 1)
        shares, picked = self.router(tokens).topk(EACH, -1)
        made = F.relu(self.way(tokens, self.experts, picked))
        tokens = tokens + (shares.softmax(-1)[..., None] * made).sum(1)
        return self.head(tokens.view(len(x), -1, WIDTH).mean(1))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(N, TOKENS, 3, generator=generator).double(), torch.arange(N) % 4


@pytest.mark.parametrize("way", WAYS)
def test_experts_count_in_what_sums_gradients(way: str) -> None:
    model, (x, y) = Mixture(way), data()
    weights = [p for p in model.parameters() if p.dim() > 1]
    assert len(weights) == 4
    found = archrank.score(model, (x, y), proxies="l2_norm,snip,gradsign,ntk_condition")

    assert found["l2_norm"].value == pytest.approx(sum(float(w.detach().norm()) for w in weights))
    slopes = torch.autograd.grad(F.cross_entropy(model(x), y), weights)
    snip = sum(float((w * g).abs().sum().detach()) for w, g in zip(weights, slopes, strict=True))
    assert found["snip"].value == pytest.approx(snip)

    signs, rows = [torch.zeros_like(w) for w in weights], []
    for i in range(N):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        for total, gradient in zip(signs, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
        slopes = torch.autograd.grad(model(x[i : i + 1]).sum(), weights)
        rows.append(torch.cat([g.flatten() for g in slopes]))
    assert found["gradsign"].value == sum(float(s.abs().sum()) for s in signs)
    values = torch.linalg.eigvalsh(torch.stack(rows) @ torch.stack(rows).T)
    assert found["ntk_condition"].value == pytest.approx(float(values[-1] / values[0]))


def test_their_outputs_are_features() -> None:
    model, (x, y) = Mixture("einsum"), data()
    tokens = F.relu(model.embed(x)).flatten(0, 1)
    shares, picked = model.router(tokens).topk(EACH, -1)
    made = WAYS["einsum"](tokens, model.experts, picked)
    mixed = tokens + (shares.softmax(-1)[..., None] * F.relu(made)).sum(1)
    features = (
        *(model.embed(x), tokens, model.router(tokens), made, F.relu(made)),
        model.head(mixed.view(N, -1, WIDTH).mean(1)),
    )
    expected = 0.0
    for feature in features:
        singular = torch.linalg.svdvals(feature.detach().flatten(0, -2))
        expected += float(torch.exp(torch.special.entr(singular / singular.sum()).sum()))
    found = archrank.score(model, (x, y), proxies="near")
    assert found["near"].value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("way", sorted({*WAYS} - {"einsum"}))
def test_features_are_the_same_however_experts_are_written(way: str) -> None:
    names = "near,fisher,meco,naswot,swap,croze,in_train"
    found, expected = (archrank.score(Mixture(w), data(), proxies=names) for w in (way, "einsum"))
    for name, result in expected.items():
        assert found[name].status == result.status, name
        if result.value is not None:
            assert found[name].value == pytest.approx(result.value, rel=1e-6), name
