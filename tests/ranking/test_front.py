"""The front against its definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from archrank.errors import InputError
from archrank.ranking.front import pareto_front

TABLES = st.integers(1, 4).flatmap(
    lambda aims: arrays(
        float,
        st.tuples(st.integers(0, 25), st.just(aims)),
        elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.5, float("nan"), float("inf")]),
    )
)


def by_definition(table: np.ndarray) -> list[bool]:
    present = [row for row in table if not np.isnan(row).any()]
    return [
        not np.isnan(row).any()
        and not any((other <= row).all() and (other < row).any() for other in present)
        for row in table
    ]


@settings(max_examples=300, deadline=None)
@given(table=TABLES)
def test_against_the_definition(table: np.ndarray) -> None:
    assert pareto_front(table).tolist() == by_definition(table)
    assert pareto_front(-table, larger_is_better=True).tolist() == by_definition(table)


@settings(max_examples=50, deadline=None)
@given(table=TABLES, seed=st.integers(0, 9))
def test_order_does_not_matter(table: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(table))
    np.testing.assert_array_equal(pareto_front(table[order]), pareto_front(table)[order])


def test_many() -> None:
    """A hundred thousand in two aims, a few thousand in three."""
    rng = np.random.default_rng(0)
    two = rng.normal(size=(100_000, 2))
    front = two[pareto_front(two)]
    order = np.argsort(front[:, 0])
    assert (np.diff(front[order, 1]) < 0).all()
    # Nothing is left below the steps of the front.
    steps = np.searchsorted(front[order, 0], two[:, 0], side="right")
    reached = np.concatenate([[np.inf], front[order, 1]])[steps]
    assert (two[:, 1] >= reached).all()
    three = rng.normal(size=(3000, 3))
    assert pareto_front(three).tolist() == [
        not ((three <= row).all(axis=1) & (three < row).any(axis=1)).any() for row in three
    ]


def test_shapes() -> None:
    assert pareto_front(np.zeros((0, 2))).shape == (0,)
    with pytest.raises(InputError, match=r"values: got shape \(3,\)"):
        pareto_front([1.0, 2.0, 3.0])
