"""Checkpointed networks score as without checkpoints; hidden weights are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import checkpoint
from torch.utils.checkpoint import checkpoint as checkpointed
from torch.utils.checkpoint import checkpoint_sequential

import archrank


class Checkpointed(nn.Module):
    def __init__(self, kind: bool | str | None):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head, self.kind = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), kind
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.kind is None:
            x = self.block(x)
        elif self.kind == "sequential":
            x = checkpoint_sequential(self.block, 2, x, use_reentrant=True)
        else:
            x = checkpointed(self.block, x, use_reentrant=self.kind)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("kind", [True, False, "sequential"])
def test_checkpoints_change_nothing(kind: bool | str) -> None:
    before = checkpoint.CheckpointFunction
    scores, expected = (
        archrank.score(Checkpointed(k), (3, 8, 8), batch_size=8) for k in (kind, None)
    )
    for name in expected:
        assert scores[name].value == expected[name].value, (name, scores[name].reason)
    assert checkpoint.CheckpointFunction is before


def test_hidden_weights_are_named() -> None:
    body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    scripted = nn.Sequential(nn.Linear(6, 6), torch.jit.script(body))
    quantised = torch.ao.quantization.quantize_dynamic(body, {nn.Linear})
    for model, said in ((scripted, "module '1' is TorchScript"), (quantised, "is quantised")):
        scores = archrank.score(model, (6,), batch_size=4, proxies="snip,gradsign,near,synflow")
        for result in scores.values():
            assert result.status == "unsupported"
            assert said in result.reason


def test_a_precision_that_a_module_does_not_know_is_unsupported() -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype == torch.float64:
                raise RuntimeError("single precision alone")
            return x

    model = nn.Sequential(nn.Linear(6, 8), Single(), nn.ReLU(), nn.Linear(8, 4))
    scores = archrank.score(model, (6,), batch_size=4, proxies="snip,synflow,epsinas")
    assert scores["snip"].status == "ok"
    for name in ("synflow", "epsinas"):
        assert scores[name].status == "unsupported"
        assert "module '1'" in scores[name].reason
        assert "float64" in scores[name].reason


def test_layers_under_vmap_keep_their_gradients() -> None:
    class Mapped(nn.Module):
        def __init__(self, by_map: bool):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)
            self.by_map = by_map

        def forward(self, x: Tensor) -> Tensor:
            x, layer = torch.relu(self.one(x)), lambda row: torch.relu(self.two(row))
            return self.head(torch.vmap(layer)(x) if self.by_map else layer(x))

    scores, expected = (archrank.score(Mapped(by_map), (6,), batch_size=8) for by_map in (1, 0))
    for name in ("grad_norm", "snip", "grasp", "zico", "gradsign", "synflow", "vkdnw", "l2_norm"):
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-4), name
    for result in scores.values():  # vmap hides which sample a feature belongs to
        hidden = result.status == "unsupported" and "two.weight" in result.reason
        assert hidden or result.status in ("ok", "not applicable"), result.name


CASTS = {
    "float": lambda x: x.float(),
    "to": lambda x: x.to(torch.float32) * torch.ones(6),
    "filled": lambda x: torch.zeros(x.shape) + x,
    "counted": lambda x: x + 0 * torch.arange(6).float(),
}


@pytest.mark.parametrize("kind", CASTS)
def test_floats_that_the_network_makes_are_of_the_precision_it_runs_in(kind: str) -> None:
    class Casts(nn.Module):
        def __init__(self, cast: Callable[[Tensor], Tensor]):
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
            self.cast = cast

        def forward(self, x: Tensor) -> Tensor:
            return self.body(self.cast(x))

    names = "synflow,logsynflow,synflow_log,parzc_dagger,epsinas,snip"
    generator = torch.Generator().manual_seed(1)
    whole, targets = torch.randint(9, (8, 6), generator=generator), torch.arange(8) % 4
    for x in (whole.float(), whole) if kind == "float" else (whole.float(),):
        scores = archrank.score(Casts(CASTS[kind]), x, targets, proxies=names)
        assert {result.status for result in scores.values()} == {"ok"}
        expected = archrank.score(Casts(lambda x: x), whole.float(), targets, proxies=names)
        for name in expected if x.is_floating_point() else ("epsinas", "snip"):
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-6), name


class Again(torch.autograd.Function):
    """Checkpointing by hand, which gets the weights as arguments."""

    @staticmethod
    def forward(ctx: Any, function: Any, x: Tensor, *weights: Tensor) -> Tensor:
        ctx.function, ctx.weights = function, weights
        ctx.save_for_backward(x)
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            made = ctx.function(x)
        return (None, *torch.autograd.grad(made, (x, *ctx.weights), gradient))


def test_a_backward_that_runs_layers_again_is_refused() -> None:
    """It would run them with dropout, and with other weights."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.head = nn.Linear(5, 8), nn.Linear(8, 4)
            self.two = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Dropout(0.5))

        def forward(self, x: Tensor) -> Tensor:
            made = Again.apply(self.two, self.one(x), *self.two.parameters())
            return self.head(torch.relu(made))

    scores = archrank.score(Network(), (5,), batch_size=6)
    for name in ("snip", "gradsign", "jacob_cov", "croze", "synflow"):
        assert scores[name].status == "unsupported", name
        assert "runs Sequential again" in str(scores[name].reason), name
    assert scores["near"].status == scores["naswot"].status == "ok"
