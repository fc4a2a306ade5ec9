"""Smooth forms of Kendall's tau against scipy's, and their slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pairs_of_numbers import draw_pair, some
from scipy import stats

from archrank.metrics import kendall
from archrank.predictors.neural.losses import (
    DENOMINATORS,
    FORMS,
    diff_kendall,
    pairs,
    smoothed_kendall,
)


@pytest.mark.parametrize("form", FORMS)
@given(
    values=st.lists(st.integers(-50, 50), min_size=2, max_size=25, unique=True), random=st.randoms()
)
@settings(max_examples=30, deadline=None)
def test_tends_to_tau_without_ties(form: str, values: list[int], random: Any) -> None:
    shuffled = random.sample(values, len(values))
    x, y = torch.tensor(values).double(), torch.tensor(shuffled).double()
    tau = stats.kendalltau(values, shuffled).statistic
    for denominator in DENOMINATORS:
        value = smoothed_kendall(x, y, form=form, slope=1e3, denominator=denominator)
        assert value.item() == pytest.approx(tau, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_untied_tends_to_tau_b(form: str, data: st.DataObject) -> None:
    x, y = draw_pair(data)
    value = smoothed_kendall(x, y, form=form, slope=1e3, denominator="untied").item()
    if len(set(x.tolist())) > 1 and len(set(y.tolist())) > 1:
        assert value == pytest.approx(kendall(x, y), abs=1e-9)
    else:
        assert value == 0


def test_comes_nearer_as_slope_grows() -> None:
    x, y = some(40)
    tau = stats.kendalltau(x.detach(), y).statistic
    for form in FORMS:
        errors = [
            abs(smoothed_kendall(x, y, form=form, slope=s, denominator="untied").item() - tau)
            for s in (1.0, 10.0, 1e3, 1e7)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 1e-5


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data(), slope=st.floats(1e-3, 1e6), scale=st.floats(1e-6, 1e6))
@settings(max_examples=40, deadline=None)
def test_bounded(form: str, data: st.DataObject, slope: float, scale: float) -> None:
    x, y = draw_pair(data)
    for denominator in DENOMINATORS:
        value = smoothed_kendall(
            (x * scale).float(), y, form=form, slope=slope, denominator=denominator
        )
        assert abs(value.item()) <= 1 + 1e-6


def test_original_and_product_differ() -> None:
    x, y = some(10)
    assert smoothed_kendall(x, y) != smoothed_kendall(x, y, form="product")


def test_standardise_frees_from_the_unit() -> None:
    x, y = some(20)
    for form in FORMS:
        standardised = smoothed_kendall(x, 0.7 + y / 100, form=form, standardise=True)
        z = (y - y.mean()) / y.std(correction=0)
        torch.testing.assert_close(standardised, smoothed_kendall(x, z, form=form))
    assert smoothed_kendall(x, y) != smoothed_kendall(x, y, standardise=True)


def test_equal_predictions_part_under_either_denominator() -> None:
    for denominator in DENOMINATORS:
        x = torch.zeros(4, requires_grad=True)
        diff_kendall(x, torch.arange(4.0), denominator=denominator).backward()
        assert x.grad is not None
        assert x.grad.argsort().tolist() == [3, 2, 1, 0]  # a step against it raises the best


@given(
    x=arrays(np.float64, st.integers(2, 9), elements=st.integers(-50, 50)),
    scale=st.sampled_from([1e-6, 0.5, 1e5]),
    form=st.sampled_from(list(FORMS)),
)
def test_relative_slopes_see_no_unit(x: np.ndarray, scale: float, form: str) -> None:
    predictions = torch.tensor(x)
    targets = torch.arange(float(len(x))).flip(0).square()
    value = smoothed_kendall(predictions, targets, form=form, relative=True)
    scaled = smoothed_kendall(scale * predictions, targets / scale, form=form, relative=True)
    assert torch.allclose(value, scaled, atol=1e-6)


def test_a_middling_pair_is_as_steep_as_the_slope_says() -> None:
    x = torch.tensor([0.0, 1.0, 4.0, 9.0])
    gaps = sorted(abs(a - b) for i, a in enumerate(x.tolist()) for b in x.tolist()[:i])
    assert pairs.median_gap(x) == gaps[2]
    value = smoothed_kendall(x, x, form="hard", slope=3.0, relative=True).item()
    assert value == pytest.approx(np.mean(np.tanh(1.5 * np.array(gaps) / gaps[2])))
    many = torch.randn(3000, generator=torch.Generator().manual_seed(0))
    assert pairs.median_gap(many) == pytest.approx(0.6745 * 2**0.5, rel=0.05)


@pytest.mark.parametrize("targets", [[1.0, 1.0, 2.0], [0.0, 1e-30, 1.0], [0.0, 1e-30, 2e-30]])
@pytest.mark.parametrize("predictions", [[0.0, 0.0, 0.0], [0.0, 1e-35, 1.0], [1e-35, 2e-35, 0.0]])
@pytest.mark.parametrize("form", list(FORMS))
def test_relative_slopes_stay_finite(
    form: str, predictions: list[float], targets: list[float]
) -> None:
    x = torch.tensor(predictions, requires_grad=True)
    value = smoothed_kendall(x, torch.tensor(targets), form=form, relative=True)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
