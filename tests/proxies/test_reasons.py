"""What fails says where, what it was given and what to do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.errors import UnsupportedModelError


def raised_by(loss: Callable[..., Any], targets: Any) -> str:
    scores = archrank.score(
        nn.Linear(4, 3), torch.randn(5, 4), targets, proxies="snip,gradsign", loss=loss
    )
    assert {result.status for result in scores.values()} == {"error"}
    return scores["snip"].reason


def test_a_loss_that_raises_says_what_it_was_given() -> None:
    reason = raised_by(F.mse_loss, None)
    assert "output that is a tensor of shape (5, 3), targets that are NoneType" in reason
    assert "pass targets=" in reason
    reason = raised_by(F.l1_loss, torch.randn(5, 2))
    assert "targets that are a tensor of shape (5, 2)" in reason
    assert "pass targets=" not in reason


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (8, 3, 4, 4), r"did you mean \(3, 4, 4\)"),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4)), (8, 6), r"did you mean \(6,\)"),
        (nn.Sequential(nn.Embedding(50, 8)), (12,), r"torch\.randint\(50, \(2, 12\)\)"),
        (nn.Linear(4, 2), {"a": torch.ones(1, 4), "b": 1}, "in a tuple"),
    ],
)
def test_an_input_that_does_not_fit_gets_a_hint(model: nn.Module, inputs: Any, said: str) -> None:
    for call in (archrank.trace, archrank.score):
        with pytest.raises(UnsupportedModelError, match=said):
            call(model, inputs)


@pytest.mark.parametrize("path", ["2.1", "head"])
def test_a_failing_forward_names_its_module(path: str) -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta and len(x) > 1:
                raise KeyError("only one")
            return x

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), Picky()))
    if path == "head":
        model = nn.Sequential(OrderedDict(body=model[0], head=Picky()))
    scores = archrank.score(model, (4,), batch_size=3, proxies="snip,near,jacob_cov,naswot")
    for result in scores.values():
        assert result.status == "error"
        assert f"module {path!r} (KeyError: 'only one')" in result.reason


def test_gradsign_in_evaluation_where_training_is_undefined() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 8), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 5))
    given, targets = torch.randn(4, 3, 8, 8), torch.arange(4)
    refused = archrank.score(net, given, targets, proxies="gradsign")["gradsign"]
    assert refused.status == "not applicable"
    assert "module '1'" in refused.reason
    assert "gradsign_sum@gradsign" in refused.reason
    value = archrank.score(net.eval(), given, targets, proxies="gradsign_sum@gradsign")
    sums = [torch.zeros_like(net[0].weight), torch.zeros_like(net[3].weight)]
    for one, target in zip(given, targets, strict=True):
        loss = F.cross_entropy(net(one[None]), target[None])
        for total, gradient in zip(
            sums, torch.autograd.grad(loss, [net[0].weight, net[3].weight]), strict=True
        ):
            total += gradient.sign()
    want = sum(float(total.abs().sum()) for total in sums)
    assert value["gradsign_sum@gradsign"].value == pytest.approx(want, abs=2)


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("no way back")


class OneWay(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return NoWayBack.apply(x)


class Overwrites(nn.Module):
    """Writes to what the backward needs."""

    def forward(self, x: Tensor) -> Tensor:
        grown = torch.exp(x)
        doubled = grown * 2
        return doubled + grown.add_(1)


@pytest.mark.parametrize(("kind", "said"), [(OneWay, "no way back"), (Overwrites, "inplace")])
def test_a_failing_backward_names_its_module(kind: type[nn.Module], said: str) -> None:
    inner = nn.Sequential(nn.Linear(4, 4), kind(), nn.ReLU())
    scores = archrank.score(nn.Sequential(nn.Linear(4, 4), inner, nn.Linear(4, 3)), (4,))
    for name in ("snip", "gradsign", "synflow", "grasp", "zico", "croze", "jacob_cov"):
        assert scores[name].status == "error"
        assert "the backward failed in module '1.1' (RuntimeError" in scores[name].reason
        assert said in scores[name].reason
        assert "Check that a backward" in scores[name].reason
    assert scores["near"].value is not None


class Between(nn.Module):
    """Writes to what the backward needs before it calls its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        grown = torch.exp(x)
        return self.layer(grown.mul_(0.5))


@torch.library.custom_op("archrank_tests::cut", mutates_args=())
def cut(x: Tensor) -> Tensor:
    return x.clamp(min=0) + 0


cut.register_fake(torch.empty_like)
plain = torch.library.Library("archrank_plain_tests", "DEF")
plain.define("cut(Tensor x) -> Tensor")
plain.impl("cut", lambda x: x.clamp(min=0) + 0, "CPU")
plain.impl("cut", torch.empty_like, "Meta")


class Cut(nn.Module):
    def __init__(self, way: str):
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        return cut(x) if self.way == "custom" else torch.ops.archrank_plain_tests.cut(x)


@pytest.mark.parametrize("way", ["custom", "plain"])
@pytest.mark.parametrize("first", [False, True])
def test_operators_without_a_formula_are_unsupported(way: str, first: bool) -> None:
    """Of the plain one torch only warns, and leaves out all gradients before it."""
    layers = [nn.Linear(4, 4), nn.Sequential(Cut(way)), nn.Linear(4, 3)]
    scores = archrank.score(nn.Sequential(*layers[first:]), (4,))
    names = ["jacob_cov", "croze"] if first else ["snip", "gradsign", "synflow", "grasp", "zico"]
    for name in names:
        result = scores[name]
        assert result.status == "unsupported", (name, result.reason)
        assert f"module '{1 - first}.0'" in str(result.reason), name
        assert "register_autograd" in str(result.reason)
    assert scores["l2_norm"].status == scores["near"].status == "ok"
    assert (scores["snip"].status == "ok") == first


def test_a_failing_backward_before_a_layer_names_the_module_around_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Between(), nn.Linear(4, 3))
    reason = archrank.score(model, (4,), proxies="snip")["snip"].reason
    assert "the backward failed in module '1' (RuntimeError" in str(reason)


class Flexible(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        heads = x.unflatten(-1, (1, 16)).transpose(1, 2)
        return flex_attention(heads, heads, heads).transpose(1, 2).flatten(2)


def test_an_operator_that_takes_functions_names_its_module() -> None:
    model = nn.Sequential(nn.Linear(3, 16), nn.Sequential(Flexible()), nn.Flatten())
    with pytest.raises(
        UnsupportedModelError, match=r"module '1\.0'.*flex_attention.*put an ordinary"
    ):
        archrank.score(model, (5, 3))


def test_a_missing_compiled_operator_names_its_module() -> None:
    class Deformable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.somewhere.deform_conv2d(x)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Deformable())
    with pytest.raises(UnsupportedModelError, match=r"module '1'.*deform_conv2d"):
        archrank.score(model, (3, 8, 8))


@pytest.mark.parametrize("kind", ["a number", "one of each sample", "classes"])
def test_outputs_that_are_no_logits(kind: str) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            if kind == "classes":
                return y.argmax(1)
            return y.sum() if kind == "a number" else y[:, 0]

    scores = archrank.score(Reads(), (4,), batch_size=6)
    for name, result in scores.items():
        assert result.status in ("ok", "not applicable", "unsupported"), (name, result.reason)
    said = "whole numbers" if kind == "classes" else "pass loss="
    for name in ("snip", "gradsign", "vkdnw"):
        assert said in scores[name].reason
    assert (scores["epsinas"].value is not None) == (kind == "one of each sample")


class Frequencies(nn.Module):
    """A network that returns complex numbers, or their absolute values."""

    def __init__(self, recurrent: bool, real: bool):
        super().__init__()
        torch.manual_seed(0)
        body: Any = nn.GRU(4, 8, batch_first=True) if recurrent else nn.Linear(4, 8)
        self.body, self.head, self.real = body, nn.Linear(8, 3), real

    def forward(self, x: Tensor) -> Tensor:
        made = self.body(x)
        made = made[0] if isinstance(made, tuple) else torch.relu(made)
        found = torch.fft.fft(self.head(made.mean(1)))
        return found.abs() if self.real else found


@pytest.mark.parametrize("recurrent", [False, True])
def test_complex_outputs_have_the_scores_of_the_users_loss_or_a_reason(recurrent: bool) -> None:
    x, y = torch.randn(6, 5, 4).double(), torch.arange(6) % 3
    model = Frequencies(recurrent, real=False).double()
    for name, score in archrank.score(model, x, y).items():
        assert score.status != "error", (name, score.reason)
    names = ["snip", "gradsign", "grad_norm"]
    found = archrank.score(
        model, x, y, loss=lambda o, t: nn.functional.cross_entropy(o.abs(), t), proxies=names
    )
    twin = Frequencies(recurrent, real=True).double()
    for name, score in archrank.score(twin, x, y, proxies=names).items():
        assert found[name].value == pytest.approx(score.value, rel=1e-9)
    reason = archrank.score(model, x, y, proxies="synflow")["synflow"].reason
    assert "the output is complex (torch.complex128)" in str(reason)


def test_inference_mode_inside_a_forward_is_no_error() -> None:
    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                features = torch.relu(self.body(x))
            return self.head(features.clone())

    scores = archrank.score(Backbone(), (4,), batch_size=6)
    assert {score.status for score in scores.values()} <= {"ok", "not applicable"}
    assert scores["swap"].value is not None


class Renewed(nn.Module):
    """A model whose forward makes a new parameter of an old one, its own or that of a layer."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 12))
        self.layer = nn.Linear(12, 8, bias=False)
        self.head = nn.Linear(8, 5)
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        if self.own:
            self.weight = nn.Parameter(torch.tanh(self.weight))
            return self.head(torch.relu(x @ self.weight.t()))
        self.layer.weight = nn.Parameter(self.layer.weight / self.layer.weight.norm())
        return self.head(torch.relu(self.layer(x)))


@pytest.mark.parametrize(("own", "name"), [(True, "'weight'"), (False, "'layer.weight'")])
def test_parameters_that_a_forward_replaces_are_named(own: bool, name: str) -> None:
    torch.manual_seed(0)
    model = Renewed(own)
    before = {n: parameter.clone() for n, parameter in model.named_parameters()}
    wanted = ("gradsign", "snip", "synflow", "near")
    scores = archrank.score(model, torch.randn(4, 12), torch.arange(4), proxies=wanted)
    for result in scores.values():
        assert result.status == "unsupported"
        assert name in str(result.reason)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
