"""How the shipped predictor is made, on a small part of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

import archrank
from archrank.errors import InputError
from archrank.predictors.features.evidence import PROXIES
from archrank.predictors.pretrained import family_sources, transfer_recipe
from archrank.predictors.pretrained.shipped import WEIGHTS


def test_relatives_are_mutual() -> None:
    for one in family_sources.SOURCES:
        for other in one.relatives:
            assert one.family in family_sources.source(other).relatives
    kept = {one.family for one in family_sources.unrelated("nasbench201")}
    assert not kept & {"nasbench201", "transnas101_micro", "nats_sss"}


def test_an_unknown_family_is_told() -> None:
    with pytest.raises(InputError, match="nats_sss"):
        family_sources.source("nothing")


def test_a_family_is_scored_once(tmp_path) -> None:
    one = replace(family_sources.source("digits"), sample=4)
    done: list[int] = []
    first = transfer_recipe.family_of(one, tmp_path, progress=lambda d, t, n: done.append(d))
    assert done == [1, 2, 3, 4]
    again = transfer_recipe.family_of(one, tmp_path, progress=lambda d, t, n: done.append(d))
    assert len(done) == 4
    assert first.labels.shape == (1, 4)
    assert np.isfinite(first.labels).all()
    assert set(first.samples[0].scores) <= set(PROXIES)
    assert [s.scores for s in first.samples] == [s.scores for s in again.samples]


@pytest.mark.slow
def test_the_whole_recipe_on_two_families(tmp_path, monkeypatch) -> None:
    digits = replace(family_sources.source("digits"), sample=20)
    monkeypatch.setattr(
        transfer_recipe, "SOURCES", (digits, replace(digits, family="digits again", sample=25))
    )
    monkeypatch.setattr(
        transfer_recipe,
        "graphs_of_all_spaces",
        lambda **_: [archrank.data.space("digits").graph(a) for a in _digits(40)],
    )
    made = transfer_recipe.make(
        tmp_path / "weights", tmp_path / "scores", without=(transfer_recipe.ZOO,)
    )
    assert made.reference_["families"] == ["digits", "digits again"]
    loaded = archrank.load_predictor(tmp_path / "weights")
    graphs = [archrank.data.space("digits").graph(arch) for arch in _digits(6)]
    assert loaded.predict(graphs).tolist() == made.predict(graphs).tolist()
    assert not list(tmp_path.glob("*.checkpoint"))


def _digits(count: int) -> list[str]:
    return archrank.data.space("digits").sample(count, seed=0)


def test_the_card_names_the_files_that_are_shipped() -> None:
    card = (WEIGHTS / "card.md").read_text()
    for name in ("predictor.json", "arrays.safetensors"):
        digest = hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest()
        assert re.search(rf"`{name}`[^\n]*{digest}", card), name
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 20e6
    families = archrank.load_predictor().reference_["families"]
    assert all(family in card for family in families)
