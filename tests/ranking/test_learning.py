"""Learning from candidates that were trained, and whom to train first."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import archrank
from archrank.errors import ArchrankWarning, InputError
from archrank.metrics import kendall
from archrank.predictors import Sample
from archrank.ranking.learning import expected, known_slopes, read_measured
from archrank.ranking.shortlist import best_chances


def _network(width: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(width, 10),
    )


WIDTHS = (4, 6, 8, 10, 12, 16, 20, 24)
MODELS = {f"width {w}": _network(w) for w in WIDTHS}


def _labels(names: list[str]) -> dict[str, float]:
    return {name: 70 + 5 * float(np.log(int(name.split()[1]))) for name in names}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [Sample(archrank.trace(model, (3, 8, 8))) for model in MODELS.values()]


def test_scores_are_expected_labels_and_measured_ones_stand() -> None:
    known = _labels(["width 4", "width 12", "width 24"])
    ranking = archrank.rank(MODELS, (3, 8, 8), by="params", measured=known)
    table = ranking.table.set_index("name")
    for name, label in known.items():
        assert table.loc[name, "score"] == table.loc[name, "measured"] == label
        assert table.loc[name, "std_error"] == 0
    others = table.drop(index=list(known))
    assert others["measured"].isna().all()
    assert (others["std_error"] > 0).all()
    truth = pd.Series(_labels(list(table.index)))
    assert kendall(table["score"], truth[table.index]) > 0.8
    assert others["score"].between(70, 95).all()
    assert "measured" in str(ranking)
    assert "params" in ranking.table  # what it was ranked by before


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.floats(0.01, 100))
def test_units_do_not_matter(samples: list[Sample], by: float, plus: float, scale: float) -> None:
    before = np.array(WIDTHS, dtype=float)
    labels = np.where(np.arange(8) % 3 == 0, np.log(before), np.nan)
    slopes = known_slopes(["params"], samples)
    mean, error = expected(before, samples, labels, slopes)
    other, other_error = expected(scale * before - 3, samples, by * labels + plus, slopes)
    np.testing.assert_allclose(other, by * mean + plus, rtol=1e-4, atol=1e-4 * by)
    np.testing.assert_allclose(other_error, by * error, rtol=1e-4)


def test_a_score_that_labels_agree_with_carries_to_the_others(samples: list[Sample]) -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=8)
    same = [samples[0]] * 8  # graphs say nothing
    labels = np.where(np.arange(8) < 5, 3 * before, np.nan)
    mean, _ = expected(before, same, labels, known_slopes(["params"], same))
    assert stats.spearmanr(mean[5:], before[5:]).statistic == pytest.approx(1.0)


def test_the_default_is_trusted_as_far_as_it_was_right_on_such_networks(
    samples: list[Sample],
) -> None:
    def mean(by: str, size: int) -> float:
        large = [Sample(archrank.trace(model, (3, size, size))) for model in MODELS.values()]
        slopes = known_slopes([by], large)
        return float(slopes.slopes @ slopes.weights / slopes.weights.sum())

    assert mean("auto", 96) > 0.85 > mean("auto", 8)
    assert mean("params", 96) == mean("params", 8)


def test_labels_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("name,accuracy,epochs\nwidth 4,70,3\nmodels.py:width 8,80,3\nwidth 4,72,3\n")
    path.write_text(path.read_text() + "width 6,,3\nwidth 6,75,3\n")
    expected = {"width 4": 71.0, "width 6": 75.0, "width 8": 80.0}
    with pytest.warns(ArchrankWarning, match="1 of the 5 rows"):
        assert read_measured(path, list(MODELS)) == expected
    assert read_measured(pd.Series(expected), list(MODELS)) == expected


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"width 4": 1.0, "width 8": 2.0}, "labels of 2 candidates, expected at least 3"),
        ({"width 4": 1.0, "width 8": 1.0, "width 6": 1.0}, "of one value"),
        ({"width4": 1.0}, "did you mean 'width 4'"),
        ({"width 4": float("nan")}, "'width 4' is not a number"),
        ({"width 4": "good"}, "'width 4' is not a number"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from(measured: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        archrank.rank(MODELS, (3, 8, 8), by="params", measured=measured)


def test_a_candidate_beyond_a_limit_may_have_a_label() -> None:
    known = _labels(["width 4", "width 6", "width 8", "width 24"])
    small = archrank.trace(MODELS["width 20"], (3, 8, 8)).params
    ranking = archrank.rank(
        MODELS, (3, 8, 8), by="params", measured=known, limits={"params": small}
    )
    assert ranking.excluded["name"].tolist() == ["width 24"]
    assert len(ranking) == len(MODELS) - 1


def test_chances_against_closed_forms() -> None:
    two = best_chances(np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    assert two[0] == pytest.approx(stats.norm.cdf(1 / 5**0.5), abs=0.01)
    assert two.sum() == pytest.approx(1.0)
    same = best_chances(np.zeros(5), np.ones(5))
    np.testing.assert_allclose(same, 0.2, atol=0.02)
    assert np.isnan(best_chances(np.array([1.0, np.nan]), np.array([np.nan, 1.0]))).all()


def test_whom_to_train_first() -> None:
    known = _labels(["width 4", "width 12", "width 24"])
    models = {**MODELS, "again 20": _network(20)}
    ranking = archrank.rank(models, (3, 8, 8), by="params", measured=known)
    first = ranking.shortlist(4)
    assert len(first) == 4
    assert not set(first["name"]) & set(known)
    assert len({"again 20", "width 20"} & set(first["name"])) == 1  # one network, one training
    assert first["score"].is_monotonic_decreasing
    assert first["chance"].between(0, 1).all()
    assert first["because"].str.len().gt(0).all()
    assert json.loads(ranking.to_json(top=2))["shortlist"][0]["name"] == first["name"][0]


def test_reasons_of_the_default_compare_with_the_other_candidates() -> None:
    first = archrank.rank(MODELS, (3, 8, 8), level="graphs").shortlist(1)
    assert first["because"][0].startswith("high: size +")
    with pytest.raises(InputError, match="count"):
        archrank.rank(MODELS, (3, 8, 8), by="params").shortlist(0)
