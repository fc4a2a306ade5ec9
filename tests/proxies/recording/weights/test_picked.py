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
    "from the left": lambda x, w, i: (w.mT[i] @ x[:, None, :, None]).squeeze(-1),
    "bmm from the left": lambda x, w, i: torch.bmm(
        w[i.flatten()].mT, repeated(x).transpose(1, 2)
    ).view(len(x), EACH, -1),
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


def in_turn(x: Tensor, weights: Tensor, picked: Tensor) -> Tensor:
    """Run the experts that were hit one by one, each on its tokens."""
    made = x.new_zeros(*picked.shape, weights.shape[-1])
    for expert in F.one_hot(picked, EXPERTS).sum((0, 1)).nonzero():
        tokens, places = torch.where(picked == expert[0])
        made = made.index_put((tokens, places), F.linear(x[tokens], weights[expert[0]].mT))
    return made


def grouped(x: Tensor, weights: Tensor, picked: Tensor) -> Tensor:
    """Run them at once, on tokens that are sorted by expert."""
    order = picked.flatten().argsort(stable=True)
    ends = torch.bincount(picked.flatten(), minlength=EXPERTS).cumsum(0).int()
    made = F.grouped_mm(repeated(x).flatten(0, 1)[order].float(), weights.float(), offs=ends)
    return made.to(x)[order.argsort()].view(*picked.shape, -1)


@pytest.mark.parametrize("way", [in_turn, grouped])
def test_fisher_of_experts_that_run_on_some_tokens(way: Experts) -> None:
    """Those of one stack are one layer, as where their matrices are picked for each token."""
    if way is grouped and not hasattr(F, "grouped_mm"):
        pytest.skip("this torch multiplies no groups")
    names = ["fisher", "snip", "gradsign", "grad_norm", "naswot", "near"]
    model = Mixture("einsum")
    model.way = way
    found = archrank.score(model, data(), proxies=names)
    expected = archrank.score(Mixture("einsum"), data(), proxies=names)
    for name in names:
        if name != "near" or way is grouped:
            assert found[name].value == pytest.approx(expected[name].value, rel=1e-4), name
        else:
            assert found[name].status == "unsupported"


def test_fisher_sample_by_sample() -> None:
    model, (x, y) = Mixture("einsum"), data()
    model.way = in_turn
    found = archrank.score(model, (x, y), proxies=["fisher"])["fisher"]
    products: dict[str, list[Tensor]] = {"embed": [], "router": [], "experts": [], "head": []}
    for i in range(N):
        made = {"embed": model.embed(x[i : i + 1])}
        tokens = F.relu(made["embed"]).flatten(0, 1)
        made["router"] = model.router(tokens)
        shares, picked = made["router"].topk(EACH, -1)
        made["experts"] = WAYS["einsum"](tokens, model.experts, picked)
        mixed = tokens + (shares.softmax(-1)[..., None] * F.relu(made["experts"])).sum(1)
        made["head"] = model.head(mixed.view(1, -1, WIDTH).mean(1))
        loss = F.cross_entropy(made["head"], y[i : i + 1]) / N
        slopes = torch.autograd.grad(loss, [*made.values()])
        for (name, output), slope in zip(made.items(), slopes, strict=True):
            products[name].append((output * slope).detach().flatten(0, -2).sum(0))
    value = sum(float(torch.stack(p).square().mean(0).sum() / 2) for p in products.values())
    assert found.value == pytest.approx(value, rel=1e-6)


def test_samples_that_are_mixed_have_no_fisher() -> None:
    """What the batch gives is not what samples give alone."""
    model = Mixture("einsum")
    model.way = lambda x, w, i: in_turn(x - x.mean(0), w, i)
    assert archrank.score(model, data(), proxies=["fisher"])["fisher"].status == "unsupported"
