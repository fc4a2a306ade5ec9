"""The front against its definition, pair by pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
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


@pytest.mark.parametrize("seed", range(3))
def test_names_of_a_picture_cover_neither_one_another_nor_a_point(seed: int) -> None:
    pytest.importorskip("matplotlib")
    from archrank.ranking.pictures import draw_front, figure_class

    draw = np.random.default_rng(seed)
    values = draw.uniform(0.2, 2.0, 40)
    table = pd.DataFrame(
        {
            "name": [f"a_network_{i}" for i in range(40)],
            "score": 10 * np.sqrt(values) + draw.normal(0, 0.3, 40),
            "latency_ms": values,
        }
    )
    aims = table[["score", "latency_ms"]].to_numpy() * [-1, 1]
    front = table[pareto_front(aims)].sort_values("latency_ms")
    figure = draw_front(table, front, "latency_ms", "", figure_class())
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = [text for text in axes.texts if text.get_text()]  # others are lines to points
    boxes = [text.get_window_extent() for text in names]
    assert [text.get_text() for text in names] == front["name"].tolist()
    points = axes.transData.transform(table[["latency_ms", "score"]].to_numpy())
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])
        assert not any(box.contains(x, y) for x, y in points)


def test_a_front_shows_the_intervals_of_scores_and_latencies() -> None:
    pytest.importorskip("matplotlib")
    from archrank.ranking.pictures import draw_front, figure_class

    ends = {"latency_low_ms": [0.5], "latency_high_ms": [4.0]}
    ends |= {"score_low": [6.0], "score_high": [9.0]}
    front = pd.DataFrame({"name": ["net"], "score": [7.0], "latency_ms": [1.0], **ends})
    figure = draw_front(front, front, "latency_ms", "", figure_class())
    (bars,) = figure.axes[0].containers
    drawn = [lines.get_segments()[0].tolist() for lines in bars[2]]
    assert drawn == [[[0.5, 7.0], [4.0, 7.0]], [[1.0, 6.0], [1.0, 9.0]]]
