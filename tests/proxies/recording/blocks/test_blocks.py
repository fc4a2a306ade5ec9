"""Where blocks end, and what AZ-NAS measures of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.errors import ScoreError
from archrank.proxies.activations.aznas import az_expressivity, az_progressivity, az_trainability
from archrank.proxies.recording.batches import Batch
from archrank.proxies.recording.blocks.boundaries import boundaries
from archrank.proxies.recording.blocks.data_flow import recorded_flow
from archrank.proxies.recording.blocks.views import blocks, kaiming, rademacher
from archrank.proxies.recording.model_runner import ModelRunner
from archrank.proxies.recording.signals import Block

VIEWS = ["az_expressivity", "az_progressivity", "az_trainability"]


def layer(source: int, target: int, stride: int = 1, inplace: bool = False) -> nn.Sequential:
    convolution = nn.Conv2d(source, target, 3, stride, 1)
    return nn.Sequential(convolution, nn.BatchNorm2d(target), nn.ReLU(inplace))


class Residual(nn.Module):
    """Basic block; its rectifiers and sum are modules and operators, or functions in place."""

    def __init__(self, source: int, target: int, stride: int = 1, functional: bool = False):
        super().__init__()
        self.first, self.one = nn.Conv2d(source, target, 3, stride, 1), nn.BatchNorm2d(target)
        self.second, self.two = nn.Conv2d(target, target, 3, 1, 1), nn.BatchNorm2d(target)
        self.relu, self.functional = nn.ReLU(), functional
        self.short = nn.Identity() if source == target else nn.Conv2d(source, target, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.functional:
            y = self.two(self.second(F.relu(self.one(self.first(x)), inplace=True)))
            y += self.short(x)
            return torch.relu_(y)
        y = self.two(self.second(self.relu(self.one(self.first(x)))))
        return self.relu(y + self.short(x))


class Preactivated(nn.Module):
    def __init__(self, source: int, target: int, stride: int = 1):
        super().__init__()
        self.one, self.first = nn.BatchNorm2d(source), nn.Conv2d(source, target, 3, stride, 1)
        self.two, self.second = nn.BatchNorm2d(target), nn.Conv2d(target, target, 3, 1, 1)
        self.short = nn.Conv2d(source, target, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x))
        return self.second(F.relu(self.two(self.first(x)))) + self.short(x)


class Dense(nn.Module):
    """Layers that each read all before them."""

    def __init__(self, source: int, growth: int, count: int):
        super().__init__()
        widths = [source + i * growth for i in range(count)]
        self.layers = nn.ModuleList(nn.Conv2d(w, growth, 3, padding=1) for w in widths)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for one in self.layers:
            found.append(F.relu(one(torch.cat(found, 1))))
        return torch.cat(found, 1)


class Inception(nn.Module):
    def __init__(self, source: int, width: int):
        super().__init__()
        self.one, self.pooled = nn.Conv2d(source, width, 1), nn.Conv2d(source, width, 1)
        self.three = nn.Sequential(nn.Conv2d(source, width, 1), nn.Conv2d(width, width, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(F.max_pool2d(x, 3, 1, 1))
        return F.relu(torch.cat([self.one(x), self.three(x), pooled], 1))


class Cell(nn.Module):
    def __init__(self, source: int, width: int):
        super().__init__()
        self.before, self.last = nn.Conv2d(source, width, 1), nn.Conv2d(source, width, 1)
        self.three = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        one, two = self.before(F.relu(before)), self.last(F.relu(last))
        return torch.cat([self.three(one) + two, one + two], 1)


class TwoInputs(nn.Module):
    """Cells that read the two before them, as in DARTS."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8))
        self.cells = nn.ModuleList(Cell(8, 4) for _ in range(4))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.head(last.mean((2, 3)))


class Inverted(nn.Module):
    """Inverted residual, with its shortcut where the shape allows it."""

    def __init__(self, source: int, target: int):
        super().__init__()
        self.body = nn.Sequential(layer(source, 12), nn.Conv2d(12, target, 1))
        self.same = source == target

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


class Writes(nn.Module):
    """Puts its result into a tensor that it made."""

    def __init__(self, width: int):
        super().__init__()
        self.conv, self.width = nn.Conv2d(width, width, 3, padding=1), width

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[:, :] = self.conv(x)
        return out


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, 0.0) for _ in range(2))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        for one in self.layers:
            tokens = one(tokens.transpose(0, 1)).transpose(0, 1)
        return self.head(tokens.mean(1))


def network(*parts: nn.Module, width: int = 8) -> nn.Module:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def runner(model: nn.Module, inputs: Tensor) -> ModelRunner:
    graph = archrank.trace(model, inputs)
    return ModelRunner(model, graph, [Batch((inputs,), {})], None, 0, inputs.dtype)


def ends(model: nn.Module, size: int = 8) -> list[tuple[str, str, tuple[int, ...]]]:
    """Path, kind and shape of the calls at which blocks end."""
    given = runner(model, torch.randn(2, 3, size, size))
    with given.substituted(gradients=False):
        flow = recorded_flow(given, given.batches[0])
    calls = [flow.calls[end] for end in boundaries(flow, dict(model.named_modules()))]
    return [(call.path, call.role, call.shape[1:]) for call in calls]


CASES = {
    "plain": (
        lambda: network(layer(3, 6), layer(6, 8, 2), layer(8, 8)),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1.2", "activation", (8, 4, 4)),
            ("2.2", "activation", (8, 4, 4)),
        ],
    ),
    "residual": (
        lambda: network(layer(3, 6), Residual(6, 6), Residual(6, 8, 2)),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1.relu", "activation", (6, 8, 8)),
            ("2.relu", "activation", (8, 4, 4)),
        ],
    ),
    "residual of functions": (
        lambda: network(layer(3, 6), Residual(6, 6, 1, True), Residual(6, 8, 2, True)),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1", "activation", (6, 8, 8)),
            ("2", "activation", (8, 4, 4)),
        ],
    ),
    "pre-activation": (  # the first norm belongs to its block, not to the stem
        lambda: network(nn.Conv2d(3, 6, 3, 1, 1), Preactivated(6, 6), Preactivated(6, 8, 2)),
        [("0", "product", (6, 8, 8)), ("1", "merge", (6, 8, 8)), ("2", "merge", (8, 4, 4))],
    ),
    "dense": (
        lambda: network(layer(3, 6), Dense(6, 2, 3), layer(12, 6, 2), Dense(6, 2, 3), width=12),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1", "merge", (12, 8, 8)),
            ("2.2", "activation", (6, 4, 4)),
            ("3", "merge", (12, 4, 4)),
        ],
    ),
    "inception": (
        lambda: network(layer(3, 6), Inception(6, 4), Inception(12, 4), width=12),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1", "activation", (12, 8, 8)),
            ("2", "activation", (12, 8, 8)),
        ],
    ),
    "cells of two inputs": (
        TwoInputs,
        [
            ("stem.1", "norm", (8, 8, 8)),
            *((f"cells.{i}", "merge", (8, 8, 8)) for i in range(4)),
        ],
    ),
    "shortcuts here and there": (  # no boundary inside the one that is a chain
        lambda: network(layer(3, 6), Inverted(6, 8), Inverted(8, 8)),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1.body.1", "product", (8, 8, 8)),
            ("2", "merge", (8, 8, 8)),
        ],
    ),
    "written to a part": (
        lambda: network(layer(3, 6), Writes(6), layer(6, 8)),
        [
            ("0.2", "activation", (6, 8, 8)),
            ("1", "merge", (6, 8, 8)),
            ("2.2", "activation", (8, 8, 8)),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_boundaries(name: str) -> None:
    build, expected = CASES[name]
    assert ends(build()) == expected


@pytest.mark.parametrize("name", CASES)
def test_every_view_has_a_value(name: str) -> None:
    scores = archrank.score(CASES[name][0](), (3, 8, 8), proxies=VIEWS, batch_size=4)
    for view in VIEWS:
        assert scores[view].status == "ok", scores[view].reason
    assert scores["az_trainability"].value <= 0


def test_boundaries_of_tokens() -> None:
    found = ends(Tokens())
    assert found[0] == ("patch", "product", (8, 2, 2))
    # of each layer: the sum after attention, and the one after its other half
    assert [(path, kind) for path, kind, _ in found[1:]] == [
        (f"layers.{i}", "merge") for i in (0, 0, 1, 1)
    ]


def test_blocks_by_explicit_jacobians() -> None:
    """Of a network without and with a stride, every number from its definition."""
    torch.manual_seed(0)
    model = network(layer(3, 4), layer(4, 5), layer(5, 6, 2), width=6).double()
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    given = runner(model, images)
    found = blocks(given, given.batches[0], None, torch.Generator().manual_seed(3))

    model.train()
    generator, value = torch.Generator().manual_seed(3), images
    for index, block in enumerate(found):
        before, value = value, model[index](value).detach()
        rows = value.movedim(1, -1).reshape(-1, value.shape[1]).numpy()
        p = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
        p = p[p > 1e-15] / p.sum()
        assert block.entropy == pytest.approx(-(p * np.log(p)).sum())
        if index == 0:
            assert block.spectral_norm is None
            continue
        probe = rademacher(tuple(value.shape), index, generator).double()
        jacobian = torch.autograd.functional.jacobian(model[index], before)
        jacobian = jacobian.reshape(probe.numel(), before.numel())
        pulled = (jacobian.T @ probe.flatten()).reshape(before.shape)
        factor = before.shape[-1] // value.shape[-1]
        inner = []  # each position of the output beside all input positions of its patch
        outer = []
        for n in range(2):
            for i in range(value.shape[2]):
                for j in range(value.shape[3]):
                    patch = pulled[n, :, i * factor : (i + 1) * factor, :]
                    patch = patch[..., j * factor : (j + 1) * factor]
                    inner.append(patch.flatten().numpy())
                    outer.append(probe[n, :, i, j].numpy())
        product = np.stack(inner).T @ np.stack(outer) / len(outer)
        assert block.spectral_norm == pytest.approx(np.linalg.svd(product)[1][0])
    assert len(found) == 3


def test_views_of_blocks_made_by_hand() -> None:
    made = [Block(1.0, None), Block(1.5, 1.0), Block(1.2, 0.5), Block(2.0, None)]
    assert az_expressivity(made).total == pytest.approx(5.7)
    assert az_progressivity(made).total == pytest.approx(-0.3)
    expected = ((2 - 1 - 1 / (1 + 1e-6)) + (2 - 0.5 - 1 / (0.5 + 1e-6))) / 2
    assert az_trainability(made).total == pytest.approx(expected)
    with pytest.raises(ScoreError, match="positions that correspond"):
        az_trainability(made[:1])
    with pytest.raises(ScoreError, match="identity") as raised:
        az_trainability([*made, Block(1.0, math.nan)])
    assert raised.value.status == "not applicable"


def test_a_block_that_does_nothing() -> None:
    class Nothing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return x + 0 * self.conv(x)

    scores = archrank.score(network(layer(3, 6), Nothing(), layer(6, 8)), (3, 8, 8), proxies=VIEWS)
    assert scores["az_trainability"].status == "not applicable"
    assert scores["az_expressivity"].status == "ok"
    assert scores["az_progressivity"].value == pytest.approx(0, abs=1e-3)


def test_in_place_operators_after_a_boundary_change_nothing() -> None:
    def build(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        parts: list[nn.Module] = []
        for source in (3, 6, 6):
            # the rectifier lies outside of the block and overwrites the block's output
            block = nn.Sequential(nn.Conv2d(source, 6, 3, padding=1), nn.BatchNorm2d(6))
            parts += [block, nn.ReLU(inplace)]
        return network(*parts, width=6)

    assert [kind for _, kind, _ in ends(build(True))] == ["norm"] * 3
    first, second = (archrank.score(build(i), (3, 8, 8), proxies=VIEWS) for i in (False, True))
    for view in VIEWS:
        assert second[view].value == pytest.approx(first[view].value, rel=1e-5)


def test_images_with_channels_last() -> None:
    """The same network of convolutions and of linear layers, whose images are (N, H, W, C)."""

    class Last(nn.Module):
        def __init__(self, last: bool):
            super().__init__()
            self.last = last
            widths = [(3, 6), (6, 8), (8, 8)]
            self.layers = nn.ModuleList(
                nn.Linear(a, b) if last else nn.Conv2d(a, b, 1) for a, b in widths
            )
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x.permute(0, 2, 3, 1) if self.last else x
            for one in self.layers:
                x = F.gelu(one(x))
            return self.head(x.mean((1, 2) if self.last else (2, 3)))

    torch.manual_seed(0)
    first, second = Last(False), Last(True)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        other.data = one.data.view(other.shape).clone()
    names = ["az_expressivity", "az_progressivity", "near", "meco", "in_train", "swap", "nasgraph"]
    images, labels = torch.randn(6, 3, 5, 4), torch.arange(6) % 4
    expected, got = (archrank.score(n, images, labels, proxies=names) for n in (first, second))
    for name in names:
        assert got[name].value == pytest.approx(expected[name].value, rel=1e-4, abs=1e-6), name


def test_kaiming_initialisation() -> None:
    torch.manual_seed(0)
    model = network(layer(3, 200), width=200)
    given = runner(model, torch.randn(2, 3, 8, 8))
    change = kaiming(given, torch.Generator().manual_seed(0))
    made = {name: change(name, parameter.detach()) for name, parameter in model.named_parameters()}
    assert float(made["0.0.weight"].std()) == pytest.approx(math.sqrt(2 / 27), rel=0.05)
    assert float(made["3.weight"].std()) == pytest.approx(math.sqrt(2 / 200), rel=0.1)
    assert bool((made["0.1.weight"] == 1).all())
    for name in ("0.0.bias", "0.1.bias", "3.bias"):
        assert not made[name].any()


def test_strides_that_do_not_divide() -> None:
    model = network(layer(3, 6), layer(6, 8, 2), layer(8, 8, 3))
    scores = archrank.score(model, (3, 9, 7), proxies=VIEWS, batch_size=4)
    assert all(scores[view].status == "ok" for view in VIEWS)


def test_features_that_are_constant_or_overflow() -> None:
    class Times(nn.Module):
        def __init__(self, factor: float):
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    for factor, reason in ((0.0, "constant"), (math.inf, "not finite")):
        model = network(layer(3, 6), Times(factor), nn.Conv2d(6, 8, 1), nn.ReLU())
        result = archrank.score(model, (3, 8, 8), proxies="az_expressivity")["az_expressivity"]
        assert reason in result.reason
