"""Metrics against scipy and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import ndcg_score

from archrank import metrics
from archrank.errors import InputError
from archrank.metrics import (
    kendall,
    ndcg,
    partial_kendall,
    partial_spearman,
    precision_at,
    regret,
    relative_improvement,
    residual_rank,
    spearman,
)

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


@pytest.mark.parametrize(
    "metric",
    [kendall, spearman, residual_rank, ndcg, precision_at, regret, relative_improvement],
)
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


# --- the best-scored ------------------------------------------------------------------------------

few = st.lists(st.integers(0, 3), min_size=2, max_size=5)


def over_all_tie_breaks(scores, figure) -> float:
    """Return the mean of ``figure(order)`` over all orders, best first, that the scores allow."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return float(np.mean([figure(order) for order in orders]))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_ties_count_as_the_mean_over_all_ways_to_break_them(data: st.DataObject) -> None:
    scores = data.draw(few)
    truth = np.array(
        data.draw(st.lists(st.integers(1, 4), min_size=len(scores), max_size=len(scores))), float
    )
    k = data.draw(st.integers(1, 6))
    assert regret(scores, truth, k) == pytest.approx(
        over_all_tie_breaks(scores, lambda order: truth.max() - truth[list(order[:k])].max())
    )
    assert relative_improvement(scores, truth, k) == pytest.approx(
        over_all_tie_breaks(
            scores, lambda order: 100 * (truth[list(order[:k])].mean() / truth.mean() - 1)
        )
    )
    share = data.draw(st.sampled_from([0.05, 0.4, 0.75, 1.0]))
    count = max(1, round(share * len(scores)))
    assert precision_at(scores, truth, share) == pytest.approx(
        over_all_tie_breaks(
            scores,
            lambda order: over_all_tie_breaks(
                truth, lambda best: len({*order[:count]} & {*best[:count]}) / count
            ),
        )
    )


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_ndcg_is_sklearns_with_gennapes_gain(data: st.DataObject) -> None:
    scores = data.draw(numbers)
    truth = np.array(
        data.draw(st.lists(st.floats(-5, 5), min_size=len(scores), max_size=len(scores)))
    )
    k = data.draw(st.integers(1, 12))
    if np.ptp(truth) < 1e-6:
        return
    gain = 20 * (truth - truth.min()) / np.ptp(truth)
    assert ndcg(scores, truth, k) == pytest.approx(ndcg_score([gain], [scores], k=k))


@given(numbers, st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_the_truth_itself_is_ideal(truth: list[int], k: int) -> None:
    assert regret(truth, truth, k) == 0
    if len(set(truth)) > 1:
        assert precision_at(sorted(set(truth)), sorted(set(truth)), 0.3) == 1
        assert ndcg(truth, truth, k) == pytest.approx(1)
        shuffled = np.random.default_rng(0).permutation(len(truth))
        assert ndcg(shuffled, truth, k) <= 1 + 1e-12
        lifted = np.array(truth) + 10.0
        best, other = (relative_improvement(s, lifted, k) for s in (lifted, shuffled))
        assert best >= other - 1e-9
        # Only the order of the scores counts.
        assert regret(np.exp(shuffled / 9), truth, k) == regret(shuffled, truth, k)


def test_large_ties_do_not_overflow() -> None:
    truth = np.arange(5000.0)
    assert regret(np.zeros(5000), truth, 500) == pytest.approx(5001 / 501 - 1, abs=1e-6)


def test_relative_improvement_of_negative_labels_is_positive_for_a_good_choice() -> None:
    assert relative_improvement([2, 1], [-1.0, -3.0], k=1) == 50
    assert np.isnan(relative_improvement([2, 1], [-1.0, 1.0], k=1))


def test_constant_truth_has_no_ndcg() -> None:
    assert np.isnan(ndcg([1, 2], [3, 3]))


def test_partial_correlations() -> None:
    generator = np.random.default_rng(0)
    size = generator.normal(size=200)
    scores = size + generator.normal(size=200)
    truth = size + 0.5 * scores + generator.normal(size=200)
    residuals = residual_rank(scores, size), residual_rank(truth, size)
    assert partial_spearman(scores, truth, size) == pytest.approx(np.corrcoef(*residuals)[0, 1])
    r_xy, r_xz, r_yz = (
        stats.kendalltau(*pair).statistic
        for pair in ((scores, truth), (scores, size), (truth, size))
    )
    expected = (r_xy - r_xz * r_yz) / np.sqrt((1 - r_xz**2) * (1 - r_yz**2))
    assert partial_kendall(scores, truth, size) == pytest.approx(expected)
    for partial in (partial_kendall, partial_spearman):
        assert np.isnan(partial(np.exp(size), truth, size))
        with pytest.raises(InputError, match="scores: got shapes"):
            partial(scores, truth, size[:-1])


@pytest.mark.parametrize("metric", [ndcg, regret, relative_improvement])
@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_bad_k_is_named(metric, k) -> None:
    with pytest.raises(InputError, match="k: got"):
        metric([1, 2], [1, 2], k)


def test_bad_share_is_named() -> None:
    with pytest.raises(InputError, match="share: got 5"):
        precision_at([1, 2], [1, 2], 5)
