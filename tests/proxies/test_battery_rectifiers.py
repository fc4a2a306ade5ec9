"""ReLU written in other ways has the scores of its twin with ``F.relu``, for every proxy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_battery_layouts import OF_THE_GRAPH, Model, compared
from test_battery_twins import BLOCKS, Layers, Way, batches, pair
from torch import Tensor, nn

import archrank

Rectifier = Callable[[Tensor], Tensor]

WAYS: dict[str, Rectifier] = {
    "clamp": lambda x: x.clamp(min=0),
    "clamp in place": lambda x: x.clamp_(0.0),
    "clamp to a tensor": lambda x: x.clamp(min=x.new_zeros(1)),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum, zeros first": lambda x: torch.maximum(x.new_zeros(()), x),
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "where, zeros": lambda x: torch.where(x >= 0, x, torch.zeros_like(x)),
}
SEVERAL_CALLS = {"clamp to a tensor", "where", "where, zeros", "maximum", "maximum, zeros first"}
"""Here a block ends with the layer, as what follows it reads it twice."""


def images(act: Rectifier) -> tuple[Way, Layers]:
    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(act(m.two(act(m.norm(m.one(x))))).mean((2, 3)))

    return way, lambda: {
        "one": nn.Conv2d(3, 6, 3),
        "norm": nn.BatchNorm2d(6),
        "two": nn.Conv2d(6, 6, 3),
        "head": nn.Linear(6, 4),
    }


def tokens(act: Rectifier) -> tuple[Way, Layers]:
    """Tokens folded into the batch, where samples have to be found."""

    def way(m: Model, x: Tensor) -> Tensor:
        made = act(m.mid(act(m.embed(x.flatten(0, 1)))))
        return m.head(made.view(len(x), -1, 8).mean(1))

    return way, lambda: {
        "embed": nn.Linear(3, 8),
        "mid": nn.Linear(8, 8),
        "head": nn.Linear(8, 4),
    }


@pytest.mark.parametrize("kind", WAYS)
def test_images(kind: str) -> None:
    model, twin = pair(images(WAYS[kind]), images(F.relu))
    data = batches(3, 8, 8)
    out = BLOCKS if kind in SEVERAL_CALLS else set()
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | out)


@pytest.mark.parametrize("kind", ["clamp", "maximum", "where"])
def test_tokens_in_the_batch(kind: str) -> None:
    model, twin = pair(tokens(WAYS[kind]), tokens(F.relu))
    data = batches(5, 3)
    out = BLOCKS if kind in SEVERAL_CALLS else set()
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | out)


def test_relu6_as_a_clamp() -> None:
    model, twin = pair(images(lambda x: x.clamp(0, 6)), images(F.relu6))
    data = batches(3, 8, 8)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x.clamp(min=-1),
        lambda x: x.clamp(max=0),
        lambda x: torch.maximum(x, torch.ones_like(x)),
        lambda x: torch.where(x > 0, x.sin(), 0.0),
        lambda x: torch.where(x > 1, x, 0.0),
        lambda x: x + x.long().clamp(min=0),
    ],
)
def test_what_cuts_elsewhere_is_none(act: Rectifier) -> None:
    model, _ = pair(images(act), images(F.relu))
    found = archrank.score(model, batches(3, 8, 8), proxies="naswot,swap")
    assert {score.status for score in found.values()} == {"not applicable"}
