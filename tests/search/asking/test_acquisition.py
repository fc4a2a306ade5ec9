"""What is worth measuring: against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from archrank.errors import InputError
from archrank.search.asking.acquisition import acquire, checked_kind, choose


def test_expected_improvement_is_the_integral():
    mean, std, best = np.array([-1.0, 0.2, 0.5]), np.array([0.5, 1.0, 0.1]), 0.3
    for m, s, value in zip(mean, std, acquire("ei", mean, std, best), strict=True):
        expected, _ = integrate.quad(
            lambda y, m=m, s=s: max(y - best, 0) * stats.norm.pdf(y, m, s), m - 9 * s, m + 9 * s
        )
        assert value == pytest.approx(expected, abs=1e-6)


def test_far_below_the_best_the_likelier_comes_first():
    worth = acquire("ei", np.array([-90.0, -80.0]), np.ones(2), 0.0)
    assert worth[0] < worth[1]
    assert np.isfinite(acquire("ei", np.zeros(2), np.zeros(2), 1.0)).all()


def test_mean_and_bound():
    mean, std = np.array([1.0, 2.0]), np.array([3.0, 0.5])
    assert acquire("mean", mean, std, 0).tolist() == [1, 2]
    assert acquire("ucb", mean, std, 0).tolist() == [4, 2.5]
    with pytest.raises(InputError, match="acquisition: got 'hope'"):
        checked_kind("hope")


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["mean", "ucb", "thompson", "ei"])
def test_chooses_distinct_ones_that_are_not_pending(kind):
    mean, std = RNG.standard_normal(30), RNG.random(30)
    chosen = choose(kind, mean, std, 0.0, 8, np.random.default_rng(0), None, pending=5)
    assert len(set(chosen)) == 8
    assert max(chosen) < 25
    everything = choose(kind, mean, std, 0.0, 99, np.random.default_rng(0), None, pending=5)
    assert sorted(everything) == list(range(25))


@pytest.mark.parametrize("kind", ["ucb", "ei"])
def test_twins_are_not_taken_together(kind):
    mean, std = np.array([1.0, 0.99, 0.7]), np.ones(3)
    alike = np.array([[1.0, 0.999, 0.0], [0.999, 1.0, 0.0], [0.0, 0.0, 1.0]])

    def correlate(some):
        return alike[np.ix_(some, some)]

    rng = np.random.default_rng(0)
    assert choose(kind, mean, std, 1.0, 2, rng, correlate) == [0, 2]
    assert choose(kind, mean, std, 1.0, 2, rng, None) == [0, 1]
    # its twin is being measured
    assert choose(kind, mean[[1, 2, 0]], std, 1.0, 1, rng,
                  lambda some: alike[np.ix_(some, some)][np.ix_([1, 2, 0], [1, 2, 0])],
                  pending=1) == [1]  # fmt: skip


def test_shrinking_is_conditioning():
    mixing = RNG.standard_normal((5, 5))
    covariance = mixing @ mixing.T
    std = np.sqrt(np.diag(covariance))
    together = covariance / np.outer(std, std)
    chosen = choose("ucb", np.zeros(5), std, 0.0, 3, RNG, lambda some: together[np.ix_(some, some)])
    known: list[int] = []
    for i in chosen:  # brute force: condition on all taken so far
        left = covariance.copy()
        if known:
            inverse = np.linalg.inv(covariance[np.ix_(known, known)])
            left = covariance - covariance[:, known] @ inverse @ covariance[known]
        worth = np.sqrt(np.maximum(np.diag(left), 0))
        worth[known] = -1
        assert i == int(np.argmax(worth))
        known.append(i)


def test_thompson_takes_each_as_often_as_it_is_the_best():
    mean, std = np.array([0.0, 0.5]), np.array([1.0, 1.0])
    together = np.array([[1.0, 0.5], [0.5, 1.0]])
    rng = np.random.default_rng(1)
    first = [choose("thompson", mean, std, 0, 1, rng, lambda s: together[np.ix_(s, s)])[0]
             for _ in range(4000)]  # fmt: skip
    chance = stats.norm.cdf(0.5 / np.sqrt(1 + 1 - 2 * 0.5))  # that the second is larger
    assert np.mean(first) == pytest.approx(chance, abs=0.03)
