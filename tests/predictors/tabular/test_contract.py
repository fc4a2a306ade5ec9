"""Learning from some of the architectures that are to be judged."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from archrank.errors import InputError
from archrank.graphs import Graph
from archrank.predictors import Ridge
from archrank.predictors.checks import small_graphs
from archrank.predictors.features.statistics import statistics
from archrank.predictors.tabular.additive import AdditiveProcess
from archrank.predictors.tabular.contract import TabularPredictor
from archrank.predictors.tabular.surrogate import Surrogate


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return small_graphs()


@pytest.mark.parametrize(
    "predictor", [Ridge(("statistics",)), AdditiveProcess(("statistics",)), Surrogate()]
)
def test_all_labelled_is_an_ordinary_fit(graphs: list[Graph], predictor: TabularPredictor) -> None:
    labels = [float(np.log(graph.params)) for graph in graphs]
    ordinary = predictor.fit(graphs, labels).predict(graphs, return_std=True)
    among = predictor.fit_among(graphs, range(len(graphs)), labels)
    for one, other in zip(ordinary, among.predict(graphs, return_std=True), strict=True):
        assert np.array_equal(one, other)


def test_features_are_scaled_by_labelled_and_unlabelled(graphs: list[Graph]) -> None:
    known, labels = [0, 5, 3], np.array([1.0, 3.0, 2.0])
    columns = np.array([statistics(graph) for graph in graphs])
    varied = columns.std(axis=0) > 1e-9
    columns = (columns - columns.mean(axis=0))[:, varied] / columns.std(axis=0)[varied]
    columns = np.clip(columns, -5.0, 5.0)
    targets = (labels - labels.mean()) / labels.std()
    expected = RidgeCV(Ridge().alphas).fit(columns[known], targets).predict(columns)
    ridge = Ridge(("statistics",)).fit_among(graphs, known, labels)
    assert ridge.predict(graphs) == pytest.approx(expected * labels.std() + labels.mean())


def test_what_labelled_ones_share_is_no_reason_to_ignore_it(graphs: list[Graph]) -> None:
    alone = Ridge(("statistics",)).fit([graphs[0], graphs[0]], [1.0, 2.0])
    among = Ridge(("statistics",)).fit_among([graphs[0], *graphs], [0, 1], [1.0, 2.0])
    assert len(alone.features_.names_) == 0
    assert len(among.features_.names_) > 10


def test_constant_labels_are_predicted_and_wrong_ones_refused(graphs: list[Graph]) -> None:
    constant = Ridge(("statistics",)).fit_among(graphs, [1, 2], [4.0, 4.0])
    assert constant.predict(graphs) == pytest.approx(4.0)
    with pytest.raises(InputError, match="y"):
        Ridge(("statistics",)).fit_among(graphs, [1, 2], [4.0])
    with pytest.raises(InputError, match="labelled: got 99"):
        Ridge(("statistics",)).fit_among(graphs, [1, 99], [4.0, 5.0])
