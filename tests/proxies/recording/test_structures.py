"""A loss gets what the model returns, in every pass."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.graphs.inputs.tensors import attributes_in
from archrank.proxies.recording.samples.structures import mapped

Named = collections.namedtuple("Named", "logits aux")


@dataclasses.dataclass
class Data:
    logits: Tensor
    aux: Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    logits: Tensor
    aux: Tensor


class Ordered(collections.OrderedDict):
    @property
    def logits(self) -> Tensor:
        return self["logits"]


class Plain:
    def __init__(self, logits: Tensor, aux: Tensor):
        self.logits, self.aux, self.own = logits, aux, self


MAKE = {
    "named": Named,
    "data": Data,
    "slots": Slots,
    "ordered": lambda logits, aux: Ordered(logits=logits, aux=aux),
    "plain": Plain,
    "dict": lambda logits, aux: {"logits": logits, "aux": aux},
    "tuple": lambda logits, aux: (logits, aux, None),
    "list": lambda logits, aux: [logits, aux, 3],
}


class Returns(nn.Module):
    def __init__(self, kind: str | None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head, self.kind = nn.Linear(6, 8), nn.Linear(8, 1), kind

    def forward(self, x: Tensor) -> Any:
        y = self.head(torch.relu(self.first(x)))
        return y if self.kind is None else MAKE[self.kind](y, y)


def loss_of(kind: str | None) -> Any:
    def loss(output: Any, target: Tensor) -> Tensor:
        if kind is not None:
            assert type(output) is type(MAKE[kind](target, target))
        if kind in ("tuple", "list"):
            output = output[0]
        elif kind == "dict":
            output = output["logits"]
        elif kind is not None:
            output = output.logits
        return F.mse_loss(output, target)

    return loss


@pytest.mark.parametrize("kind", MAKE)
def test_every_pass_hands_the_loss_the_models_own_type(kind: str) -> None:
    x, target = torch.randn(8, 6), torch.randn(8, 1)
    batches = [(x, target), (x.flip(1), target)]
    scores, expected = (archrank.score(Returns(k), batches, loss=loss_of(k)) for k in (kind, None))
    for name in set(expected) - {"nasgraph", "nasgraph_density", "flops", "az_complexity"}:
        assert scores[name].reason == expected[name].reason, name
        if expected[name].value is not None and name != "activations":
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-6), name


def test_what_is_mapped_is_left_alone() -> None:
    for make in MAKE.values():
        before = make(torch.ones(2), torch.zeros(2))
        after = mapped(before, lambda t: t + 1)
        assert type(after) is type(before)
        kept = attributes_in(before) or before
        first = next(iter(kept.values())) if isinstance(kept, dict) else kept[0]
        assert first.tolist() == [1, 1]
    own = mapped(Plain(torch.ones(1), torch.ones(1)), lambda t: 3 * t)
    assert own.own is own
    assert own.logits.item() == 3


def test_shared_data_of_mappings_is_not_written_to() -> None:
    before = collections.UserDict(logits=torch.ones(2))
    after = mapped(before, lambda t: t + 1)
    assert before["logits"].tolist() == [1, 1]
    assert after["logits"].tolist() == [2, 2]
