"""One function has one score, in whatever form its inputs are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archrank

X, HALF = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(0.5)
OF_THE_GRAPH = {"flops", "activations", "az_complexity", "nasgraph", "nasgraph_density"}
"""They count the whole input of a tuple or dictionary, and numbers that are inputs as nodes."""


class Halved(nn.Module):
    """A network with a factor that is an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, factor: Any = 0.5) -> Any:
        return self.last(torch.relu(self.first(x)) * factor)


class OfDictionary(Halved):
    def forward(self, data: dict[str, Any], flag: bool = False, other: Any = None) -> Any:
        return super().forward(data["x"], data.get("factor", 0.5))


class OfKeywords(Halved):
    def forward(
        self, ids: Any = None, mask: Any = None, x: Any = None, return_dict: Any = None
    ) -> Any:
        y = super().forward(x)
        return {"logits": y, "hidden": None} if return_dict else (y, None)


class OfNestedData(Halved):
    def forward(self, data: Any) -> Any:
        (x, (factor,)), marks = data
        assert marks is None
        return super().forward(x, factor)


FORMS: dict[str, tuple[type[nn.Module], Any]] = {
    "number": (Halved, (X, 0.5)),
    "tensor of no dimension": (Halved, (X, HALF)),
    "tensor of no dimension first": (Halved, {"factor": HALF, "x": X}),
    "array": (Halved, X.numpy()),
    "arrays": (Halved, (X.numpy(), np.float32(0.5))),
    "dictionary": (OfDictionary, ({"x": X},)),
    "dictionary of arrays": (OfDictionary, ({"x": X.numpy(), "factor": HALF.numpy()},)),
    "dictionary, flag and None": (OfDictionary, ({"x": X, "factor": HALF}, True, None)),
    "Nones": (OfKeywords, (None, None, X, None)),
    "keywords": (OfKeywords, {"x": X, "return_dict": True}),
    "nested": (OfNestedData, (((X, (HALF,)), None),)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_input_has_the_same_scores(form: str) -> None:
    kind, inputs = FORMS[form]
    want, got = archrank.score(Halved(), X), archrank.score(kind(), inputs)
    for name in set(want) - OF_THE_GRAPH:
        assert (got[name].value, got[name].status) == (want[name].value, want[name].status), name
    products = archrank.trace(Halved(), X).product_flops
    assert got.graph.product_flops == products * (1 if form == "array" else len(X))
