"""Bayesian regression on groups: its algebra against scikit-learn, its beliefs against labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from archrank.costs.grouped_regression import _directions, _PosteriorMeans, _scaled, regression


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(0, 12), seed=st.integers(0, 9))
def test_one_draw_is_ridge_regression(rows: int, columns: int, seed: int) -> None:
    """On columns times the prior deviations, the intercept one of them."""
    rng = np.random.default_rng(seed)
    table, target = rng.normal(size=(rows, columns)), rng.normal(size=rows)
    prior, noise = rng.uniform(0.1, 3.0, columns), float(rng.uniform(0.05, 2.0))
    scaled = _scaled(table, prior)
    expected = Ridge(noise, fit_intercept=False, solver="svd").fit(scaled, target).coef_
    found = _PosteriorMeans(table, target).under(prior, noise)
    np.testing.assert_allclose(found, expected * np.sqrt([*prior, 1.0]), atol=1e-8)


@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (9, 4), (6, 6)])
def test_directions_give_the_posterior_covariance(rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    scaled = rng.normal(size=(rows, columns))
    directions, squares = _directions(scaled)
    known = squares / (squares + 0.3)
    expected = np.linalg.inv(scaled.T @ scaled / 0.3 + np.eye(columns))
    covariance = np.eye(columns) - directions.T * known @ directions
    np.testing.assert_allclose(covariance, expected, atol=1e-8)


def test_it_finds_the_group_that_tells() -> None:
    rng = np.random.default_rng(1)
    told, noise = rng.normal(size=(400, 3)), rng.normal(size=(400, 60)) / 60**0.5
    truth = told @ np.array([1.0, -1.0, 0.5]) + 0.1 * rng.normal(size=400)
    learnt = regression([told[:20], noise[:20]], truth[:20])
    mean, std = learnt.predict(np.concatenate([told, noise], axis=1)[20:])
    error = np.abs(mean - truth[20:])
    assert np.sqrt((error**2).mean()) < 0.25  # a ridge on all columns alike has about 1
    assert 0.75 < (error < 1.645 * std).mean() < 1.0


@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_units_do_not_matter(shift: float, scale: float) -> None:
    rng = np.random.default_rng(2)
    table, labels = rng.normal(size=(15, 4)), rng.normal(size=15)
    mean, std = regression([table], labels).predict(table)
    other, other_std = regression([table], labels * scale + shift).predict(table)
    np.testing.assert_allclose(other, mean * scale + shift, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(other_std, std * scale, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_labels_and_no_columns(count: int) -> None:
    labels = np.arange(1.0, count + 1)
    learnt = regression([np.ones((count, 2)), np.zeros((count, 0))], labels)
    mean, std = learnt.predict(np.ones((5, 2)))
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert learnt.predict(np.zeros((0, 2)))[0].shape == (0,)
