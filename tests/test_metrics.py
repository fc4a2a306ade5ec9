"""Metrics against scipy and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from archrank import metrics
from archrank.errors import InputError
from archrank.metrics import kendall, residual_rank, spearman

numbers = st.lists(st.integers(-5, 5), min_size=3, max_size=30)


def brute_force_tau_b(a: list[int], b: list[int]) -> float:
    concordant = discordant = only_a = only_b = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        x, y = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
        concordant += x * y > 0
        discordant += x * y < 0
        only_a += x == 0 and y != 0
        only_b += y == 0 and x != 0
    moved = concordant + discordant
    return (concordant - discordant) / np.sqrt((moved + only_a) * (moved + only_b))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_kendall_is_tau_b(data: st.DataObject) -> None:
    a = data.draw(numbers)
    b = data.draw(st.lists(st.integers(-5, 5), min_size=len(a), max_size=len(a)))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert kendall(a, b) == pytest.approx(brute_force_tau_b(a, b))
    else:
        assert np.isnan(kendall(a, b))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_spearman_is_scipys(data: st.DataObject) -> None:
    a = data.draw(numbers)
    b = data.draw(st.lists(st.integers(-5, 5), min_size=len(a), max_size=len(a)))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    else:
        assert np.isnan(spearman(a, b))


def test_residuals_give_the_partial_spearman_correlation() -> None:
    generator = np.random.default_rng(0)
    control = generator.normal(size=200)
    scores = control + generator.normal(size=200)
    truth = control + 0.5 * scores + generator.normal(size=200)
    r_xy, r_xz, r_yz = (
        stats.spearmanr(*pair).statistic
        for pair in ((scores, truth), (scores, control), (truth, control))
    )
    partial = (r_xy - r_xz * r_yz) / np.sqrt((1 - r_xz**2) * (1 - r_yz**2))
    ours = np.corrcoef(residual_rank(scores, control), residual_rank(truth, control))[0, 1]
    assert ours == pytest.approx(partial)


def test_residual_ignores_a_monotone_control_entirely() -> None:
    control = np.arange(10.0)
    assert residual_rank(np.exp(control), control) == pytest.approx(np.zeros(10))


def test_residual_of_a_constant_control_is_the_centred_rank() -> None:
    assert residual_rank([3, 1, 2], [7, 7, 7]).tolist() == [1.0, -1.0, 0.0]


@pytest.mark.parametrize("metric", [kendall, spearman, residual_rank])
@pytest.mark.parametrize(
    ("scores", "truth"),
    [([1], [1]), ([1, 2], [1, 2, 3]), ([[1, 2]], [[1, 2]]), ([1, np.nan], [1, 2])],
)
def test_bad_input_is_named(metric, scores, truth) -> None:
    with pytest.raises(InputError, match="scores"):
        metric(scores, truth)


def test_bootstrap_covers_what_scipy_s_does() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    y = x + rng.normal(size=80)
    ours = metrics.bootstrap(metrics.spearman, x, y, seed=0, resamples=2000)
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b: stats.spearmanr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=1,
    ).confidence_interval
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=0.03)
    assert ours == metrics.bootstrap(metrics.spearman, x, y, seed=0, resamples=2000)


def test_bootstrap_of_constants_and_bad_input() -> None:
    low, high = metrics.bootstrap(metrics.kendall, [1, 1, 1], [1, 2, 3], seed=0, resamples=20)
    assert np.isnan(low)
    assert np.isnan(high)
    with pytest.raises(InputError, match="columns: got lengths"):
        metrics.bootstrap(metrics.kendall, [1, 2], [1], seed=0)
    with pytest.raises(InputError, match="level: got 95"):
        metrics.bootstrap(metrics.kendall, [1, 2], [1, 2], seed=0, level=95)
