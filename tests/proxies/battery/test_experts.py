"""Rows that values of the input pick: scores are those of the dense twin, or are refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, compared
from torch import Tensor, nn

import archrank

OF_FEATURES = set(
    "fisher naswot linear_regions swap l_swag near meco meco_opt in_train croze".split()
)


class Experts(nn.Module):
    """One expert for each sample, called in one of several ways."""

    def __init__(self, way: str):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.route, self.head = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 4)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(1 if "sort" in way else 3))
        self.way = getattr(self, way)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.embed(x))
        gates = self.route(x).softmax(-1)
        best, expert = gates.max(-1)
        return self.head(self.way(x, expert) * best[:, None])

    def dense(self, x: Tensor, expert: Tensor) -> Tensor:
        made = [F.gelu(one(x)) * (expert == i)[:, None] for i, one in enumerate(self.experts)]
        return torch.stack(made).sum(0)

    def masked(self, x: Tensor, expert: Tensor) -> Tensor:
        made = torch.zeros_like(x)
        for i, one in enumerate(self.experts):
            if (expert == i).any():
                made[expert == i] = F.gelu(one(x[expert == i]))
        return made

    def gathered(self, x: Tensor, expert: Tensor) -> Tensor:
        made = torch.zeros_like(x)
        for i, one in enumerate(self.experts):
            (rows,) = torch.where(expert == i)
            made.index_add_(0, rows, F.gelu(one(x[rows])))
        return made

    def unsorted(self, x: Tensor, expert: Tensor) -> Tensor:
        return F.gelu(self.experts[0](x))

    def resorted(self, x: Tensor, expert: Tensor) -> Tensor:
        order = expert.argsort(stable=True)
        made = F.gelu(self.experts[0](x[order]))
        return torch.zeros_like(made).index_copy(0, order, made)


@pytest.mark.parametrize(
    ("way", "plain"), [("masked", "dense"), ("gathered", "dense"), ("resorted", "unsorted")]
)
def test_experts_that_get_some_rows(way: str, plain: str) -> None:
    """No expert's weight is left out, though the traced sample calls one expert alone."""
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(8, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    data = [(one, torch.arange(8) % 4) for one in x]
    model, twin = Experts(way).double(), Experts(plain).double()
    assert torch.allclose(model(x[0]), twin(x[0]))
    found, expected = archrank.score(model, data), archrank.score(twin, data)
    for name in OF_FEATURES:
        assert found[name].status == "unsupported", name
        assert "samples cannot be told apart in the output of" in str(found[name].reason), name
    compared(found, expected, OF_THE_GRAPH | OF_FEATURES)


def test_layers_under_vmap_have_no_features() -> None:
    class Mapped(nn.Module):
        def __init__(self, mapped: bool):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)
            self.mapped = mapped

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.one(x))
            x = torch.vmap(self.two)(x) if self.mapped else self.two(x)
            return self.head(F.relu(x))

    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(8, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    data = [(one, torch.arange(8) % 4) for one in x]
    found, expected = (archrank.score(Mapped(mapped).double(), data) for mapped in (True, False))
    for name in OF_FEATURES:
        if found[name].value is not None:
            assert found[name].value == pytest.approx(expected[name].value, rel=1e-6), name
        else:
            assert found[name].status == "unsupported", name
