"""Norms written by hand score as their twins, or are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, Model, compared
from test_twins import BLOCKS, batches, pair
from torch import Tensor, nn

import archrank
from archrank.proxies import per_sample

FLOWS = {"synflow", "synflow_log", "logsynflow", "dss"}


class ByHand(nn.Module):
    """A norm with a scale and a shift, from what it centres and divides by."""

    def __init__(self, norm: Callable[[Tensor], Tensor], channels: int, dims: int):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.zeros(channels)) for _ in range(2))
        self.norm, self.shape = norm, (-1, *[1] * dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.view(self.shape) * self.norm(x) + self.bias.view(self.shape)


def standard(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    variance = x.var(dims, unbiased=False, keepdim=True)
    return (x - x.mean(dims, keepdim=True)) / torch.sqrt(variance + 1e-5)


def of_tuple(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
    return (x - mean[None, :, None, None]) * torch.rsqrt(variance + 1e-5).view(1, -1, 1, 1)


def images(norm: Callable[[], nn.Module]):
    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.two(F.relu(m.norm(m.one(x))))).mean((2, 3)))

    return way, lambda: {
        "one": nn.Conv2d(3, 6, 3),
        "norm": norm(),
        "two": nn.Conv2d(6, 6, 3),
        "head": nn.Linear(6, 4),
    }


@pytest.mark.parametrize("norm", [lambda x: standard(x, (0, 2, 3)), of_tuple])
def test_batch_norm_by_hand(norm: Callable[[Tensor], Tensor]) -> None:
    model, twin = pair(
        images(lambda: ByHand(norm, 6, 2)), images(lambda: nn.BatchNorm2d(6, momentum=None))
    )
    data = batches(3, 8, 8)
    found, expected = archrank.score(model, data), archrank.score(twin, data)
    refused = {n for n in found if n in FLOWS or n.startswith("parzc") or n == "zen"}
    for name in refused:
        assert found[name].status == "not applicable", name
        assert "batch norm is written by hand" in str(found[name].reason), name
        assert "'norm'" in str(found[name].reason), name
    compared(found, expected, OF_THE_GRAPH | BLOCKS | refused)


class ByFunction(ByHand):
    """The same in torch's functions, where channels are last."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


NORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = {
    "group": (
        lambda x: standard(x, (1, 2, 3)),
        lambda x, w, b: F.group_norm(x.movedim(-1, 1), 1, w, b).movedim(1, -1),
    ),
    "layer": (lambda x: standard(x, (1,)), lambda x, w, b: F.layer_norm(x, (6,), w, b)),
    "rms": (
        lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6),
        lambda x, w, b: F.rms_norm(x, (6,), w, 1e-6) + b,
    ),
}


@pytest.mark.parametrize("kind", NORMS)
def test_norms_of_single_samples_by_hand(kind: str) -> None:
    """Their scales are 1 in a Gaussian network, as those of the twin are."""
    own, function = NORMS[kind]
    model, twin = pair(
        images(lambda: ByHand(own, 6, 2)), images(lambda: ByFunction(function, 6, 2))
    )
    data = batches(3, 8, 8)
    assert torch.allclose(model(data[0][0]), twin(data[0][0]))
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | BLOCKS)


class ByFormula(nn.Module):
    """Batch norm in training, written out."""

    def __init__(self, given: nn.BatchNorm2d):
        super().__init__()
        self.weight, self.bias, self.eps = given.weight, given.bias, given.eps

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        scale, shift = (p.view(1, -1, 1, 1) for p in (self.weight, self.bias))
        return (x - mean) / (variance + self.eps).sqrt() * scale + shift


def test_a_norm_before_tokens_has_the_gradients_of_its_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a single sample whose gradient comes from tokens torch's own norm has wrong ones."""

    class Hybrid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.mid, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
            nn.init.normal_(self.norm.weight)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.norm(self.stem(x)).flatten(2).transpose(1, 2)
            return self.head(torch.tanh(self.mid(tokens)).mean(1))

    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    y, twin = torch.arange(3), Hybrid().double()
    twin.norm = ByFormula(twin.norm)
    weights = [twin.stem.weight, twin.mid.weight, twin.head.weight]
    sums = [torch.zeros_like(weight) for weight in weights]
    for i in range(3):
        loss = F.cross_entropy(twin(x[i : i + 1]), y[i : i + 1])
        for total, gradient in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
    expected = sum(float(total.abs().sum()) for total in sums)
    for chunk in (64, 2, 1):
        monkeypatch.setattr(per_sample, "_CHUNK", chunk)
        score = archrank.score(Hybrid().double(), x, y, proxies="gradsign")["gradsign"]
        assert score.value == expected, chunk
    norms = [
        archrank.score(m, x[:1], y[:1], proxies="grad_norm") for m in (Hybrid().double(), twin)
    ]
    assert norms[0]["grad_norm"].value == pytest.approx(norms[1]["grad_norm"].value, rel=1e-5)
