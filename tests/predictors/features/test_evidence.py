"""Scores of populations without labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import archrank
from archrank.predictors.features.evidence import KINDS, MEASURED, Evidence, measurements
from archrank.proxies import get

WIDTH = len(MEASURED)


def tables(rows: int) -> st.SearchStrategy[np.ndarray]:
    values = st.floats(-1e6, 1e6, allow_nan=False) | st.just(np.nan)
    return arrays(np.float64, (rows, WIDTH), elements=values)


def by_hand(table: np.ndarray) -> np.ndarray:
    """The formula of the documentation, for tables without ties or gaps."""
    normal = stats.norm.ppf((stats.rankdata(table, axis=0) - 0.5) / len(table))
    logs = []
    for names in KINDS.values():
        mean = normal[:, [MEASURED.index(name) for name in names]].mean(axis=1)
        logs.append(stats.norm.logcdf((mean - mean.mean()) / mean.std()))
    z = np.mean(logs, axis=0)
    return (z - z.mean()) / z.std()


def test_is_the_documented_formula() -> None:
    table = np.random.default_rng(0).normal(size=(40, WIDTH))
    assert Evidence.of(table).score(table) == pytest.approx(by_hand(table))


@given(tables(7))
@settings(max_examples=60, deadline=None)
def test_scores_are_finite_whatever_is_missing(table: np.ndarray) -> None:
    assert np.isfinite(Evidence.of(table).score(table)).all()


@given(tables(6), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_networks_does_not_matter(table: np.ndarray, random) -> None:
    order = list(range(6))
    random.shuffle(order)
    shuffled = Evidence.of(table[order]).score(table[order])
    assert shuffled == pytest.approx(Evidence.of(table).score(table)[order], abs=1e-6)


def test_more_of_everything_is_better() -> None:
    table = np.cumsum(np.abs(np.random.default_rng(1).normal(size=(20, WIDTH))) + 0.01, axis=0)
    assert (np.diff(Evidence.of(table).score(table)) > 0).all()


def test_one_network_is_judged_by_a_reference_as_it_would_be_in_it() -> None:
    table = np.random.default_rng(2).lognormal(size=(60, WIDTH))
    evidence = Evidence.of(table)
    alone = [evidence.score(row[None])[0] for row in table]
    assert alone == pytest.approx(evidence.score(table).tolist())
    again = Evidence.read(evidence.state())
    assert again.score(table).tolist() == evidence.score(table).tolist()


def test_a_kind_that_fails_everywhere_is_no_evidence() -> None:
    table = np.random.default_rng(3).normal(size=(30, WIDTH))
    table[:, MEASURED.index("az_trainability")] = np.nan
    evidence = Evidence.of(table)
    assert set(evidence.kinds) == set(KINDS) - {"trainability of blocks"}
    table[0, MEASURED.index("az_expressivity")] = np.nan  # failing alone counts against it
    with_value = table.copy()
    with_value[0, MEASURED.index("az_expressivity")] = 0.0
    assert Evidence.of(table).score(table)[0] < Evidence.of(with_value).score(with_value)[0]


def test_nothing_known_is_no_difference() -> None:
    nothing = np.full((4, WIDTH), np.nan)
    assert Evidence.of(nothing).score(nothing).tolist() == [0.0] * 4
    assert Evidence.of(np.ones((1, WIDTH))).score(np.ones((1, WIDTH))).tolist() == [0.0]


def test_proxies_that_fall_with_accuracy_change_sign(monkeypatch) -> None:
    import torch

    graph = archrank.trace(torch.nn.Linear(4, 2), (4,))
    row = dict(zip(MEASURED, measurements(graph, {"near": 2.0}), strict=True))
    assert row["near"] == (2.0 if get("near").higher_is_better else -2.0)
    assert row["params"] == graph.params
    assert np.isnan(row["zico"])
