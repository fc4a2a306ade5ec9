"""The GENNAPE that is shipped: a small part of its recipe, and what comes of the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import archrank
from archrank.predictors import GENNAPE
from archrank.predictors.checks import small_graphs
from archrank.predictors.neural.gennape import MEMBERS
from archrank.predictors.pretrained import family_sources, gennape_recipe
from archrank.predictors.pretrained.families import Family
from archrank.predictors.pretrained.shipped import GENNAPE_WEIGHTS
from archrank.predictors.reading import samples

GRAPHS = small_graphs()


def test_labels_are_means_of_normal_scores_over_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([[3.0, 1.0, np.nan, 2.0], [10.0, 30.0, 20.0, 20.0]])
    made = Family("two tasks", samples(GRAPHS[:4]), labels)
    monkeypatch.setattr(gennape_recipe, "family_of", lambda one, scores: made)
    read, scores = gennape_recipe.labelled(family_sources.source("digits"))
    assert [sample.graph for sample in read] == [GRAPHS[i] for i in (0, 1, 3)]
    sixth = stats.norm.ppf([1 / 6, 3 / 6, 5 / 6])
    assert np.allclose(scores, (sixth[[2, 0, 1]] + sixth[[0, 2, 1]]) / 2)


def test_no_family_has_more_than_its_part() -> None:
    read, scores = gennape_recipe.labelled(replace(family_sources.source("digits"), sample=7))
    assert len(read) == len(scores) == 7
    spaces = {one.space for one in family_sources.SOURCES}
    assert not spaces & set(gennape_recipe.UNLABELLED)


def test_families_of_timm_hold_each_network_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"vit": 9, "effnetish": 8, "tnt": 7}
    rows = [
        (f"{family}{at}@224", family, float(at + better))
        for family, size in sizes.items()
        for at in range(size)
        for better in (0.0, 0.5)
    ]
    checkpoints = pd.DataFrame(rows, columns=["network", "family", "top1"])
    checkpoints[["recipe", "size"]] = ["in1k", 224]
    monkeypatch.setattr(gennape_recipe, "checkpoints", lambda: checkpoints)
    traced = {network: GRAPHS[0] for network, _, _ in rows}
    monkeypatch.setattr(gennape_recipe, "graphs_of", lambda names, *_: traced)
    found = gennape_recipe.families_of_timm(tmp_path)
    assert {name: len(labels) for name, (_, labels) in found.items()} == {
        "timm effnetish": 8,
        "timm vit": 9,
    }
    best = stats.norm.ppf((np.arange(9) + 0.5) / 9)
    assert np.allclose(np.sort(found["timm vit"][1]), best)
    assert [*gennape_recipe.families_of_timm(tmp_path, ["accel_nasbench"])] == ["timm vit"]


@pytest.mark.slow
def test_the_whole_recipe_on_two_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = replace(family_sources.source("digits"), sample=12)
    several = (digits, replace(digits, family="digits again", sample=15))
    monkeypatch.setattr(gennape_recipe, "SOURCES", several)
    monkeypatch.setattr(gennape_recipe, "UNLABELLED", ("hiaml",))
    monkeypatch.setattr(gennape_recipe, "EACH", 8)
    monkeypatch.setattr(gennape_recipe, "families_of_timm", lambda *_: {})
    made = gennape_recipe.make(tmp_path / "weights")
    assert made.families_ == ["digits", "digits again"]
    loaded = archrank.load_predictor(tmp_path / "weights")
    assert np.array_equal(loaded.predict(GRAPHS), made.predict(GRAPHS))
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


class TestShipped:
    def test_it_is_small_and_whole(self) -> None:
        assert sum(file.stat().st_size for file in GENNAPE_WEIGHTS.iterdir()) < 4e6
        shipped = archrank.load_predictor("gennape")
        assert isinstance(shipped, GENNAPE)
        assert shipped.weights_ == dict.fromkeys(MEMBERS, 1 / 6)
        families = set(shipped.families_ or ())
        assert families >= {one.family for one in family_sources.SOURCES}
        assert {f"timm {name}" for name in gennape_recipe.MOBILE_IN_TIMM} <= families

    def test_it_ranks_without_labels_and_each_network_by_itself(self) -> None:
        shipped = archrank.load_predictor("gennape")
        together, std = shipped.predict(GRAPHS, return_std=True)
        assert np.isfinite(together).all()
        assert (std > 0).all()
        assert np.allclose(shipped.predict(GRAPHS[:3]), together[:3], atol=1e-5)

    def test_it_adapts_to_a_few_labels(self) -> None:
        # The smaller the better, which no family taught.
        labels = np.array([-float(np.log(graph.params)) for graph in GRAPHS])
        shipped = archrank.load_predictor("gennape")
        before = shipped.score(GRAPHS, labels)
        adapted = shipped.adapt(GRAPHS[::2], labels[::2], epochs=30)
        assert adapted.score(GRAPHS[1::2], labels[1::2]) > before
        assert adapted.predict(GRAPHS[::2]).mean() == pytest.approx(labels[::2].mean())
