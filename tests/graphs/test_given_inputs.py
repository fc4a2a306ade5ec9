"""What is no model or no input is told what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import archrank
from archrank.errors import InputError, UnsupportedModelError


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


@pytest.mark.parametrize("call", [archrank.trace, archrank.score])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.ReLU, r"the class ReLU.*ReLU\(\)"),
        (network, "pass what it returns"),
        (network().state_dict(), "a state dict.*load_state_dict"),
        ("resnet18", "got str"),
    ],
)
def test_no_model(call, model: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        call(model, (3, 8, 8))


def test_a_state_dict_is_no_candidate() -> None:
    for given in (network().state_dict(), [network().state_dict()]):
        with pytest.raises(InputError, match="load_state_dict"):
            archrank.rank(given, (3, 8, 8), by="params")


@pytest.mark.parametrize(
    ("inputs", "hint"),
    [
        ((16, 3, 8, 8), r"did you mean \(3, 8, 8\)"),
        ((8, 8, 3), r"did you mean \(3, 8, 8\)"),
        (torch.zeros(2, 8, 8, 3), r"permute\(0, 3, 1, 2\)"),
        (np.zeros((2, 8, 8, 3)), r"permute\(0, 3, 1, 2\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"float\(\) / 255"),
    ],
)
def test_what_is_wrong_with_an_input(inputs: object, hint: str) -> None:
    for call in (archrank.trace, archrank.score):
        with pytest.raises(UnsupportedModelError, match=hint):
            call(network(), inputs)
    reason = archrank.rank([network], inputs, by="params").failures["reason"][0]
    assert hint.replace("\\", "") in reason


def test_arrays_are_taken() -> None:
    array = np.random.default_rng(0).normal(size=(4, 3, 8, 8))
    net = network()
    graph = archrank.trace(net, array)
    assert graph.hash == archrank.trace(net, torch.zeros(1, 3, 8, 8)).hash
    scores = archrank.score(net, array, np.array([0, 1, 2, 3]), proxies="snip")
    tensors = (torch.tensor(array, dtype=torch.float32), torch.tensor([0, 1, 2, 3]))
    assert scores["snip"].value == archrank.score(net, *tensors, proxies="snip")["snip"].value
    frame = scores.to_frame()
    assert frame["name"].tolist() == ["snip"]
    assert frame["value"].tolist() == [scores["snip"].value]
    assert "snip" in scores._repr_html_()
    assert "<svg" in graph._repr_html_()


def test_layouts_without_samples_get_a_hint() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = torch.nested.as_nested_tensor([*x], layout=torch.jagged)
            return self.layer(rows).to_padded_tensor(0.0).mean(1)

    with pytest.raises(InputError, match="to_dense"):
        archrank.trace(nn.Linear(3, 4), torch.eye(3).to_sparse())
    with pytest.raises(UnsupportedModelError, match="pad them first"):
        archrank.trace(Nested(), torch.randn(2, 5, 3))
