"""Recurrent layers have the features of what they return, in any layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archrank

N, STEPS, WIDTH = 6, 5, 4
FEATURES = "near,fisher,meco,in_train,croze"


class Sequence(nn.Module):
    """A recurrent layer, and a classifier of its mean over steps."""

    def __init__(self, kind: str, first: bool, packed: bool = False, **options: Any):
        super().__init__()
        torch.manual_seed(0)
        self.layer = getattr(nn, kind)(3, WIDTH, batch_first=first, **options).double()
        width = WIDTH * (2 if options.get("bidirectional") else 1)
        self.head, self.first, self.packed = nn.Linear(width, 4).double(), first, packed

    def outputs(self, x: Tensor) -> list[Tensor]:
        lengths = torch.full((len(x),), STEPS)
        x = x if self.first else x.transpose(0, 1)
        if self.packed:
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, self.first)
        made = self.layer(x)[0]
        if self.packed:
            made = nn.utils.rnn.pad_packed_sequence(made, self.first)[0]
        made = made if self.first else made.transpose(0, 1)
        return [made, self.head(made.mean(1))]

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x)[-1]


class Cells(nn.Module):
    """A cell that is called step by step."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = getattr(nn, kind)(3, WIDTH).double(), nn.Linear(WIDTH, 4).double()

    def outputs(self, x: Tensor) -> list[Tensor]:
        made, state = [], None
        for step in x.unbind(1):
            state = self.cell(step, state)
            made.append(state[0] if isinstance(state, tuple) else state)
        return [*made, self.head(made[-1])]

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x)[-1]


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, STEPS, 3, generator=generator).double(), torch.arange(N) % 4


def by_hand(model: Sequence | Cells) -> tuple[float, float]:
    """Return near and fisher of what layers give."""
    x, y = data()
    outputs = model.outputs(x)
    slopes = torch.autograd.grad(nn.functional.cross_entropy(outputs[-1], y), outputs)
    near = fisher = 0.0
    for output, slope in zip(outputs, slopes, strict=True):
        singular = torch.linalg.svdvals(output.detach().flatten(0, -2))
        near += float(torch.exp(torch.special.entr(singular / singular.sum()).sum()))
        product = (output * slope).detach()
        product = product.sum(1) if product.dim() > 2 else product
        fisher += float(product.square().mean(0).sum() / 2)
    return near, fisher


LAYERS = {
    "LSTM": ("LSTM", {}),
    "GRU of two layers in both directions": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "RNN": ("RNN", {}),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_features_of_layers(layer: str) -> None:
    kind, options = LAYERS[layer]
    near, fisher = by_hand(Sequence(kind, True, **options))
    ways = ((first, packed) for first in (True, False) for packed in (True, False))
    scores = [
        archrank.score(Sequence(kind, first, packed, **options), data(), proxies=FEATURES)
        for first, packed in ways
    ]
    for found in scores:
        assert found["near"].value == pytest.approx(near, rel=1e-6)
        assert found["fisher"].value == pytest.approx(fisher, rel=1e-6)
        for name in ("in_train", "croze"):
            assert found[name].value == pytest.approx(scores[0][name].value, rel=1e-6), name


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_features_of_cells(kind: str) -> None:
    model = Cells(kind)
    near, fisher = by_hand(model)
    found = archrank.score(model, data(), proxies=FEATURES)
    assert found["near"].value == pytest.approx(near, rel=1e-6)
    assert found["fisher"].value == pytest.approx(fisher, rel=1e-6)
    assert found["croze"].status == found["in_train"].status == "ok"
