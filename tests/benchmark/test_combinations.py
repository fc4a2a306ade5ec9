"""Aggregations of proxies that have seen no label."""

from __future__ import annotations

import numpy as np

from archrank.benchmark.combinations import without_labels
from archrank.predictors.features.evidence import MEASURED
from archrank.predictors.pretrained.reference import Reference
from archrank.predictors.pretrained.shipped import shipped
from archrank.ranking.aggregation import POPULATION


def scores(*names: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=12) for name in names}


def test_the_default_does_without_what_no_network_has() -> None:
    given = scores(*MEASURED)
    given["l_swag"] = np.full(12, np.nan)
    (auto,) = (one for one in without_labels(given) if one.name == "auto")
    table = np.column_stack(list(given.values()))
    expected = Reference.read(shipped().reference_).score(table)
    assert np.isfinite(expected).all()
    assert np.array_equal(auto.columns.ravel(), expected)


def test_what_was_not_scored_leaves_no_default() -> None:
    assert "auto" not in {one.name for one in without_labels(scores(*MEASURED[1:]))}


def test_published_scores_need_all_their_proxies() -> None:
    population = POPULATION["te_nas"]
    given = scores(*population.proxies)
    assert "te_nas" in {one.name for one in without_labels(given)}
    given[population.proxies[0]] = np.full(12, np.nan)
    assert "te_nas" not in {one.name for one in without_labels(given)}
