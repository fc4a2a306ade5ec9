"""What filters of spectra give has the features of the convolution that they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fft, nn

import archrank

N, LENGTH, WIDTH = 6, 8, 5
FEATURES = "near,meco,meco_opt,fisher"
Way = Callable[[Tensor, Tensor], Tensor]


def spectrum(kernel: Tensor) -> Tensor:
    """Return the spectrum of a kernel around its middle, of which convolutions correlate."""
    size = kernel.shape[-1]
    return fft.rfft(F.pad(kernel, (0, LENGTH - size)).roll(-(size // 2), -1)).conj().resolve_conj()


def written(x: Tensor, weight: Tensor) -> Tensor:
    made = torch.zeros(len(x), WIDTH, LENGTH // 2 + 1, dtype=torch.cdouble)
    made[:, :, :4] = fft.rfft(x)[:, :, :4] * weight[:, :4]
    made[..., 4:] = fft.rfft(x)[..., 4:] * weight[:, 4:]
    return fft.irfft(made, n=LENGTH)


def by_parts(x: Tensor, weight: Tensor) -> Tensor:
    one, other = fft.rfft(x), torch.view_as_real(weight)
    real = one.real * other[..., 0] - one.imag * other[..., 1]
    imaginary = one.real * other[..., 1] + one.imag * other[..., 0]
    return fft.irfft(torch.complex(real, imaginary), n=LENGTH)


def longer(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve as Hyena does, padded to twice the length, of which one half is read."""
    turned = F.pad(x, (LENGTH, LENGTH), mode="circular")
    kernel = fft.irfft(weight, n=LENGTH)
    made = fft.rfft(turned, n=3 * LENGTH) * fft.rfft(kernel.repeat(1, 3) / 3, n=3 * LENGTH)
    return fft.irfft(made, n=3 * LENGTH)[..., :LENGTH]


def tokens(x: Tensor, weight: Tensor) -> Tensor:
    made = fft.rfft(x.transpose(1, 2), dim=1) * weight.T
    return fft.irfft(made, n=LENGTH, dim=1).transpose(1, 2)


def steps_first(x: Tensor, weight: Tensor) -> Tensor:
    made = fft.rfft(x.permute(2, 0, 1), dim=0) * weight.T[:, None]
    return fft.irfft(made, n=LENGTH, dim=0).permute(1, 2, 0)


WAYS: dict[str, Way] = {
    "product": lambda x, w: fft.irfft(fft.rfft(x) * w, n=LENGTH),
    "einsum": lambda x, w: fft.irfft(torch.einsum("ncf,cf->ncf", fft.rfft(x), w), n=LENGTH),
    "addcmul": lambda x, w: fft.irfft(torch.addcmul(torch.zeros(()), fft.rfft(x), w), n=LENGTH),
    "in place": lambda x, w: fft.irfft(fft.rfft(x).mul_(w), n=LENGTH),
    "division": lambda x, w: fft.irfft(fft.rfft(x) / (1 / w), n=LENGTH),
    "both halves": lambda x, w: (
        fft.ifft(fft.fft(x) * torch.cat([w, w[:, 1:-1].flip(-1).conj()], 1)).real
    ),
    "twice into": lambda x, w: fft.fft(
        fft.fft(x.flip(-1).roll(1, -1)) * torch.cat([w, w[:, 1:-1].flip(-1).conj()], 1).conj()
    ).real.div(LENGTH),
    "written": written,
    "parts": by_parts,
    "longer": longer,
    "tokens": tokens,
    "steps first": steps_first,
}


class Twin(nn.Module):
    """Two layers with a convolution between them, on sequences (N, LENGTH, 3)."""

    def __init__(self, way: Way | None, end: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(3, WIDTH).double(), nn.Linear(WIDTH, 4).double()
        convolution = nn.Conv1d(
            WIDTH, WIDTH, 3, padding=1, padding_mode="circular", groups=WIDTH, bias=False
        ).double()
        self.way, self.end = way, end
        if way is None:
            self.convolution = convolution
        else:
            self.filter = nn.Parameter(spectrum(convolution.weight.detach()[:, 0]))

    def outputs(self, x: Tensor) -> list[Tensor]:
        """Return what the layers give."""
        one = self.embed(x)
        two = torch.relu(one).transpose(1, 2)
        two = self.convolution(two) if self.way is None else self.way(two, self.filter)
        return [one, two] if self.end else [one, two, self.head(torch.relu(two).mean(2))]

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x)[-1]


class Neural(nn.Module):
    """A Fourier neural operator, or the same as a convolution that mixes channels."""

    def __init__(self, plain: bool):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.Conv2d(3, WIDTH, 3, padding=1, padding_mode="circular", bias=False).double()
        self.head = nn.Linear(WIDTH, 4).double()
        if plain:
            self.layer: nn.Module | None = layer
        else:
            self.layer = None
            padded = F.pad(layer.weight.detach(), (0, 3, 0, 3)).roll((-1, -1), (2, 3))
            self.weight = nn.Parameter(fft.rfft2(padded).conj().resolve_conj().transpose(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.layer is not None:
            x = self.layer(x)
        else:
            x = fft.irfft2(torch.einsum("nixy,ioxy->noxy", fft.rfft2(x), self.weight), s=(6, 6))
        return self.head(torch.relu(x).mean((2, 3)))


class Gated(nn.Module):
    """A global filter of GFNet, on tokens (N, 6, 6, C), or the same as a convolution."""

    def __init__(self, plain: bool):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular", bias=False, groups=3)
        self.layer, self.head = layer.double() if plain else None, nn.Linear(3, 4).double()
        if not plain:
            padded = F.pad(layer.weight.detach()[:, 0].double(), (0, 3, 0, 3))
            made = fft.rfft2(padded.roll((-1, -1), (1, 2)), norm="backward").conj().resolve_conj()
            self.weight = nn.Parameter(torch.view_as_real(made.permute(1, 2, 0)).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        if self.layer is not None:
            x = self.layer(x)
            return self.head(torch.relu(x).mean((2, 3)))
        x = fft.rfft2(x.permute(0, 2, 3, 1), dim=(1, 2), norm="ortho")
        x = x * torch.view_as_complex(self.weight)
        x = fft.irfft2(x, s=(6, 6), dim=(1, 2), norm="ortho").reshape(len(x), 36, 3)
        return self.head(torch.relu(x).mean(1))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, LENGTH, 3, generator=generator).double(), torch.arange(N) % 4


@pytest.mark.parametrize("way", WAYS)
def test_features_are_those_of_the_convolution(way: str) -> None:
    model, twin = Twin(WAYS[way]), Twin(None)
    x, y = data()
    torch.testing.assert_close(model(x), twin(x))
    found, expected = (archrank.score(m, (x, y), proxies=FEATURES) for m in (model, twin))
    for name, result in expected.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-9), name


class Two(Twin):
    """A filter in two parameters, of low and of high frequencies, as in neural operators."""

    def __init__(self) -> None:
        super().__init__(written)
        low, high = self.filter.data[:, :3], self.filter.data[:, 3:]
        del self.filter
        self.low, self.high = nn.Parameter(low.clone()), nn.Parameter(high.clone())

    def outputs(self, x: Tensor) -> list[Tensor]:
        one = self.embed(x)
        two = fft.rfft(torch.relu(one).transpose(1, 2))
        made = torch.zeros_like(two)
        made[..., :3] = two[..., :3] * self.low
        made[..., 3:] = two[..., 3:] * self.high
        two = fft.irfft(made, n=LENGTH)
        return [one, two, self.head(torch.relu(two).mean(2))]


def test_two_filters_of_one_output_are_one_layer() -> None:
    found, expected = (archrank.score(m, data(), proxies=FEATURES) for m in (Two(), Twin(None)))
    for name, result in expected.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-9), name
    assert archrank.score(Two(), data(), proxies="croze")["croze"].value > 12  # of four weights


class Adaptive(nn.Module):
    """Layers of groups on the parts of a spectrum, as in adaptive neural operators."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 2, 4, 4).double())
        self.embed, self.head = nn.Linear(3, 8).double(), nn.Linear(8, 4).double()

    def outputs(self, x: Tensor) -> list[Tensor]:
        one = self.embed(x)
        parts = fft.rfft(one, dim=1).unflatten(-1, (2, 4))
        a, b, c, d = (
            torch.einsum("nfgi,gio->nfgo", part, self.weight[i]).flatten(2)
            for part in (parts.real, parts.imag)
            for i in (0, 1)
        )
        real, imaginary = torch.relu(a - d), torch.relu(b + c)
        two = fft.irfft(torch.complex(real, imaginary), n=LENGTH, dim=1)
        return [one, a, b, c, d, real, imaginary, self.head(two.mean(1))]

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x)[-1]


def test_layers_on_the_parts_of_a_spectrum_have_their_own_features() -> None:
    model, (x, y) = Adaptive(), data()
    expected = 0.0
    for feature in model.outputs(x):
        rows = feature.detach().flatten(0, -2)
        singular = torch.linalg.svdvals(rows)
        shares = singular / singular.sum()
        expected += float(torch.exp(torch.special.entr(shares).sum()))
    found = archrank.score(model, (x, y), proxies="near,fisher,croze,in_train")
    assert found["near"].value == pytest.approx(expected, rel=1e-6)
    assert {result.status for result in found.values()} == {"ok"}


@pytest.mark.parametrize("way", sorted({*WAYS} - {"product", "twice into"}))
def test_blocks_are_the_same_however_a_filter_is_written(way: str) -> None:
    """Their Kaiming network leaves filters as they are, unlike convolutions."""
    one, other = (
        archrank.score(Twin(WAYS[w]), data(), proxies="az_expressivity,az_progressivity")
        for w in ("product", way)
    )
    for name, result in one.items():
        assert other[name].value == pytest.approx(result.value, rel=1e-9), name


@pytest.mark.parametrize("kind", [Neural, Gated])
def test_features_of_images(kind: type[Neural | Gated]) -> None:
    x = torch.randn(N, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    model, twin = kind(False), kind(True)
    torch.testing.assert_close(model(x), twin(x))
    found, expected = (
        archrank.score(m, (x, torch.arange(N) % 4), proxies=FEATURES) for m in (model, twin)
    )
    for name, result in expected.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-9), name


def pairs(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    weights = [p for p in model.parameters() if p.dim() > 1]
    found = torch.autograd.grad(F.cross_entropy(model(x), y), weights)
    return [pairs(g) for g in found]


def test_in_train_by_hand() -> None:
    model, (x, y) = Twin(WAYS["product"]), data()
    one, two, three = (output.detach() for output in model.outputs(x))
    features = [one.flatten(0, 1), two.transpose(1, 2).flatten(0, 1), three]
    expressed = 0.0
    for rows in features:
        values = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0))
        expressed += math.log(float(values.sum() ** 2 / values.square().sum()))
    spread = sum(float(g.std() / g.abs().max()) for g in gradients(model, x, y))
    found = archrank.score(model, (x, y), proxies="in_train")["in_train"].value
    assert found == pytest.approx(expressed * (1 + spread) / math.log(4), rel=1e-9)


def test_croze_by_hand() -> None:
    model, twin, (x, y) = Twin(WAYS["product"]), Twin(WAYS["product"]), data()

    def cosine(one: Tensor, other: Tensor) -> float:
        return float(F.cosine_similarity(one.flatten(), other.flatten(), dim=0).detach())

    def weights(model: nn.Module) -> list[Tensor]:
        return [pairs(p.detach()) for p in model.parameters() if p.dim() > 1]

    clean = gradients(model, x, y)
    for w, g in zip(weights(twin), clean, strict=True):
        w += 0.01 * w.norm() * g / g.norm()
    moving = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(twin(moving), y), moving)
    attacked = x + 0.01 * slope.sign()
    disturbed = gradients(twin, attacked, y)
    features = zip(model.outputs(x), twin.outputs(attacked), strict=True)
    agreements = dict(zip(("embed", "filter", "head"), (cosine(*f) for f in features), strict=True))
    names = [n.partition(".")[0] for n, p in model.named_parameters() if p.dim() > 1]
    expected = 0.0
    for i, name in enumerate(names):
        stepped = weights(model)[i] - clean[i], weights(twin)[i] - disturbed[i]
        of_gradients = abs(cosine(clean[i], disturbed[i]))
        expected += (1 + cosine(*stepped)) * of_gradients * (1 + agreements[name])
    found = archrank.score(model, (x, y), proxies="croze")["croze"].value
    assert found == pytest.approx(expected, rel=1e-6)


def test_an_output_that_ends_in_a_filter() -> None:
    model, twin, (x, y) = Twin(WAYS["longer"], end=True), Twin(None, end=True), data()
    found, expected = (
        archrank.score(m, (x, y), proxies=FEATURES, loss=lambda out, _: out.square().sum())
        for m in (model, twin)
    )
    for name, result in expected.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-9), name
