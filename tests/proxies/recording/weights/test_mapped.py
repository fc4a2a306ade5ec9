"""Members of an ensemble under ``torch.vmap`` score as in a loop, or are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import archrank

OF_WEIGHTS = "snip grad_norm grasp synflow gradsign near fisher croze ntk_condition".split()
OF_DATA = "naswot swap linear_regions jacob_cov".split()


def normed(weight: Tensor) -> Tensor:
    return weight / weight.norm(dim=-1, keepdim=True)


WAYS: dict[str, Callable[[Ensemble, Tensor], Tensor]] = {
    "as it is": lambda m, x: torch.vmap(lambda w: F.linear(x, w))(m.weights),
    "normed inside": lambda m, x: torch.vmap(lambda w: F.linear(x, normed(w)))(m.weights),
    "normed in a product": lambda m, x: torch.vmap(lambda w: x @ normed(w).T)(m.weights),
    "normed outside": lambda m, x: torch.vmap(lambda w: F.linear(x, w))(normed(m.weights)),
    "normed in two maps": lambda m, x: torch.vmap(
        lambda w: torch.vmap(lambda row: F.linear(row, normed(w)))(x)
    )(m.weights),
    "normed in a call": lambda m, x: torch.vmap(
        lambda w: functional_call(m.shape, {"weight": normed(w)}, (x,))
    )(m.weights),
    "stacked": lambda m, x: torch.vmap(lambda w: F.linear(x, w))(
        torch.stack([one.weight for one in m.members])
    ),
}


class Ensemble(nn.Module):
    """Layers of several members between two that they share."""

    def __init__(self, way: str):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head, self.way = nn.Linear(4, 5), nn.Linear(6, 3), way
        weights = torch.randn(3, 6, 5)
        shape = nn.Linear(5, 6, bias=False, device="meta")
        vars(self)["shape"] = shape  # its parameters are none of the model's
        if way in ("stacked", "in a loop", "in a loop, normed"):
            self.members = nn.ModuleList(nn.Linear(5, 6, bias=False) for _ in weights)
            for layer, weight in zip(self.members, weights, strict=True):
                layer.weight.data.copy_(normed(weight) if "normed" in way else weight)
        else:
            self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        if self.way in WAYS:
            made = WAYS[self.way](self, x)
        else:
            made = torch.stack([layer(x) for layer in self.members])
        return self.head(torch.relu(made).mean(0))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_refused_is_as_in_a_loop(way: str) -> None:
    x, targets = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    model = Ensemble(way).double()
    twin = Ensemble("in a loop, normed" if "normed" in way else "in a loop").double()
    assert torch.allclose(model(x), twin(x))
    found, expected = (
        archrank.score(m, x, targets, proxies=OF_WEIGHTS + OF_DATA) for m in (model, twin)
    )
    for name, result in found.items():
        if result.status == "unsupported":
            assert "torch.vmap" in str(result.reason), (name, result.reason)
        elif expected[name].value is None:
            assert result.status == expected[name].status, name
        elif name not in ("grad_norm", "ntk_condition"):  # norms of each parameter
            assert result.value == pytest.approx(expected[name].value, rel=1e-5), name
    refused = {name for name, result in found.items() if result.status == "unsupported"}
    if way == "as it is":
        assert refused == {"near", "fisher", "croze"}
    else:
        assert refused == set(OF_WEIGHTS)
