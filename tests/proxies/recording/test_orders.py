"""Networks that put the samples of a batch in another order score as without, or are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_layouts import OF_THE_GRAPH
from torch import Tensor, nn

import archrank


def drawn(x: Tensor) -> Tensor:
    return torch.randperm(len(x), generator=torch.Generator().manual_seed(1))


ORDERS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "reversed": (lambda x: x.flip(0), lambda x: x.flip(0)),
    "rolled": (lambda x: x.roll(1, 0), lambda x: x.roll(-1, 0)),
    "drawn": (lambda x: x[drawn(x)], lambda x: x[drawn(x).argsort()]),
    "one by one": (lambda x: torch.stack([*x][::-1]), lambda x: torch.stack([*x][::-1])),
    "odd ones first": (
        lambda x: torch.cat([x[1::2], x[::2]]),
        lambda x: (
            torch.stack([x[len(x) // 2 :], x[: len(x) // 2]], 1).flatten(0, 1)
            if len(x) % 2 == 0
            else x
        ),
    ),
}
KEPT: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "mirrored": (lambda x: x.flip(-1), lambda x: x),
    "channels": (lambda x: x[:, [2, 0, 1, 3, 5, 4]], lambda x: x),
    "rolled inside": (lambda x: x.roll((1, 2), (2, 3)), lambda x: x),
}
IDENTITY = (lambda x: x, lambda x: x)
OF_ORDER = {"meco", "meco_opt", "naswot", "swap", "swap_regular", "linear_regions", "l_swag"}
BLOCKS = "az_trainability"


class Network(nn.Module):
    """Convolutions, of which the second one sees the samples in another order."""

    def __init__(self, order: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4)
        vars(self)["order"] = order

    def forward(self, x: Tensor) -> Tensor:
        there, back = vars(self)["order"]
        x = torch.relu(self.two(there(torch.relu(self.norm(self.one(x))))))
        return back(self.head(x.mean((2, 3))))


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, 6, 3, 6, 6, generator=generator, dtype=torch.float64)
    return [(one, torch.arange(6) % 4) for one in images]


@pytest.mark.parametrize("kind", ORDERS)
def test_what_is_not_refused_is_as_in_order(kind: str) -> None:
    model, twin = Network(ORDERS[kind]).double(), Network(IDENTITY).double()
    assert torch.allclose(model(data()[0][0]), twin(data()[0][0]))
    found, expected = archrank.score(model, data()), archrank.score(twin, data())
    named = {n for n, r in found.items() if "in another order" in str(r.reason)}
    assert named == OF_ORDER
    assert found[BLOCKS].status == "not applicable"
    for name in set(expected) - named - {BLOCKS} - OF_THE_GRAPH:
        if expected[name].value is not None:
            wanted = pytest.approx(expected[name].value, rel=1e-4, abs=1e-6)
            assert found[name].value == wanted, (name, found[name].reason)


@pytest.mark.parametrize("kind", KEPT)
def test_what_keeps_samples_in_their_places_is_not_refused(kind: str) -> None:
    found = archrank.score(Network(KEPT[kind]).double(), data())
    expected = archrank.score(Network(IDENTITY).double(), data())
    for name in set(expected):
        assert found[name].status == expected[name].status, (name, found[name].reason)
