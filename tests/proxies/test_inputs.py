"""One function has one score, in whatever form its inputs are given."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archrank
from archrank.errors import InputError

X, HALF = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(0.5)
OF_THE_GRAPH = {"flops", "activations", "az_complexity", "nasgraph", "nasgraph_density"}
"""They count numbers that are inputs as nodes."""


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
    assert got.graph.product_flops == archrank.trace(Halved(), X).product_flops


class Keywords(nn.Module):
    """Takes names of its own and any others, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mid, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, tokens: Tensor, mask: Tensor | None = None, **others: object) -> Tensor:
        x = torch.relu(self.mid(self.embed(tokens)))
        return self.head((x if mask is None else x * mask[..., None]).mean(1))


def test_batches_of_a_dictionary_and_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = [torch.randint(9, (6, 5), generator=generator) for _ in range(2)]
    labels, mask = torch.arange(6) % 4, torch.ones(6, 5)
    model = Keywords()
    named = [({"tokens": t, "mask": mask}, labels) for t in tokens]
    whole = [{"tokens": t, "mask": mask, "labels": labels} for t in tokens]
    expected = archrank.score(model, [((t, mask), labels) for t in tokens], proxies="snip,zico")
    found = archrank.score(model, named, proxies="snip,zico")
    for name, result in expected.items():
        assert found[name].value == result.value, found[name].reason
    assert archrank.score(model, named[:1], proxies="snip")["snip"].value is not None
    assert archrank.score(Keywords(), whole, proxies="snip")["snip"].value is not None


@pytest.mark.parametrize("fixed", [False, True], ids=["of its input", "fixed"])
def test_every_proxy_of_complex_weights_has_a_value(fixed: bool) -> None:
    """Whether a network casts to the precision of its input, or always to the same one."""

    class Spectral(nn.Module):
        def __init__(self, fixed: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 4)
            self.mix, self.fixed = nn.Linear(8, 8, dtype=torch.complex64), fixed

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.embed(x))
            single = self.fixed or x.dtype == torch.float32
            dtype = torch.complex64 if single else torch.complex128
            return self.head(torch.relu(self.mix(x.to(dtype)).real).mean(1))

    scores, expected = (archrank.score(Spectral(f), (5, 3), batch_size=6) for f in (fixed, False))
    assert {r.status for r in scores.values()} <= {"ok", "not applicable"}
    assert scores["croze"].value is not None
    for name in ("synflow", "epsinas", "snip"):
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-12), name


@pytest.mark.parametrize("any_name", [False, True], ids=["named", "by keywords"])
@pytest.mark.parametrize("several", [False, True], ids=["one input", "batches"])
def test_labels_that_forward_takes_are_targets_too(any_name: bool, several: bool) -> None:
    """As with models of Hugging Face, whose loss is theirs but whose classes are the user's."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

        def logits(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x)))

    class Named(Classifier):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
            return {"loss": torch.zeros(()), "logits": self.logits(x)}

    class Keywords(Classifier):
        def forward(self, **given: Any) -> Any:
            return {"loss": torch.zeros(()), "logits": self.logits(given["x"])}

    model = Keywords() if any_name else Named()
    x, labels = torch.randn(5, 4), torch.tensor([2, 0, 0, 1, 2])
    named: Any = {"x": x, "labels": labels}
    wanted = ["snip", "gradsign", "fisher", "epe_nas"]
    found = archrank.score(model, [named] if several else named, proxies=wanted)
    expected = archrank.score(model, {"x": x}, labels, proxies=wanted)
    for name in wanted:
        assert found[name].status == "ok"
        assert found[name].value == expected[name].value, name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"proxies": "snipp"}, "snip"),
        ({"proxies": []}, "proxies"),
        ({"batch_size": 0}, "batch_size"),
        ({"batches": 1}, "batches"),
        ({"inputs": 7}, "inputs"),
        ({"inputs": "3,8,8"}, "inputs"),
        ({"inputs": ()}, "inputs"),
        ({"inputs": (3, 0, 8)}, "inputs"),
        ({"inputs": torch.zeros(0, 4)}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"model": "resnet18"}, "model"),
    ],
)
def test_wrong_usage_names_the_argument(arguments, named) -> None:
    with pytest.raises(InputError, match=named):
        archrank.score(**{"model": Halved(), "inputs": (4,), **arguments})


@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("way", ["tensor", "dictionary"])
def test_a_forward_may_write_to_its_inputs(way: str, branches: bool) -> None:
    """As one that normalises images in place does: each forward gets what was given."""

    class Normalises(nn.Module):
        def __init__(self, writes: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
            self.writes = writes

        def forward(self, x: Tensor) -> Tensor:
            if self.writes:
                x[:, 0] = (x[:, 0] - 0.2) / 0.5
                x.mul_(0.5)
            else:
                x = torch.cat([(x[:, :1] - 0.2) / 0.5, x[:, 1:]], 1) * 0.5
            made = self.two(torch.relu(self.one(x)).mean((2, 3)))
            return -made if branches and made.sum() > 1e9 else made

    data = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    kept, targets = data.clone(), torch.arange(6) % 4
    inputs = data if way == "tensor" else {"x": data}
    archrank.trace(Normalises(True), inputs)
    found = archrank.score(Normalises(True), inputs, targets)
    expected = archrank.score(Normalises(False), inputs, targets)
    assert torch.equal(data, kept)
    for name in expected.keys() - OF_THE_GRAPH:
        assert found[name].status == expected[name].status, name
        if expected[name].value is not None:
            assert found[name].value == pytest.approx(expected[name].value, rel=1e-4), name


def test_what_a_package_returned_stays_what_it_is() -> None:
    """Models that take the output of another read it by its attributes."""

    class Returned(collections.UserDict):
        @property
        def hidden(self) -> Tensor:
            return self["hidden"]

    class Ordered(collections.OrderedDict):
        @property
        def hidden(self) -> Tensor:
            return self["hidden"]

    class Reads(Halved):
        def forward(self, returned: Any) -> Any:
            return super().forward(returned.hidden)

    expected = archrank.score(Halved(), X)
    for kind in (Returned, Ordered):
        found = archrank.score(Reads(), (kind(hidden=X),))
        for name in expected.keys() - OF_THE_GRAPH:
            assert found[name].value == pytest.approx(expected[name].value), (kind, name)
