"""What is zero but for rounding is not applicable, or the same in single and double precision."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.proxies.recording.precision.cancellation import Cancellation
from archrank.proxies.spectra import of_rank

SAMPLES, CLASSES = 6, 5
BY_SAMPLE = ("gradsign", "gradsign_z", "ntk_condition", "vkdnw", "vkdnw_entropy")
OF_INPUT = ("jacob_cov", "epe_nas")


def images(count: int = SAMPLES) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Pooled(nn.Module):
    """Two convolutions with norms, an average, and a classifier."""

    def __init__(self, norm: Callable[[], nn.Module], pool: Callable[[Tensor], Tensor]):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norms = nn.ModuleList([norm(), norm()])
        self.head = nn.Linear(8, CLASSES)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.one(x)))
        return self.head(self.pool(self.norms[1](self.two(x))))


class ByHand(nn.Module):
    """A norm of each channel of an image, written by hand."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (2, 3), keepdim=True, correction=0)
        return (x - mean) / (variance + 1e-5).sqrt()


def part(x: Tensor) -> Tensor:
    """Average half of the channels at once, the other half behind a rectifier."""
    return torch.cat([x[:, :4].mean((2, 3)), F.relu(x[:, 4:]).mean((2, 3))], 1)


class Outputs(nn.Module):
    """Two linear layers, and a function whose outputs have a fixed sum."""

    def __init__(self, end: Callable[[Tensor], Tensor] | nn.Module):
        super().__init__()
        self.one, self.two = nn.Linear(3 * 16, 16), nn.Linear(16, CLASSES)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.end(self.two(F.relu(self.one(x))))


def batch_norm() -> nn.Module:
    return nn.BatchNorm2d(8)


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean((2, 3)),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "pool": lambda x: F.avg_pool2d(x, 12).flatten(1),
    "flattened": lambda x: x.flatten(2).mean(-1),
    "summed": lambda x: x.sum((2, 3)) / 144,
    "einsum": lambda x: torch.einsum("nchw->nc", x) / 144,
}


def with_seed(make: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    return make().to(dtype).train()


def scores(make: Callable[[], nn.Module], dtype: torch.dtype, names: Any) -> Any:
    targets = torch.arange(SAMPLES) % CLASSES
    return archrank.score(with_seed(make, dtype), images().to(dtype), targets, proxies=names)


def loop(make: Callable[[], nn.Module]) -> list[dict[str, Tensor]]:
    """Return each sample's gradients in double precision, by plain autograd."""
    model, found = with_seed(make, torch.float64), []
    for i, x in enumerate(images().double()):
        model.zero_grad()
        F.cross_entropy(model(x[None]), torch.tensor([i % CLASSES])).backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.dim() > 1})
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_batch_norm_of_a_sample_that_is_averaged(way: str, dtype: torch.dtype) -> None:
    make = lambda: Pooled(batch_norm, WAYS[way])  # noqa: E731
    largest = max(float(g.abs().max()) for sample in loop(make) for g in sample.values())
    assert largest < 1e-13  # of logits that are of size 1
    found = scores(make, dtype, (*BY_SAMPLE, *OF_INPUT))
    assert {r.status for r in found.values()} == {"not applicable"}
    assert "but for rounding" in found["gradsign"].reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("norm", [lambda: nn.InstanceNorm2d(8), lambda: nn.GroupNorm(8, 8), ByHand])
def test_norms_of_each_sample_leave_no_gradient_at_all(norm: Any, dtype: torch.dtype) -> None:
    names = (*BY_SAMPLE, *OF_INPUT, "grad_norm", "snip", "zico", "croze")
    x, targets = images().to(dtype), torch.arange(SAMPLES) % CLASSES
    model = with_seed(lambda: Pooled(norm, WAYS["mean"]), dtype)
    found = archrank.score(model, [(x, targets), (x + 0.1, targets)], proxies=names)
    for name in (*BY_SAMPLE, *OF_INPUT, "zico"):
        assert found[name].status == "not applicable", name
    assert [found[name].value for name in ("grad_norm", "snip", "croze")] == [0, 0, 0]


def test_channels_whose_gradient_is_rounding_count_as_zero() -> None:
    make = lambda: Pooled(batch_norm, part)  # noqa: E731
    sums: dict[str, Any] = {}
    for sample in loop(make):
        for name, gradient in sample.items():
            signs = torch.where(gradient.abs() < 1e-13, 0, gradient).sign()
            sums[name] = sums.get(name, 0) + signs
    assert (sums["two.weight"][:4] == 0).all()
    assert (sums["two.weight"][4:] != 0).any()
    expected = sum(float(s.abs().sum()) for s in sums.values())
    for dtype in (torch.float32, torch.float64):
        found = scores(make, dtype, ("gradsign",))["gradsign"].value
        assert found == pytest.approx(expected, rel=1e-2 if dtype == torch.float32 else 1e-12)


ENDS: dict[str, Callable[[], Any]] = {
    "softmax": lambda: nn.Softmax(dim=1),
    "a method": lambda: lambda x: x.softmax(-1),
    "layer norm": lambda: nn.LayerNorm(CLASSES),
    "without its mean": lambda: lambda x: x - x.mean(-1, keepdim=True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("end", ENDS)
def test_outputs_of_a_fixed_sum_have_no_jacobian(end: str, dtype: torch.dtype) -> None:
    found = scores(lambda: Outputs(ENDS[end]()), dtype, ("jacob_cov", "ntk_condition", "snip"))
    assert found["jacob_cov"].status == found["ntk_condition"].status == "not applicable"
    assert found["snip"].value > 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pooled(batch_norm, lambda x: F.relu(x).mean((2, 3))),
        lambda: Pooled(lambda: nn.GroupNorm(2, 8), lambda x: F.gelu(x).mean((2, 3))),
        lambda: Outputs(lambda x: F.log_softmax(x, -1)),
        lambda: Outputs(lambda x: F.layer_norm(x, (CLASSES,)) * torch.arange(CLASSES).to(x)),
    ],
)
def test_what_does_not_cancel_stays_bit_by_bit(make: Callable[[], nn.Module]) -> None:
    model = with_seed(make, torch.float32)
    found = []
    for mode in (torch.enable_grad(), Cancellation()):
        model.zero_grad()
        x = images().requires_grad_()
        with mode:
            loss = model(x).square().sum()
        loss.backward()
        found.append([x.grad, *(copy.copy(p.grad) for p in model.parameters())])
        found[-1] = [g.clone() for g in found[-1]]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_second_derivatives_pass_what_is_zero() -> None:
    """The gradient is zero everywhere in the weights, so its own is, too."""
    torch.manual_seed(1)
    weight = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, 4, dtype=torch.float64)
    with Cancellation():
        total = F.layer_norm(x @ weight, (4,)).sum() + (x @ weight).square().sum()
    (first,) = torch.autograd.grad(total, weight, create_graph=True)
    torch.testing.assert_close(first, 2 * x.T @ (x @ weight))
    (second,) = torch.autograd.grad(first.sum(), weight)
    torch.testing.assert_close(second, (2 * x.T @ x).sum(0)[:, None].expand(4, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_features_of_low_rank(dtype: torch.dtype) -> None:
    """Sixteen features of three inputs have three singular values, not sixteen."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 16, bias=False)
    x = torch.randn(40, 3)
    singular = torch.linalg.svdvals((x @ layer.weight.detach().T).double())[:3]
    shares = singular / singular.sum()
    rank = float(torch.exp(-(shares * shares.log()).sum()))
    found = archrank.score(layer.to(dtype), x.to(dtype), proxies="near")
    assert found["near"].value == pytest.approx(rank, rel=1e-5)


def test_rank_is_by_the_largest_value() -> None:
    values = torch.tensor([1e-9, 1e-4, 3.0], dtype=torch.float64)
    assert of_rank(values, 100).tolist() == [0, 1e-4, 3]
    assert of_rank(values * 1e-20, 100).tolist() == pytest.approx([0, 1e-24, 3e-20])
    assert of_rank(torch.zeros(3), 100).tolist() == [0, 0, 0]
