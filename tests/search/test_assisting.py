"""Assisting: k draws, the best of them; what fails loses, nothing is hidden."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archrank import proxies
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import Ridge
from archrank.search import assist
from archrank.search.scoring import scorer

CELLS = space("nasbench201")
DIGITS = space("digits")


def stream(values):
    return iter(values).__next__


@given(st.lists(st.integers(-5, 5), min_size=6, max_size=6), st.integers(1, 6))
def test_returns_the_first_of_the_best_of_k(values, k):
    drawn = list(enumerate(values))
    assisted = assist(stream(drawn), lambda some: [value for _, value in some], k)
    assert assisted() == max(drawn[:k], key=lambda pair: pair[1])


def test_draws_no_more_than_k_and_passes_arguments_on():
    calls = []

    def ask(parent, *, rate):
        calls.append((parent, rate))
        return len(calls)

    assert assist(ask, lambda numbers: numbers, 4)("p", rate=0.5) == 4
    assert calls == [("p", 0.5)] * 4


def test_one_draw_is_not_scored():
    def score(_):
        raise AssertionError

    assert assist(stream([7]), score, 1)() == 7


def test_draws_without_a_score_lose():
    scores = {"a": None, "b": float("nan"), "c": -3.0, "d": float("inf")}
    assisted = assist(stream("abdc"), lambda some: [scores[one] for one in some], 4)
    assert assisted() == "c"


def test_without_any_score_the_first_is_returned():
    assert assist(stream("abc"), lambda some: [np.nan] * len(some), 3)() == "a"


def test_a_draw_that_makes_scoring_raise_loses():
    def score(some):
        if "b" in some:
            raise ZeroDivisionError
        return [ord(one) for one in some]

    assert assist(stream("abc"), score, 3)() == "c"
    assert assist(stream("bac"), score, 2)() == "a"


def test_scoring_that_always_raises_is_no_bad_luck():
    def score(_):
        raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError, match="broken"):
        assist(stream("abc"), score, 3)()


def test_what_ask_raises_goes_through():
    with pytest.raises(StopIteration):
        assist(stream("ab"), lambda some: [0.0] * len(some), 3)()


def test_equal_draws_are_scored_once():
    lengths = []

    def score(some):
        lengths.append(len(some))
        return [0.0] * len(some)

    assist(stream("aabba"), score, 5)()
    assert lengths == [2]
    drawn = [{"layers": 1}, {"layers": 2}]  # dicts, as other people's loops hand round
    best = assist(stream(drawn), lambda some: [one["layers"] for one in some], 2)()
    assert best == {"layers": 2}


@pytest.mark.parametrize("k", [0, -1, 2.5, "3"])
def test_refuses_a_wrong_k(k):
    with pytest.raises(InputError, match="k: got"):
        assist(stream("a"), lambda some: some, k)


@pytest.mark.parametrize("score", [None, 3, [], [3], object()])
def test_refuses_what_cannot_score(score):
    with pytest.raises(InputError, match="score: got"):
        assist(stream("a"), score)


def test_scores_of_another_number_are_refused():
    with pytest.raises(InputError, match="gave shape"):
        assist(stream("abc"), lambda some: [1.0], 3)()


def test_names_of_proxies_need_a_space():
    with pytest.raises(InputError, match="pass the space"):
        assist(stream("a"), "params")
    with pytest.raises(InputError, match="no proxy is called"):
        assist(stream("a"), "parms", space="nasbench201")


def test_proxies_score_networks_of_a_space():
    drawn = DIGITS.sample(6, seed=0)
    sizes = {arch: DIGITS.graph(DIGITS.canonical(arch)).params for arch in drawn}
    largest = max(sizes, key=sizes.__getitem__)
    assert assist(stream(drawn), "params", 6, space="digits")() == largest
    assert assist(stream(drawn), sizes, 6)() == largest


def test_a_proxy_that_falls_with_accuracy_is_turned_round():
    assert not proxies.get("ntk_condition").higher_is_better
    assert scorer("ntk_condition", "digits")(DIGITS.sample(1, seed=0)) < 0


def test_several_proxies_are_the_mean_of_ranks():
    drawn = DIGITS.sample(5, seed=1)
    values = scorer(("params", "flops"), DIGITS)(drawn)
    ranks = []
    for what in ("params", "flops"):
        graphs = [DIGITS.graph(DIGITS.canonical(arch)) for arch in drawn]
        order = np.array([float(getattr(graph, what)) for graph in graphs])
        ranks.append([(order < value).sum() + ((order == value).sum() - 1) / 2 for value in order])
    assert values == pytest.approx(np.mean(ranks, axis=0) / 4)


def test_a_predictor_assists():
    known = CELLS.sample(40, seed=2)
    predictor = Ridge(("code",), space=CELLS)
    predictor.fit(known, [CELLS.graph(arch).params for arch in known])
    rng = random.Random(0)
    plain = [CELLS.graph(CELLS.draw(rng)).params for _ in range(20)]
    draw = assist(lambda: CELLS.draw(rng), predictor, 8)
    assert np.mean([CELLS.graph(draw()).params for _ in range(20)]) > 1.5 * np.mean(plain)
