"""The predictor that hardly learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archrank.basics import SIZES
from archrank.metrics import kendall
from archrank.predictors import ArchRank, Sample, Vote, samples
from archrank.predictors.checks import small_graphs
from archrank.predictors.features.evidence import AUTO
from archrank.predictors.tabular.untrained import directions
from archrank.proxies import get

GRAPHS = small_graphs()


def scored(values: np.ndarray, name: str) -> list[Sample]:
    given = samples([GRAPHS[0]] * len(values))
    return [replace(s, scores={name: float(v)}) for s, v in zip(given, values, strict=True)]


def test_directions_are_those_that_proxies_declare() -> None:
    known = directions()
    assert set(known) == {*(f"log2 {name}" for name in SIZES), *AUTO}
    for name in AUTO:
        assert (known[name] > 0) == get(name).higher_is_better


@pytest.mark.parametrize("name", AUTO)
def test_orders_by_a_lone_score_in_its_direction(name: str) -> None:
    values = np.random.default_rng(0).normal(size=30)
    oriented = values if get(name).higher_is_better else -values
    predicted = Vote().fit(scored(values, name), oriented).predict(scored(values, name))
    assert kendall(predicted, oriented) == pytest.approx(1.0)


def test_labels_against_it_do_not_turn_it_round() -> None:
    values = np.linspace(0.0, 1.0, 20)
    vote = Vote().fit(scored(values, "synflow"), -values)
    predicted = vote.predict(scored(values, "synflow"))
    assert kendall(predicted, values) == pytest.approx(1.0)
    assert np.ptp(predicted) < 0.01 * np.ptp(values)


def test_what_is_not_known_to_rise_has_no_vote() -> None:
    values = np.linspace(0.0, 1.0, 20)
    vote = Vote(("scores",)).fit(scored(values, "mine"), values)
    assert np.ptp(vote.predict(scored(values, "mine"))) == 0


def test_is_the_mean_of_standardised_logarithms_of_sizes() -> None:
    labels = np.arange(16.0)
    predicted = Vote(("statistics",)).fit(GRAPHS, labels).predict(GRAPHS)
    logs = np.log2([[1 + g.params, 1 + g.flops, 1 + g.activations] for g in GRAPHS])
    votes = ((logs - logs.mean(axis=0)) / logs.std(axis=0)).mean(axis=1)
    slope, intercept = np.polyfit(votes, labels, 1)
    assert slope > 0
    np.testing.assert_allclose(predicted, slope * votes + intercept, atol=1e-6)


def test_archrank_listens_to_it_when_labels_are_few() -> None:
    sizes = np.array([graph.params for graph in GRAPHS], dtype=float)
    fitted = ArchRank().fit(GRAPHS[::4], sizes[::4])
    assert fitted.weights_["vote of sizes"] == pytest.approx(1 / len(fitted.weights_))
    assert fitted.score(GRAPHS, sizes) > 0.5
