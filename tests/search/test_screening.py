"""A stream in, its best out: lazily, within a budget."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archrank.data import space
from archrank.errors import InputError
from archrank.search import Screener


def identity(numbers):
    return np.array(numbers, dtype=float)


@given(
    st.lists(st.integers(-9, 9), max_size=40),
    st.floats(0.05, 1.0),
    st.integers(1, 12),
)
def test_lets_the_best_of_each_window_through(numbers, keep, window):
    passed = list(Screener(identity, keep, window).screen(numbers))
    expected = []
    for start in range(0, len(numbers), window):
        part = sorted(numbers[start : start + window], reverse=True)
        expected += part[: int(np.ceil(keep * len(part)))]
    assert passed == expected


def test_draws_nothing_before_it_is_needed():
    drawn = []

    def endless():
        for number in itertools.count():
            drawn.append(number)
            yield number

    stream = Screener(identity, keep=0.5, window=4).screen(endless())
    assert drawn == []
    assert next(stream) == 3
    assert len(drawn) == 4
    assert next(stream) == 2
    assert len(drawn) == 4
    assert next(stream) == 7


def test_what_has_no_score_never_passes():
    screener = Screener(lambda some: [None if n % 2 else n for n in some], keep=1.0, window=3)
    assert list(screener.screen(range(6))) == [2, 0, 4]
    assert (screener.seen, screener.passed, screener.failed) == (6, 3, 3)

    def raises(some):
        if any(n == 1 for n in some):
            raise ZeroDivisionError
        return some

    screener = Screener(raises, keep=1.0, window=3)
    assert list(screener.screen(range(3))) == [2, 0]
    assert screener.failed == 1


def test_a_budget_ends_an_endless_stream():
    def slow(numbers):
        time.sleep(0.002 * len(numbers))
        return identity(numbers)

    screener = Screener(slow, keep=0.1, window=50, seconds=0.3)
    start = time.perf_counter()
    passed = list(screener.screen(itertools.count()))
    assert 0.3 <= time.perf_counter() - start < 1.0
    assert 20 <= screener.seen < 200
    assert passed[0] == min(49, screener.seen - 1)
    assert screener.seen - 1 in passed or screener.seen % 50 == 0  # the window begun leaves too


def test_the_receivers_time_does_not_count():
    screener = Screener(identity, keep=0.5, window=2, seconds=0.2)
    stream = screener.screen(itertools.count())
    next(stream)
    time.sleep(0.3)
    assert next(stream) == 3


def test_best_of_everything():
    screener = Screener(identity, window=7)
    assert screener.best([3, 1, 4, 1, 5, 9, 2, 6], 3) == [9, 6, 5]
    assert screener.best([], 3) == []
    assert screener.best([2], 3) == [2]
    equal = Screener(lambda some: [0.0] * len(some))
    assert equal.best("abc", 2) == ["a", "b"]
    assert Screener(identity, seconds=0.05).best(itertools.count())[0] > 10


def test_names_of_proxies():
    digits = space("digits")
    drawn = digits.sample(10, seed=0)
    best = Screener("flops", window=10, space=digits).best(drawn)[0]
    sizes = {arch: digits.graph(digits.canonical(arch)).flops for arch in drawn}
    assert sizes[best] == max(sizes.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep: got 0"),
        ({"keep": 1.5}, "keep: got"),
        ({"window": 0}, "window: got 0"),
        ({"seconds": 0}, "seconds: got 0"),
    ],
)
def test_refuses_wrong_arguments(options, message):
    with pytest.raises(InputError, match=message):
        Screener(identity, **options)
