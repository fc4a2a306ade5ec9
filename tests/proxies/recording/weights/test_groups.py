"""Products with a matrix for each group of channels score as grouped convolutions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import archrank

N, LENGTH, GROUPS, IN, OUT = 5, 7, 3, 4, 2

Way = Callable[[Tensor, Tensor], Tensor]


def by_group(x: Tensor, weight: Tensor) -> Tensor:
    folded = x.flatten(0, 1).unflatten(-1, (GROUPS, IN)).transpose(0, 1)
    made = torch.bmm(folded, weight).transpose(0, 1).flatten(1)
    return made.unflatten(0, (len(x), LENGTH))


WAYS: dict[str, tuple[tuple[int, ...], Way]] = {
    "einsum": (
        (0, 2, 1),
        lambda x, w: torch.einsum("ntgi,gio->ntgo", x.unflatten(-1, (GROUPS, IN)), w).flatten(2),
    ),
    "dots": (
        (0, 1, 2),
        lambda x, w: torch.einsum("...gi,goi->...go", x.unflatten(-1, (GROUPS, IN)), w).flatten(2),
    ),
    "matmul": (
        (0, 2, 1),
        lambda x, w: (x.unflatten(-1, (GROUPS, 1, IN)) @ w).flatten(2),
    ),
    "heads": (
        (0, 2, 1),
        lambda x, w: (
            torch.matmul(x.unflatten(-1, (GROUPS, IN)).transpose(1, 2), w)
            .transpose(1, 2)
            .flatten(2)
        ),
    ),
    "bmm": ((0, 2, 1), by_group),
}


class Grouped(nn.Module):
    """Two layers with a grouped one between them, on tokens (N, LENGTH, 3)."""

    def __init__(self, way: str | None):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(3, GROUPS * IN).double()
        layer: nn.Module = nn.Conv1d(
            GROUPS * IN, GROUPS * OUT, 1, groups=GROUPS, bias=False
        ).double()
        self.way = WAYS[way][1] if way else None
        if way:
            apart = layer.weight.detach()[..., 0].unflatten(0, (GROUPS, OUT))
            layer = nn.Module()
            layer.weight = nn.Parameter(apart.permute(WAYS[way][0]).contiguous())
        self.layer = layer
        self.head = nn.Linear(GROUPS * OUT, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x))
        if self.way is None:
            x = self.layer(x.transpose(1, 2)).transpose(1, 2)
        else:
            x = self.way(x, self.layer.weight)
        return self.head(torch.relu(x).mean(1))


OF_STRUCTURE = ("nasgraph", "nasgraph_density")
"""Proxies of the graph, in which a product is no convolution."""

OF_BLOCKS = ("az_expressivity", "az_progressivity", "az_trainability")
"""Proxies of blocks, whose activations are not found behind tokens that lie in the batch."""


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_those_of_the_convolution(way: str) -> None:
    x = torch.randn(2 * N, LENGTH, 3, generator=torch.Generator().manual_seed(1)).double()
    y = torch.arange(2 * N) % 4
    torch.testing.assert_close(Grouped(way)(x), Grouped(None)(x))
    batches = [(x[:N], y[:N]), (x[N:], y[N:])]
    found, expected = (archrank.score(Grouped(w), batches, proxies="all") for w in (way, None))
    for name, result in expected.items():
        if name not in OF_STRUCTURE and (way != "bmm" or name not in OF_BLOCKS):
            assert found[name].status == result.status, name
            if result.value is not None:
                assert found[name].value == pytest.approx(result.value, rel=1e-6), name


class Relative(nn.Module):
    """Attention with a table of relative positions, which has a matrix for each query."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(3, 4).double(), nn.Linear(4, 4).double()
        self.table = nn.Parameter(torch.randn(2 * LENGTH - 1, 4).double())
        place = torch.arange(LENGTH)
        self.register_buffer("place", place[:, None] - place + LENGTH - 1)

    def outputs(self, x: Tensor) -> list[Tensor]:
        tokens = self.embed(x)
        scores = torch.einsum("ntc,tsc->nts", tokens, self.table[self.place])
        return [tokens, scores, self.head((scores.softmax(-1) @ tokens).mean(1))]

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x)[-1]


def test_relative_positions_have_the_features_of_their_product() -> None:
    model = Relative()
    x = torch.randn(2 * N, LENGTH, 3, generator=torch.Generator().manual_seed(1)).double()
    expected = 0.0
    for output in model.outputs(x):
        singular = torch.linalg.svdvals(output.detach().flatten(0, -2))
        expected += float(torch.exp(torch.special.entr(singular / singular.sum()).sum()))
    found = archrank.score(model, x, proxies="near,fisher,croze,in_train")
    assert found["near"].value == pytest.approx(expected, rel=1e-6)
    assert {result.status for result in found.values()} == {"ok"}


class Pooled(nn.Module):
    """Pooling by attention vectors, one for each head, as in graph attention networks."""

    def __init__(self, summed: bool):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(3, 8).double(), nn.Linear(8, 4).double()
        self.attention = nn.Parameter(torch.randn(1, 2, 4).double())
        self.scale = nn.Parameter(torch.rand(1, 2, 4).double())
        self.summed = summed

    def forward(self, x: Tensor) -> Tensor:
        heads = self.embed(x).unflatten(-1, (2, 4))
        if self.summed:
            scores = (heads * self.attention).sum(-1)
        else:
            scores = torch.einsum("nthc,hc->nth", heads, self.attention[0])
        pooled = (scores.softmax(1)[..., None] * heads).sum(1) * self.scale
        return self.head(torch.relu(pooled.flatten(1)))


def test_sums_of_products_by_element_are_products() -> None:
    x = torch.randn(2 * N, LENGTH, 3, generator=torch.Generator().manual_seed(1)).double()
    y = torch.arange(2 * N) % 4
    names = "l2_norm,snip,grad_norm,gradsign,ntk_condition,synflow,near,fisher,croze,in_train,zico"
    found, expected = (
        archrank.score(Pooled(s), [(x[:N], y[:N]), (x[N:], y[N:])], proxies=names)
        for s in (True, False)
    )
    for name, result in expected.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-6), name
    model = Pooled(True)
    weights = (model.embed.weight, model.attention, model.head.weight)  # a scale is none
    norms = sum(float(weight.detach().norm()) for weight in weights)
    assert found["l2_norm"].value == pytest.approx(norms)
