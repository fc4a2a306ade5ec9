"""Filters that are multiplied in Fourier space are weights, for all that sums weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fft, nn

import archrank

N, LENGTH, WIDTH = 6, 8, 5
HALF = LENGTH // 2 + 1

Filtering = Callable[[Tensor, Tensor], Tensor]


def back(spectrum: Tensor) -> Tensor:
    return fft.irfft(spectrum, n=LENGTH)


def lowest(x: Tensor, filter: Tensor) -> Tensor:
    kept = fft.rfft(x)[..., :3] * torch.view_as_complex(filter)
    return back(F.pad(kept, (0, HALF - 3)))


def long(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve causally with a kernel as long as the sequence, as Hyena does."""
    twice = 2 * LENGTH
    return fft.irfft(fft.rfft(x, n=twice) * fft.rfft(kernel, n=twice), n=twice)[..., :LENGTH]


def state_space(x: Tensor, states: Tensor) -> Tensor:
    """Convolve with the kernel of a linear recurrence, of sizes and decays, as S4 does."""
    times = torch.arange(LENGTH, dtype=torch.double)
    decays = torch.exp(-states[..., 1, None].abs() * times)
    return long(x, torch.einsum("cn,cnl->cl", states[..., 0], decays))


FILTERS: dict[str, tuple[tuple[int, ...], torch.dtype, Filtering]] = {
    "complex": ((WIDTH, HALF), torch.cdouble, lambda x, w: back(fft.rfft(x) * w)),
    "pairs": (
        (WIDTH, HALF, 2),
        torch.double,
        lambda x, w: back(torch.view_as_complex(w) * fft.rfft(x)),
    ),
    "real": ((WIDTH, HALF), torch.double, lambda x, w: back(fft.rfft(x) * w)),
    "in place": ((1, HALF), torch.cdouble, lambda x, w: back(fft.rfft(x).mul_(w.conj()))),
    "turned": ((WIDTH, HALF), torch.double, lambda x, w: back(fft.rfft(x) * torch.exp(1j * w))),
    "both halves": ((WIDTH, LENGTH), torch.cdouble, lambda x, w: fft.ifft(fft.fft(x) * w).real),
    "images": (
        (WIDTH, 2, 3),
        torch.cdouble,
        lambda x, w: fft.irfft2(fft.rfft2(x.unflatten(2, (2, 4))) * w, s=(2, 4)).flatten(2),
    ),
    "lowest": ((WIDTH, 3, 2), torch.double, lowest),
    "long": ((WIDTH, LENGTH), torch.double, long),
    "state space": ((WIDTH, 3, 2), torch.double, state_space),
}


class Filtered(nn.Module):
    """Two layers with a filter between them, on sequences (N, LENGTH, 3)."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        shape, dtype, self.run = FILTERS[kind]
        self.embed, self.head = nn.Linear(3, WIDTH).double(), nn.Linear(WIDTH, 4).double()
        self.filter = nn.Parameter(torch.randn(shape, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x)).transpose(1, 2)
        return self.head(torch.relu(self.run(x, self.filter)).mean(2))


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.dim() > 1]


def pairs(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def gradients(model: nn.Module, value: Tensor) -> list[Tensor]:
    return [pairs(g) for g in torch.autograd.grad(value, weights_of(model))]


@pytest.mark.parametrize("kind", FILTERS)
def test_filters_are_in_what_sums_weights_and_gradients(kind: str) -> None:
    model = Filtered(kind)
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(N, LENGTH, 3, generator=generator).double(), torch.arange(N) % 4
    found = archrank.score(model, (x, y), proxies="l2_norm,snip,gradsign,ntk_condition,synflow")

    weights = [pairs(w.detach()) for w in weights_of(model)]
    assert found["l2_norm"].value == pytest.approx(sum(float(w.norm()) for w in weights))
    of_batch = gradients(model, F.cross_entropy(model(x), y))
    snip = sum(float((w * g).abs().sum()) for w, g in zip(weights, of_batch, strict=True))
    assert found["snip"].value == pytest.approx(snip)

    alone = [gradients(model, F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])) for i in range(N)]
    signs = [sum(g.sign() for g in several) for several in zip(*alone, strict=True)]
    assert found["gradsign"].value == sum(float(s.abs().sum()) for s in signs)

    rows = [gradients(model, model(x[i : i + 1]).sum()) for i in range(N)]
    flat = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    values = torch.linalg.eigvalsh(flat @ flat.T)
    assert found["ntk_condition"].value == pytest.approx(float(values[-1] / values[0]))

    positive = Filtered(kind)
    with torch.no_grad():
        for p in positive.parameters():
            pairs(p.data).abs_() if p.is_complex() else p.abs_()
    flow = gradients(positive, positive(torch.ones(1, LENGTH, 3).double()).sum())
    expected = sum(float((w.abs() * g).abs().sum()) for w, g in zip(weights, flow, strict=True))
    assert found["synflow"].value == pytest.approx(expected)


class Scaled(nn.Module):
    """A network that mixes by Fourier transforms, and scales what is no spectrum."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 4)
        self.before, self.between, self.after = (
            nn.Parameter(torch.ones(LENGTH, WIDTH)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = fft.fft(fft.fft(self.embed(x) * self.before, dim=-1), dim=-2).real * self.between
        x = back(fft.rfft(x.transpose(1, 2))).transpose(1, 2)
        return self.head(torch.relu(x * self.after).mean(1))


def test_scales_outside_of_spectra_are_no_weights() -> None:
    model = Scaled()
    found = archrank.score(model, (LENGTH, 3), batch_size=N, proxies="l2_norm")
    norms = (float(layer.weight.norm()) for layer in (model.embed, model.head))
    assert found["l2_norm"].value == pytest.approx(sum(norms))
