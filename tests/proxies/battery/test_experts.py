"""Layers that run on some rows, or where nobody sees them: scores of the plain twin, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    for name in OF_FEATURES - {"fisher"}:  # which runs the samples one by one
        assert found[name].status == "unsupported", name
        assert "samples cannot be told apart in the output of" in str(found[name].reason), name
    compared(found, expected, OF_THE_GRAPH | OF_FEATURES - {"fisher"})


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


# --- layers that nobody sees ----------------------------------------------------------------------

BLOCKS = {"az_expressivity", "az_progressivity", "az_trainability"}
OF_LAYERS = {"fisher", "near", "meco", "meco_opt", "in_train", "croze"}


@torch.jit.script
def scripted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


@torch.library.custom_op("archrank_tests::linear", mutates_args=())
def custom(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias)


custom.register_fake(lambda x, weight, bias: x.new_empty(*x.shape[:-1], len(weight)))
custom.register_autograd(
    lambda ctx, g: (g @ ctx.weight, g.flatten(0, -2).T @ ctx.x.flatten(0, -2), g.sum((0, 1))),
    setup_context=lambda ctx, inputs, output: vars(ctx).update(x=inputs[0], weight=inputs[1]),
)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return g @ weight, g.flatten(0, -2).T @ x.flatten(0, -2), g.sum((0, 1))


def called(scale: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a layer that runs on other tensors than it holds, as learning to learn does."""
    layer = nn.Linear(8, 8, device="meta")

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        own = {"weight": weight * scale / scale, "bias": bias}
        return torch.func.functional_call(layer, own, (x,))

    return call


def odd_and_even(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    made = torch.zeros_like(x)
    for start in range(2):
        made[start::2] = F.linear(x[start::2], weight, bias)
    return made


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "scripted": scripted,
    "custom operator": custom,
    "own function": Own.apply,
    "functional call": called(2.0),
    "vmap over rows": lambda x, w, b: torch.vmap(lambda row: F.linear(row, w, b))(x),
    "vmap over tokens": lambda x, w, b: torch.vmap(F.linear, (1, None, None), 1)(x, w, b),
    "vmap over weights": lambda x, w, b: torch.vmap(F.linear, (None, 0, 0), 2)(
        x, w.unflatten(0, (2, 4)), b.view(2, 4)
    ).flatten(2),
    "vmap in chunks": lambda x, w, b: torch.vmap(F.linear, (0, None, None), chunk_size=2)(x, w, b),
    "one by one": lambda x, w, b: torch.stack([F.linear(row, w, b) for row in x]),
    "halves": lambda x, w, b: torch.cat([F.linear(half, w, b) for half in x.chunk(2)]),
    "odd and even": odd_and_even,
}


class Network(nn.Module):
    def __init__(self, way: Callable[[Tensor, Tensor, Tensor], Tensor]):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        vars(self)["way"] = way

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.one(x))
        x = F.relu(vars(self)["way"](x, self.two.weight, self.two.bias))
        return self.head(x.mean(1))


@pytest.mark.parametrize("way", WAYS)
def test_no_layer_is_left_out(way: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(8, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    data = [(one, torch.arange(8) % 4) for one in x]
    model, twin = Network(WAYS[way]).double(), Network(F.linear).double()
    assert torch.allclose(model(x[0]), twin(x[0]))
    found, expected = archrank.score(model, data), archrank.score(twin, data)
    refused = {n for n, r in found.items() if r.status == "unsupported"}
    in_turn = {"naswot", "linear_regions", "swap", "swap_regular", "l_swag", "zen"}
    parts = in_turn if way in ("vmap in chunks", "one by one", "halves") else set()
    assert refused <= OF_LAYERS | parts | BLOCKS, refused
    alone = way in ("functional call", "one by one", "halves", "odd and even")
    assert ("fisher" in refused) != alone
    compared(found, expected, OF_THE_GRAPH | BLOCKS | refused)
