"""Architectures as arrays, and predictors inside scikit-learn's tools."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import StackingRegressor
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as PlainRidge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import RandomForest, Ridge
from archrank.search import ChoiceRegressor, Choices, GraphColumns, Surrogate

SIZES = space("nats_sss")
ARCHS = SIZES.sample(60, seed=0)
LABELS = np.array([float(sum(map(int, arch.split(":")))) for arch in ARCHS])
ROWS = np.array([Choices(SIZES).positions(arch) for arch in ARCHS])


@pytest.mark.parametrize(
    "name", ["nats_sss", "nasbench201", "digits", "mnasnet", "nasbench_macro", "flexibert"]
)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_positions_and_back(name, seed):
    choices, place = Choices(name), space(name)
    arch = place.normalise(place.draw(random.Random(seed)))
    positions = choices.positions(arch)
    assert ((positions >= 0) & (positions < choices.counts)).all()
    assert choices.arch(positions) == arch
    active = choices.active_positions(arch)
    assert ((active >= 0) == np.array(place.active(place.values(arch)))).all()


def test_every_row_within_bounds_is_an_architecture():
    choices, rng = Choices("digits"), np.random.default_rng(0)
    for row in rng.integers(0, choices.counts, (50, len(choices.counts))):
        assert choices.arch(row) in choices.space


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 0, 0], "got shape"),
        ([0, 0, 0, 0, 8], "channels4 is 8, expected a whole number from 0 to 7"),
        ([0, -1, 0, 0, 0], "channels1 is -1"),
        ([0.5, 0, 0, 0, 0], "channels0 is 0.5"),
        ([np.nan, 0, 0, 0, 0], "channels0 is nan"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_refuses_other_rows(row, message):
    with pytest.raises(InputError, match=message):
        Choices(SIZES).arch(row)


def test_cross_validation_of_architectures():
    scores = cross_val_score(Ridge(("code",), space="nats_sss"), ARCHS, LABELS, cv=3)
    assert scores.min() > 0.7  # tau, each predictor's own score


def test_grid_search_over_a_predictors_settings():
    search = GridSearchCV(
        RandomForest(("code",), trees=20, space="nats_sss"), {"extra": [False, True]}, cv=3
    ).fit(ARCHS, LABELS)
    assert search.best_score_ > 0.4
    assert len(search.predict(ARCHS[:5])) == 5


def test_stacking_over_feature_arrays():
    ours = ChoiceRegressor(Surrogate(("code",), space="nats_sss"), "nats_sss")
    plain = make_pipeline(OneHotEncoder(handle_unknown="ignore"), PlainRidge())
    stack = StackingRegressor(
        [("ours", ours), ("plain", plain)], LinearRegression(), cv=3, passthrough=True
    ).fit(ROWS[:45], LABELS[:45])
    assert np.corrcoef(stack.predict(ROWS[45:]), LABELS[45:])[0, 1] > 0.9
    assert cross_val_score(stack, ROWS, LABELS, cv=3).min() > 0.7


def test_stacking_over_architectures():
    stack = StackingRegressor(
        [("ridge", Ridge(("code",), space="nats_sss")),
         ("process", Surrogate(("code",), space="nats_sss"))],
        LinearRegression(),
        cv=3,
    ).fit(ARCHS[:45], LABELS[:45])  # fmt: skip
    assert np.corrcoef(stack.predict(ARCHS[45:]), LABELS[45:])[0, 1] > 0.9


def test_other_tools_for_arrays():
    regressor = clone(ChoiceRegressor(Ridge(("code",), space="nats_sss"), "nats_sss"))
    regressor.fit(ROWS, LABELS)
    importance = permutation_importance(regressor, ROWS, LABELS, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (5,)
    assert (importance.importances_mean > 0).all()
    search = GridSearchCV(
        ChoiceRegressor(Ridge(space="nats_sss"), "nats_sss"),
        {"predictor__parts": [("code",), ("statistics",)]},
        cv=3,
    ).fit(ROWS[:20], LABELS[:20])
    assert search.best_params_["predictor__parts"] in [("code",), ("statistics",)]


def test_columns_of_graphs_feed_any_regressor():
    pipeline = make_pipeline(GraphColumns(("statistics",), space="nats_sss"), PlainRidge(10.0))
    scores = cross_val_score(pipeline, ARCHS[:30], LABELS[:30], cv=3)
    assert scores.mean() > 0.5
    columns = clone(pipeline[0]).fit(ARCHS[:10])
    assert columns.transform(ARCHS[10:13]).shape[0] == 3
