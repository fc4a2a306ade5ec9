"""ReLU written in other ways has the scores of its twin with ``F.relu``, for every proxy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, Model, compared
from test_twins import BLOCKS, Layers, Way, batches, pair
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
    "where not": lambda x: torch.where(x < 0, torch.zeros(x.shape, dtype=x.dtype), x),
    "mask": lambda x: x * (x > 0),
    "mask in place": lambda x: x.mul_(x >= 0),
    "mask of numbers": lambda x: (x > 0).to(x.dtype) * x,
    "masked fill": lambda x: x.masked_fill(x < 0, 0),
    "assignment": lambda x: assigned(x.clone()),
    "half of the sum": lambda x: (x + x.abs()) / 2,
    "clamp without an end": lambda x: x.clamp(0, float("inf")),
    "hardtanh without an end": lambda x: F.hardtanh(x, 0.0, 1e9),
    "largest of a stack": lambda x: torch.stack([x, 0 * x]).amax(0),
    "largest of a stack, and where": lambda x: torch.stack([torch.zeros_like(x), x], -1).max(-1)[0],
    "smallest of a stack": lambda x: -torch.stack([-x, x * 0], 1).min(1).values,
    "sign": lambda x: x * (x.sign() + 1) * 0.5,
    "fmax": lambda x: torch.fmax(x, torch.zeros_like(x)),
    "sorted": lambda x: torch.stack([x, 0 * x]).sort(0).values[1],
    "sorted down": lambda x: torch.stack([0 * x, x], -1).sort(dim=-1, descending=True)[0][..., 0],
    "the first of a stack": lambda x: torch.stack([x, torch.zeros_like(x)]).topk(1, 0).values[0],
    "largest so far": lambda x: torch.stack([0 * x, x], 1).cummax(1).values.select(1, 1),
    "largest of a concatenation": lambda x: torch.cat([x[None], 0 * x[None]]).max(0).values,
    "largest of a concatenation, last": lambda x: torch.cat(
        [torch.zeros_like(x).unsqueeze(-1), x.unsqueeze(-1)], -1
    ).amax(-1),
    "pooled": lambda x: F.max_pool3d(two(x, 2), (2, 1, 1)).squeeze(2),
    "pooled in pairs": lambda x: F.max_pool2d(two(x, -1).flatten(3), (1, 2)),
    "pooled, flattened": lambda x: F.max_pool1d(two(x, -1).flatten(0, -3), 2).view(x.shape),
    "scattered": lambda x: torch.zeros_like(x).masked_scatter(x > 0, x[x > 0]),
    "scattered zeros": lambda x: x.masked_scatter(x <= 0, torch.zeros_like(x)),
    "scattered in place": lambda x: x.clone().masked_scatter_(x < 0, x.new_zeros(x.numel())),
    "largest, kept": lambda x: two(x, 2).amax(2, keepdim=True).squeeze(2),
    "flattened": lambda x: F.relu(x.contiguous().flatten()).view(x.shape),
    "flattened in place": lambda x: F.relu_(x.contiguous().view(-1)).view_as(x),
}
STACKED = {
    *("largest of a stack", "largest of a stack, and where", "smallest of a stack"),
    *("sorted", "sorted down", "the first of a stack", "largest so far", "flattened"),
    *("scattered", "pooled", "pooled in pairs", "pooled, flattened", "largest, kept"),
    *("largest of a concatenation", "largest of a concatenation, last", "flattened in place"),
}
"""Here a block ends with the layer, as what follows it is no function of each number alone."""


def two(x: Tensor, dim: int) -> Tensor:
    return torch.stack([x, torch.zeros_like(x)], dim)


def assigned(x: Tensor) -> Tensor:
    x[x < 0] = 0
    return x


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
    out = BLOCKS if kind in STACKED else set()
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | out)


@pytest.mark.parametrize("kind", ["clamp", "maximum", "where", "mask"])
def test_tokens_in_the_batch(kind: str) -> None:
    model, twin = pair(tokens(WAYS[kind]), tokens(F.relu))
    data = batches(5, 3)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


def test_relu6_as_a_clamp() -> None:
    model, twin = pair(images(lambda x: x.clamp(0, 6)), images(F.relu6))
    data = batches(3, 8, 8)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


BY_HAND: dict[str, tuple[Rectifier, Rectifier]] = {
    "leaky, larger": (lambda x: torch.maximum(x, 0.1 * x), lambda x: F.leaky_relu(x, 0.1)),
    "leaky, where": (lambda x: torch.where(x > 0, x, 0.1 * x), lambda x: F.leaky_relu(x, 0.1)),
    "elu": (lambda x: torch.where(x > 0, x, x.exp() - 1), F.elu),
    "silu": (lambda x: x * torch.sigmoid(x), F.silu),
    "gelu": (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), F.gelu),
    "gelu of GPT-2": (
        lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x.pow(3)))),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), F.mish),
    "hardswish": (lambda x: x * F.hardsigmoid(x), F.hardswish),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_activations_written_by_hand(kind: str) -> None:
    act, plain = BY_HAND[kind]
    data = batches(3, 8, 8)
    scores = (archrank.score(m, data) for m in pair(images(act), images(plain)))
    compared(*scores, OF_THE_GRAPH)


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: F.relu(x) - 0.1 * F.relu(-x),
        lambda x: F.relu(x) + 0.05 * (x - x.abs()),
    ],
    ids=["hardswish", "leaky", "parametric"],
)
def test_rectifiers_of_rectifiers_are_refused(act: Rectifier) -> None:
    model, twin = pair(images(act), images(F.leaky_relu))
    data = batches(3, 8, 8)
    found, expected = archrank.score(model, data), archrank.score(twin, data)
    for name in ("naswot", "swap", "linear_regions", "near", "meco"):
        assert found[name].status == "not applicable", name
        assert "call it as one function" in str(found[name].reason), name
    assert all(s.status == expected[n].status for n, s in found.items() if s.status == "error")


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x * (x > -1),
        lambda x: x * x.tanh(),
        lambda x: x + 0.5 * x**3,
        lambda x: x + x.sin() ** 2,
        lambda x: x * F.softmax(x, 1),
        lambda x: x * (x.mean((2, 3), keepdim=True) > 0),
        lambda x: x.add(1) * (x > 0),
        lambda x: x.clamp(min=-1),
        lambda x: x.clamp(max=0),
        lambda x: torch.maximum(x, torch.ones_like(x)),
        lambda x: torch.where(x > 0, x.sin(), 0.0),
        lambda x: torch.where(x > 1, x, 0.0),
        lambda x: x + x.long().clamp(min=0),
        lambda x: F.max_pool2d(two(x, -1).flatten(3), (1, 2), 1)[..., : x.shape[-1]],
        lambda x: F.max_pool3d(two(x, 2), (1, 1, 3), 1, (0, 0, 1)).mean(2),
        lambda x: x.masked_scatter(x < 1, torch.zeros_like(x)),
        lambda x: x.masked_scatter(x < 0, torch.ones_like(x)),
    ],
)
def test_what_cuts_elsewhere_is_none(act: Rectifier) -> None:
    model, _ = pair(images(act), images(F.relu))
    found = archrank.score(model, batches(3, 8, 8), proxies="naswot,swap")
    assert {score.status for score in found.values()} == {"not applicable"}


def test_what_is_overwritten_is_not_taken_for_its_former_self() -> None:
    """The mask is of the numbers before, so the product does not rectify."""

    def act(x: Tensor) -> Tensor:
        mask = x > 0
        x = x - 0.0
        return x.add_(1.0) * mask

    model, _ = pair(images(act), images(F.relu))
    found = archrank.score(model, batches(3, 8, 8), proxies="naswot,swap")
    assert {score.status for score in found.values()} == {"not applicable"}


def test_a_gate_of_other_numbers_is_no_rectifier() -> None:
    """Squeeze-and-excitation and gated linear units, in which two tensors meet."""

    def way(m: Model, x: Tensor) -> Tensor:
        x = m.one(x)
        x = x * torch.sigmoid(m.gate(x.mean((2, 3), keepdim=True)))
        one, other = m.two(x).chunk(2, 1)
        return m.head((one * torch.sigmoid(other)).mean((2, 3)))

    torch.manual_seed(0)
    layers = {
        "one": nn.Conv2d(3, 6, 3),
        "gate": nn.Conv2d(6, 6, 1),
        "two": nn.Conv2d(6, 12, 3),
        "head": nn.Linear(6, 4),
    }
    found = archrank.score(Model(way, **layers).double(), batches(3, 8, 8), proxies="naswot,swap")
    assert {score.status for score in found.values()} == {"not applicable"}


def test_a_hard_gate_is_no_rectifier_beside_second_derivatives() -> None:
    def way(m: Model, x: Tensor) -> Tensor:
        x = F.relu(m.one(x))
        return m.head((x * F.hardsigmoid(m.gate(x.mean((2, 3), keepdim=True)))).mean((2, 3)))

    layers = {"one": nn.Conv2d(3, 6, 3), "gate": nn.Conv2d(6, 6, 1), "head": nn.Linear(6, 4)}
    model, data = Model(way, **layers).double(), batches(3, 8, 8)
    alone = archrank.score(model, data, proxies="naswot,swap,near")
    beside = archrank.score(model, data, proxies="naswot,swap,near,grasp")
    for name, score in alone.items():
        assert beside[name].value == pytest.approx(score.value, rel=1e-9), name


def test_a_norm_of_responses_is_no_rectifier() -> None:
    """What is made of a rectifier's result alone, as in ConvNeXt V2, adds no unit."""

    def with_norm(m: Model, x: Tensor) -> Tensor:
        made = F.gelu(m.one(x))
        norms = made.norm(dim=(2, 3), keepdim=True)
        scaled = made * (norms / (norms.mean(1, keepdim=True) + 1e-6))
        return m.head((made + m.scale.weight.view(1, -1, 1, 1) * scaled).mean((2, 3)))

    def without(m: Model, x: Tensor) -> Tensor:
        return m.head(F.gelu(m.one(x)).mean((2, 3)))

    found = []
    for way in (with_norm, without):
        torch.manual_seed(0)
        layers = {"one": nn.Conv2d(3, 6, 3), "head": nn.Linear(6, 4), "scale": nn.LayerNorm(6)}
        nn.init.zeros_(layers["scale"].weight)
        model = Model(way, **layers).double()
        found.append(archrank.score(model, batches(3, 8, 8), proxies="naswot,swap,near,meco"))
    for name, score in found[1].items():
        assert found[0][name].value == pytest.approx(score.value, rel=1e-9), name
