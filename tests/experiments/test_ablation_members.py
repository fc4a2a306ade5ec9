"""Members of GENNAPE together and left out: against means written out, and scipy's tau."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import kendalltau

from archrank.predictors import GENNAPE, Pretraining
from archrank.predictors.checks import small_graphs
from archrank.predictors.reading import samples

RNG = np.random.default_rng(0)
TRUTH = RNG.random(30)


@pytest.fixture(scope="module")
def members() -> ModuleType:
    """Return the script's module."""
    return importlib.import_module("ablation_members")


def test_means_and_what_is_left_out(members: ModuleType) -> None:
    names = [name for name in members.ROWS if not name.startswith("all six")]
    scores = {name: RNG.random(30) for name in names}
    weights = {name: float(RNG.random()) for name in names}
    said = {name: members.Voice(scores[name], weights[name]) for name in names}
    found = dict(members.taus(said, TRUTH))
    assert sorted(found) == sorted(members.ROWS)

    def wanted(taking_part: list[str]) -> float:
        total = np.zeros(30)
        for name in taking_part:
            total += weights[name] * scores[name]
        return float(kendalltau(total, TRUTH).statistic)

    for name in names:
        assert found[name] == pytest.approx(kendalltau(scores[name], TRUTH).statistic)
    assert found["all six"] == pytest.approx(wanted(list(members.SIX)))
    for left_out in members.SIX:
        rest = [name for name in members.SIX if name != left_out]
        assert found[f"all six without {left_out}"] == pytest.approx(wanted(rest))
    assert found["all six, DiffKendall"] == pytest.approx(wanted(list(members.SIX_RANKED)))


def test_a_mean_of_all_members_is_what_the_predictor_says(members: ModuleType) -> None:
    graphs = small_graphs()
    labels = np.array([float(np.log(graph.params)) for graph in graphs])
    tiny = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=0).fit(graphs)
    made = GENNAPE(members._HEADS, "flops", loss="mse", pretrained=tiny, clusters=2, epochs=3)
    known = samples(graphs[:10])
    made.fit(known, labels[:10]).adapt(known[:8], labels[7::-1].copy(), epochs=2)
    asked = samples(graphs)
    said = members.voices("transformed", made, asked, known[:8], labels[7::-1])
    mean = members.mixed(said, list(said))
    assert np.corrcoef(mean, made.predict(asked))[0, 1] == pytest.approx(1.0)
    shares = np.array([voice.weight for voice in said.values()])
    assert list(made.weights_.values()) == pytest.approx(list(shares / shares.sum()))


def test_encoders_are_kept_and_untrained_ones_differ_by_seed(
    members: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"options": {"width": 8, "layers": 1}, "projection": 4}
    ways = {"none": Pretraining("gin", **small, epochs=0), "one": Pretraining(**small, epochs=1)}
    monkeypatch.setattr(members, "ENCODERS", ways)
    monkeypatch.setattr(members, "UNLABELLED", ("hiaml",))
    monkeypatch.setattr(members, "FEW_EACH", 6)
    graphs = small_graphs()
    first, second = (members.encoder("none", tmp_path, seed).embed(graphs) for seed in (0, 1))
    assert not np.allclose(first, second)
    assert np.array_equal(members.encoder("none", tmp_path, 0).embed(graphs), first)
    trained = members.encoder("one", tmp_path)
    assert len(trained.history_) == 1
    assert not np.allclose(trained.embed(graphs), first)
