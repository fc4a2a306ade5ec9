"""A network whose weights are computed from parameters scores as its folded twin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from computed_weights import StandardisedByNorm, adapted
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.overrides import TorchFunctionMode

import archrank

OF_THE_GRAPH = {
    *("params", "flops", "activations", "az_complexity", "swap_regular"),
    *("nasgraph", "nasgraph_density"),
}
APPLY = (torch.conv2d, F.linear)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = centred / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, 0.2 * weight, self.bias, self.stride, self.padding)


def of_class(kind: type[nn.Conv2d]) -> Callable[[nn.Module], nn.Module]:
    def make(layer: nn.Module) -> nn.Module:
        if not isinstance(layer, nn.Conv2d):
            return layer
        made = kind(layer.in_channels, layer.out_channels, layer.kernel_size)
        made.load_state_dict(layer.state_dict())
        return made

    return make


KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "weight norm, old": weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm, old": spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "low rank": adapted,
    "standardised": of_class(Standardised),
    "standardised by norm": of_class(StandardisedByNorm),
}


def net(wrap: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(wrap(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU(), wrap(nn.Conv2d(8, 8, 3))),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), wrap(nn.Linear(8, 4))),
    )


class AppliedWeights(TorchFunctionMode):
    """A reference: notes the weights that reach the functions."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in APPLY:
            self.found.append(args[1].detach().clone())
        return func(*args, **(kwargs or {}))


def twin_of(kind: str, images: Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    model, other = net(KINDS[kind]), net(KINDS[kind])
    with torch.no_grad(), AppliedWeights() as applied:
        other.train()(images)
    twin = net(lambda layer: layer)
    layers = [i for i, layer in enumerate(twin) if isinstance(layer, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        for i, weight in zip(layers, applied.found, strict=True):
            twin[i].weight.copy_(weight)
            twin[i].bias.copy_(model[i].bias)
    return model, twin


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_folded_twin(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(8, 3, 8, 8, generator=generator) for _ in range(2)]
    model, twin = twin_of(kind, batches[0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores, expected = archrank.score(model, batches), archrank.score(twin, batches)
    for name in set(expected) - OF_THE_GRAPH:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        if expected[name].value is not None:
            wanted = pytest.approx(expected[name].value, rel=1e-3, abs=1e-6)
            assert scores[name].value == wanted, name
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


class Slices(nn.Module):
    """A supernet that applies a part of a weight, another layer whole, one in two ways."""

    def __init__(self, twice: bool):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(5, 5, 1), nn.Linear(5, 4)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.conv2d(x, self.one.weight[:5], self.one.bias[:5]))
        x = self.two(x) + (F.conv2d(x, 2 * self.two.weight) if self.twice else 0)
        return self.head(torch.relu(x).mean((2, 3)))


def test_a_sliced_weight_is_the_slice() -> None:
    model, twin = Slices(False), Slices(False)
    with torch.no_grad():
        twin.one.weight, twin.one.bias = (
            nn.Parameter(p[:5].clone()) for p in (twin.one.weight, twin.one.bias)
        )
    names = ["snip", "gradsign_mean", "near", "l2_norm", "fisher", "synflow"]
    scores, expected = (archrank.score(m, (3, 6, 6), proxies=names) for m in (model, twin))
    for name in names:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name


def test_a_weight_applied_in_two_ways_keeps_its_own_gradient() -> None:
    model = Slices(True)
    images, labels = torch.randn(4, 3, 6, 6), torch.arange(4)
    score = archrank.score(model, images, labels, proxies="snip,gradsign")
    loss = F.cross_entropy(model(images), labels)
    weights = [model.one.weight, model.two.weight, model.head.weight]
    found = torch.autograd.grad(loss, weights)
    expected = sum(float((w * g).abs().sum()) for w, g in zip(weights, found, strict=True))
    assert score["snip"].value == pytest.approx(expected, rel=1e-5)
    sums = [torch.zeros_like(w) for w in weights]
    for i in range(4):
        own = F.cross_entropy(model(images[i : i + 1]), labels[i : i + 1])
        for total, gradient in zip(sums, torch.autograd.grad(own, weights), strict=True):
            total += gradient.sign()
    assert score["gradsign"].value == sum(float(s.abs().sum()) for s in sums)


class Filter(nn.Module):
    """A spectral layer whose weights are complex, or pairs of real numbers."""

    def __init__(self, real: bool):
        super().__init__()
        torch.manual_seed(0)
        weight = torch.randn(8, 8, 5, dtype=torch.cfloat) * 0.1
        self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 4)
        self.weight = nn.Parameter(torch.view_as_real(weight).clone() if real else weight)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        spectrum = torch.fft.rfft(self.embed(x).transpose(1, 2))
        spectrum = torch.einsum("bit,iot->bot", spectrum, weight)
        return self.head(torch.relu(torch.fft.irfft(spectrum, n=x.shape[1])).mean(-1))


def test_complex_weights_are_pairs_of_real_ones() -> None:
    scores, expected = (
        archrank.score(Filter(real), (8, 3), batch_size=8) for real in (False, True)
    )
    of_blocks = {"az_expressivity", "az_progressivity", "az_trainability"}
    for name in set(expected) - of_blocks - {"params", "swap_regular"}:
        assert scores[name].reason == expected[name].reason, name
        if expected[name].value is not None:
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name


PRODUCTS = {
    "linear": lambda z, w: F.linear(z, w.T),
    "matmul": lambda z, w: z @ w,
    "einsum": lambda z, w: torch.einsum("bi,io->bo", z, w),
    "mm": torch.mm,
}


class Multiplied(nn.Module):
    """A layer of complex weights, written as a product."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6, 8, dtype=torch.cfloat) * 0.3)
        self.head, self.kind = nn.Linear(8, 4), kind

    def forward(self, x: Tensor) -> Tensor:
        z = torch.fft.fft(x)
        return self.head(PRODUCTS[self.kind](z, self.weight.to(z.dtype)).abs())


@pytest.mark.parametrize("kind", list(PRODUCTS)[1:])
def test_products_with_complex_weights_are_linear_layers(kind: str) -> None:
    data = (torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 4)
    scores, expected = (archrank.score(Multiplied(how), *data) for how in (kind, "linear"))
    assert sum(result.status == "ok" for result in expected.values()) > 30
    for name in set(expected) - {"nasgraph", "nasgraph_density"}:
        assert scores[name].reason == expected[name].reason, name
        if expected[name].value is not None:
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-4), name


class Complex(nn.Module):
    """Complex layers on complex inputs; or the same function on pairs of real numbers."""

    def __init__(self, real: bool):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(6, 8, dtype=torch.cfloat), nn.Linear(8, 4, dtype=torch.cfloat)]
        self.first, self.head = (self.as_pairs(layer) for layer in layers) if real else layers
        self.real = real

    @staticmethod
    def as_pairs(layer: nn.Linear) -> nn.Linear:
        weight, made = (
            layer.weight.detach(),
            nn.Linear(2 * layer.in_features, 2 * len(layer.weight)),
        )
        rows = [torch.stack([weight.real, -weight.imag], -1).flatten(1)]
        rows += [torch.stack([weight.imag, weight.real], -1).flatten(1)]
        made.weight = nn.Parameter(torch.stack(rows, 1).flatten(0, 1))
        made.bias = nn.Parameter(torch.view_as_real(layer.bias.detach()).flatten().clone())
        return made

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.real:
            return self.head(torch.relu(x))[:, ::2]
        return self.head(torch.complex(torch.relu(x.real), torch.relu(x.imag))).real


def test_complex_features_are_pairs_of_real_ones() -> None:
    x, labels = torch.randn(8, 6, dtype=torch.cfloat), torch.arange(8) % 4
    scores = archrank.score(Complex(False), x, labels)
    expected = archrank.score(Complex(True), torch.view_as_real(x).flatten(1), labels)
    # Their parameters are others, and what there is once in pairs is there twice apart.
    for name in ("fisher", "swap", "naswot", "linear_regions", "jacob_cov", "softmax_confidence"):
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-4), name
    assert {r.status for r in scores.values()} <= {"ok", "not applicable", "unsupported"}
