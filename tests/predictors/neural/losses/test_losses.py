"""Losses against brute force over pairs, scipy's tau, finite differences, and training."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs_of_numbers import draw_pair, some
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archrank.errors import InputError
from archrank.metrics import kendall
from archrank.predictors.neural.losses import (
    DENOMINATORS,
    FORMS,
    LOSSES,
    DiffKendall,
    Mixed,
    Scheduled,
    diff_kendall,
    huber,
    list_mle,
    loss,
    mse,
    orders,
    pairs,
    pairwise_hinge,
    pairwise_logistic,
    smoothed_kendall,
    weighted_ranking,
)

CASES: dict[str, nn.Module] = {
    **{f"diff_kendall[{form}]": DiffKendall(form=form) for form in FORMS},
    "diff_kendall[untied]": DiffKendall(denominator="untied", standardise=True),
    **{name: kind() for name, kind in LOSSES.items() if name != "diff_kendall"},
    "mixed": Mixed([("pairwise_logistic", 1.0), (DiffKendall(), 0.5)]),
    "scheduled": Scheduled([("list_mle", 1), ("mse", 1)]),
}
REGRESSION = ("mse", "huber")
RANKING = [name for name in CASES if name not in REGRESSION]
CHUNKED: list[tuple[Callable[..., Tensor], dict[str, Any]]] = [
    *((diff_kendall, {"form": form, "denominator": d}) for form in FORMS for d in DENOMINATORS),
    (pairwise_hinge, {}),
    (pairwise_logistic, {}),
    (weighted_ranking, {}),
]


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    predictions, targets = some(7)
    assert torch.autograd.gradcheck(CASES[name], (predictions, targets))


def untied_pairs(x: list[float], y: list[float]) -> list[tuple[float, float]]:
    """(dx, dy) of each pair with dy > 0: the better item first."""
    pairs = itertools.permutations(range(len(x)), 2)
    return [(x[i] - x[j], y[i] - y[j]) for i, j in pairs if y[i] > y[j]]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_values_are_the_formulas(data: st.DataObject) -> None:
    x, y = draw_pair(data)
    x = x / 3
    untied = untied_pairs(x.tolist(), y.tolist())
    pairs = len(x) * (len(x) - 1) / 2
    expected = {
        "original": sum(math.tanh(dx * dy / 2) for dx, dy in untied) / pairs,
        "product": sum(math.tanh(dx / 4) * math.tanh(dy / 4) for dx, dy in untied) / pairs,
        "hard": sum(math.tanh(dx / 2) for dx, _ in untied) / pairs,
    }
    for form, value in expected.items():
        assert smoothed_kendall(x, y, form=form).item() == pytest.approx(value, abs=1e-12)
    count = max(len(untied), 1)
    hinge = sum(max(0.0, 0.5 - dx) for dx, _ in untied) / count
    logistic = sum(math.log1p(math.exp(-dx)) for dx, _ in untied) / count
    assert pairwise_hinge(x, y, margin=0.5).item() == pytest.approx(hinge, abs=1e-12)
    assert pairwise_logistic(x, y).item() == pytest.approx(logistic, abs=1e-12)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_weighted_ranking_is_its_formula(data: st.DataObject) -> None:
    x, y = draw_pair(data)
    total = weights = 0.0
    for i, j in itertools.permutations(range(len(x)), 2):
        if y[i] > y[j]:
            weight = 1 / math.log2(2 + int((y > y[i]).sum()))
            total += weight * math.log1p(math.exp(-float(x[i] - x[j])))
            weights += weight
    expected = total / weights if weights else 0.0
    assert weighted_ranking(x, y).item() == pytest.approx(expected, abs=1e-12)


def test_list_mle_is_the_likelihood_of_the_order_of_drawing() -> None:
    x, y = torch.tensor([0.3, -1.0, 2.0, 0.5]).double(), torch.tensor([2.0, 1.0, 4.0, 3.0])
    left, likelihood = [2, 3, 0, 1], 1.0
    while left:
        shares = x[left].softmax(0)
        likelihood *= float(shares[0])
        left.pop(0)
    assert 4 * list_mle(x, y).item() == pytest.approx(-math.log(likelihood), abs=1e-12)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_list_mle_with_ties(data: st.DataObject) -> None:
    x, y = draw_pair(data)
    terms = [
        torch.cat([x[i : i + 1], x[y < y[i]]]).logsumexp(0).item() - x[i].item()
        for i in range(len(x))
    ]
    assert list_mle(x, y).item() == pytest.approx(float(np.mean(terms)), abs=1e-12)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_order_of_items_plays_no_part(name: str, data: st.DataObject) -> None:
    x, y = draw_pair(data)
    order = torch.tensor(data.draw(st.permutations(range(len(x)))))
    x.requires_grad_()
    first, second = CASES[name](x, y), CASES[name](x[order], y[order])
    torch.testing.assert_close(first, second)
    gradients = [torch.autograd.grad(value, x)[0] for value in (first, second)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", [name for name in RANKING if name != "mixed"])
def test_only_differences_of_predictions_count(name: str) -> None:
    x, y = some(9)
    torch.testing.assert_close(CASES[name](x, y), CASES[name](x + 3, y))


@pytest.mark.parametrize("name", RANKING)
def test_the_true_order_is_better_than_its_reverse(name: str) -> None:
    y = torch.linspace(-1, 1, 9)
    assert CASES[name](y, y) < CASES[name](-y, y)


@pytest.mark.parametrize(("function", "options"), CHUNKED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_leave_value_and_gradient(
    function: Callable[..., Tensor], options: dict[str, Any], dtype: torch.dtype
) -> None:
    x, y = some(101, dtype=dtype)
    whole = function(x, y, **options, chunk=101)
    (gradient,) = torch.autograd.grad(whole, x)
    for chunk in (None, 1, 7, 100, 10_000):
        value = function(x, y, **options, chunk=chunk)
        torch.testing.assert_close(value, whole, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(torch.autograd.grad(value, x)[0], gradient, rtol=1e-6, atol=1e-8)


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize(("function", "options"), CHUNKED)
def test_no_table_of_all_pairs_is_held(
    function: Callable[..., Tensor], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", 2**14)
    x, y = some(1000, dtype=torch.float32)
    with Largest() as largest:
        function(x, y, **options).backward()
    assert largest.elements <= 2**14
    assert x.grad is not None
    assert x.grad.isfinite().all()


TWENTY_THOUSAND = """
import resource, torch
from archrank.metrics import kendall
from archrank.predictors.neural.losses import diff_kendall

def descend(items):
    x = torch.randn(items, requires_grad=True)
    y = torch.randn(items)
    value = diff_kendall(x, y, slope=1e4, denominator="untied")
    value.backward()
    return value.item() + kendall(x.detach(), y)

torch.manual_seed(0)
descend(100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
difference = descend(20_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, difference)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="units of peak memory differ")
def test_twenty_thousand_items_take_little_memory() -> None:
    """Measured from outside: a heap in pieces grows although every tensor is small."""
    run = subprocess.run(
        [sys.executable, "-c", TWENTY_THOUSAND], capture_output=True, text=True, check=True
    )
    kibibytes, difference = run.stdout.split()
    assert int(kibibytes) < 100 * 1024
    assert float(difference) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("items", [0, 1, 5])
def test_nothing_to_order_is_zero(name: str, items: int) -> None:
    x = torch.linspace(0, 1, items).requires_grad_()
    value = CASES[name](x, torch.full((items,), 2.0))
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, x)
    if name not in REGRESSION or not items:
        assert value == 0
        assert gradient.tolist() == [0.0] * items


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("predictions", "targets", "says"),
    [
        (torch.zeros(3), torch.zeros(4), "targets: got 4, expected 3"),
        (torch.zeros(3, 1), torch.zeros(3), r"predictions: got shape \(3, 1\)"),
        (torch.zeros(3), torch.tensor(1.0), r"targets: got shape \(\)"),
        (torch.tensor([0.0, math.nan]), torch.zeros(2), "predictions: .* not finite"),
        (torch.zeros(2), torch.tensor([0.0, math.inf]), "targets: .* not finite"),
        ([0.0, 1.0], torch.zeros(2), "predictions: got list"),
    ],
)
def test_wrong_input_is_named(name: str, predictions: Any, targets: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        CASES[name](predictions, targets)


@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_computed_in_single(name: str) -> None:
    x, y = some(20, dtype=torch.float32)
    half = x.detach().half().requires_grad_()
    value = CASES[name](half, y)
    value.backward()
    assert value.dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == torch.float16
    torch.testing.assert_close(value, CASES[name](half.detach().float(), y))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64])
def test_targets_of_any_type(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([0.5, -1.0, 2.0])
    y = torch.tensor([1, 0, 1])
    value = CASES[name](x, y.to(dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, CASES[name](x, y.float()))


def test_targets_keep_their_own_precision() -> None:
    y = 1 + torch.arange(3, dtype=torch.float64) * 1e-12  # equal in single precision
    assert smoothed_kendall(torch.arange(3.0), y, form="hard", slope=1e3) == 1
    assert smoothed_kendall(torch.arange(3.0), y, standardise=True, slope=1e3) == 1
    assert pairwise_logistic(torch.arange(3.0), y) > 0


@pytest.mark.parametrize("name", RANKING)
def test_huge_predictions_stay_finite(name: str) -> None:
    x = torch.tensor([-1e18, 1e18, 0.0, 1.0], requires_grad=True)
    value = CASES[name](x, torch.tensor([3.0, 1.0, 2.0, 0.0]))
    value.backward()
    assert value.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_targets_get_no_gradient() -> None:
    x, y = some(5)
    y.requires_grad_()
    for case in CASES.values():
        y.grad = None
        case(x, y).backward()
        assert y.grad is None


@pytest.mark.parametrize("name", CASES)
def test_a_linear_model_learns_to_rank(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(100, 5, generator=generator)
    truth = features @ torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0])
    truth = (truth - truth.mean()) / truth.std()
    model = nn.Linear(5, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    criterion = copy.deepcopy(CASES[name])
    for epoch in range(400):
        for part in criterion.modules():
            if isinstance(part, Scheduled):
                part.epoch = epoch
        optimiser.zero_grad()
        criterion(model(features).squeeze(1), truth).backward()
        optimiser.step()
    assert kendall(model(features).detach().squeeze(1), truth) > 0.95


def test_modules_are_their_functions() -> None:
    x, y = some(8)
    same: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
        "diff_kendall": (diff_kendall, {"form": "product", "slope": 2.0, "chunk": 3}),
        "pairwise_hinge": (pairwise_hinge, {"margin": 0.2}),
        "pairwise_logistic": (pairwise_logistic, {"chunk": 2}),
        "weighted_ranking": (weighted_ranking, {}),
        "list_mle": (list_mle, {}),
        "mse": (mse, {}),
        "huber": (huber, {"delta": 0.3}),
    }
    assert same.keys() == LOSSES.keys()
    for name, (function, options) in same.items():
        assert loss(name, **options)(x, y) == function(x, y, **options)
    assert diff_kendall(x, y) == -smoothed_kendall(x, y)


def test_registry_gives_back_a_module() -> None:
    own = nn.L1Loss()
    assert loss(own) is own


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: loss("kendal"), "loss: got 'kendal', expected one of: diff_kendall, "),
        (lambda: loss("huber", slope=1), "got slope for Huber, expected some of: delta"),
        (lambda: loss("mse", delta=1), "expected some of: none"),
        (lambda: loss(nn.L1Loss(), delta=1), "options: got delta beside a module"),
        (lambda: loss("diff_kendall", form="new"), "form: got 'new', expected one of: original"),
        (lambda: DiffKendall(denominator="all"), "denominator: got 'all'"),
        (lambda: DiffKendall(slope=0.0), "slope: got 0.0"),
        (lambda: DiffKendall(slope=math.inf), "slope: got inf"),
        (lambda: DiffKendall(chunk=0), "chunk: got 0"),
        (lambda: loss("pairwise_hinge", margin=-1.0), "margin: got -1.0"),
        (lambda: loss("huber", delta=math.nan), "delta: got nan"),
        (lambda: Mixed([]), "parts: got none"),
        (lambda: Mixed([("mse", 0.0)]), "weight: got 0.0"),
        (lambda: Scheduled([]), "parts: got none"),
        (lambda: Scheduled([("mse", 0)]), "epochs: got 0"),
        (lambda: Scheduled([("mse", 2)]).at(-1), "epoch: got -1"),
    ],
)
def test_wrong_options_are_named(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()


def test_mixed_adds() -> None:
    x, y = some(6)
    mixed = Mixed([("mse", 2.0), (DiffKendall(form="hard"), 0.5)])
    expected = 2 * mse(x, y) + 0.5 * diff_kendall(x, y, form="hard")
    torch.testing.assert_close(mixed(x, y), expected)


def test_scheduled_changes_with_the_epoch() -> None:
    x, y = some(6)
    scheduled = Scheduled([("mse", 2), ("huber", 1), ("list_mle", 1)])
    expected = [mse, mse, huber, list_mle, list_mle, list_mle]
    for epoch, function in enumerate(expected):
        scheduled.epoch = epoch
        assert scheduled(x, y) == function(x, y)


def test_what_only_orders_is_said() -> None:
    assert orders(loss("list_mle"))
    assert not orders(loss("huber"))
    assert not orders(Mixed([("mse", 1.0), ("list_mle", 1.0)]))
    assert orders(nn.L1Loss())  # unknown: its scale is not taken for that of labels


def test_losses_can_be_copied_and_shown() -> None:
    mixed = Mixed([(Scheduled([("mse", 1), ("diff_kendall", 1)]), 1.0)])
    assert repr(copy.deepcopy(mixed)) == repr(mixed)
    assert "weights=[1.0]" in repr(mixed)
