"""A bias that a network adds by itself is that of its layer, for every proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, Model, compared
from test_twins import BLOCKS, Layers, Way, batches, pair
from torch import Tensor, nn

import archrank


class Parts(nn.Module):
    """The numbers of a linear layer or convolution, which the network applies by itself."""

    def __init__(self, *shape: int):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape[0]))


def add_in_place(product: Tensor, bias: Tensor) -> Tensor:
    product += bias
    return product


OWN_BIASES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "added": lambda x, m: x @ m.w.T + m.b,
    "first": lambda x, m: m.b + torch.matmul(x, m.w.T),
    "in place": lambda x, m: add_in_place(x @ m.w.T, m.b),
    "method in place": lambda x, m: F.linear(x, m.w).add_(m.b),
    "einsum, with its dimensions": lambda x, m: (
        torch.einsum("nti,oi->nto", x, m.w) + m.b[None, None]
    ),
    "channels second": lambda x, m: (m.w @ x.mT + m.b[:, None]).mT,
    "behind a view": lambda x, m: (x.flatten(0, 1) @ m.w.T).view(x.shape) + m.b.expand(x.shape),
}


@pytest.mark.parametrize("kind", OWN_BIASES)
def test_a_bias_added_to_a_product_is_its_layers(kind: str) -> None:
    def way(mid: Callable[[Tensor, Any], Tensor]) -> Way:
        return lambda m, x: m.head(F.relu(mid(F.relu(m.embed(x)), m.mid)).mean(1))

    def made(mid: Callable[[], nn.Module]) -> Layers:
        return lambda: {"embed": nn.Linear(3, 8), "mid": mid(), "head": nn.Linear(8, 4)}

    model, twin = pair(
        (way(OWN_BIASES[kind]), made(lambda: Parts(8, 8))),
        (way(lambda x, layer: layer(x)), made(lambda: nn.Linear(8, 8))),
    )
    data = batches(5, 3)
    # Where channels are moved, a block ends before they are.
    out = OF_THE_GRAPH | (BLOCKS if kind == "channels second" else set())
    compared(archrank.score(model, data), archrank.score(twin, data), out)


@pytest.mark.parametrize("layer", [True, False], ids=["of a layer", "of a function"])
def test_a_bias_added_to_a_convolution_is_its_layers(layer: bool) -> None:
    class Two(Parts):
        def __init__(self) -> None:
            super().__init__(6, 6, 3, 3)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.b = nn.Conv2d(6, 6, 3, bias=False), nn.Parameter(torch.zeros(6))

    def own(m: Model, x: Tensor) -> Tensor:
        x = F.relu(m.one(x))
        made = m.two.conv(x) if layer else F.conv2d(x, m.two.w)
        return m.head(F.relu(made + m.two.b.view(1, -1, 1, 1)).mean((2, 3)))

    def plain(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.two(F.relu(m.one(x)))).mean((2, 3)))

    def layers(two: Callable[[], nn.Module]) -> Layers:
        return lambda: {"one": nn.Conv2d(3, 6, 3), "two": two(), "head": nn.Linear(6, 4)}

    torch.manual_seed(0)
    model = Model(own, **layers(Plain if layer else Two)()).double()
    twin = Model(plain, **layers(lambda: nn.Conv2d(6, 6, 3))()).double()
    for name in ("one", "head"):
        getattr(twin, name).load_state_dict(getattr(model, name).state_dict())
    with torch.no_grad():
        weight = model.two.conv.weight if layer else model.two.w
        twin.two.weight.copy_(nn.init.normal_(weight, std=0.2))
        twin.two.bias.copy_(nn.init.normal_(model.two.b))
    data = batches(3, 8, 8)
    assert torch.allclose(model(data[0][0]), twin(data[0][0]))
    out = OF_THE_GRAPH | (BLOCKS if layer else set())  # weights are drawn in another order
    compared(archrank.score(model, data), archrank.score(twin, data), out)


@pytest.mark.parametrize(
    "add",
    [
        lambda y, b: y + b + y.mean(),
        lambda y, b: y + 0.5 * b,
        lambda y, b: (y + b) * y.sigmoid(),
    ],
    ids=["read twice", "half of it", "gated"],
)
def test_what_is_no_bias_is_added_as_it_is(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The layer's output is without what is added to it, if others read that output, too."""
    torch.manual_seed(0)
    mid, embed, head = Parts(8, 8), nn.Linear(3, 8), nn.Linear(8, 4)
    nn.init.normal_(mid.w)
    nn.init.normal_(mid.b)
    held: list[Tensor] = []

    def way(m: Model, x: Tensor) -> Tensor:
        one = m.embed(x)
        two = F.relu(one) @ m.mid.w.T
        three = m.head(add(two, m.mid.b).mean(1))
        held[:] = [one, two, three]
        return three

    model = Model(way, embed=embed, mid=mid, head=head).double()
    (x, targets), _ = batches(5, 3)
    found = archrank.score(model, x, targets, proxies="fisher")["fisher"].value
    loss = F.cross_entropy(model(x), targets)
    products = [a * g for a, g in zip(held, torch.autograd.grad(loss, held), strict=True)]
    by_channel = [p.flatten(1, -2).sum(1) if p.dim() == 3 else p for p in products]
    assert found == pytest.approx(sum(p.square().mean(0).sum().item() / 2 for p in by_channel))
