"""Noise of labels apart from ignorance, both as large as they are; files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import GraphEmbedding, HeteroscedasticNetwork
from archrank.predictors.checks import small_graphs

GRAPHS = small_graphs()
LABELS = [float(np.log(graph.params)) for graph in GRAPHS]


def test_noise_and_ignorance_come_apart() -> None:
    """Noise where the first column is positive; no labels beyond 1."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (400, 2))
    noise = np.where(rows[:, 0] > 0, 0.8, 0.1)
    labels = rows[:, 1] + noise * rng.normal(size=400)
    network = HeteroscedasticNetwork(None, ("code",))
    network.fit_matrix(rows, labels)
    asked = rng.uniform(-0.9, 0.9, (300, 2))
    quiet = asked[:, 0] < -0.2
    loud = asked[:, 0] > 0.2
    _, aleatoric, epistemic = network._moments(asked)
    assert aleatoric[loud].mean() == pytest.approx(0.8, rel=0.35)
    assert aleatoric[quiet].mean() < 0.5 * aleatoric[loud].mean()
    beyond = network._moments(np.array([[4.0, 4.0], [-4.0, 4.0], [4.0, -4.0]]))[2]
    assert beyond.min() > 2 * epistemic.mean()


def test_more_labels_take_ignorance_away_and_leave_noise() -> None:
    rng = np.random.default_rng(1)
    rows = rng.uniform(-1, 1, (600, 3))
    labels = rows.sum(axis=1) + 0.5 * rng.normal(size=600)
    parts = {}
    for count in (30, 600):
        network = HeteroscedasticNetwork(None, ("code",))
        network.fit_matrix(rows[:count], labels[:count])
        _, aleatoric, epistemic = network._moments(rows)
        parts[count] = aleatoric.mean(), epistemic.mean()
    assert parts[600][1] < 0.6 * parts[30][1]
    assert parts[600][0] == pytest.approx(0.5, rel=0.2)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(700, 6))
    truth = rows[:, 0] + np.sin(2 * rows[:, 1]) + 0.3 * rng.normal(size=700)
    network = HeteroscedasticNetwork(None, ("code",))
    network.fit_matrix(rows[:80], truth[:80])
    mean, std = network.predict_matrix(rows[80:])
    assert 0.8 < (np.abs(truth[80:] - mean) < 1.645 * std).mean() < 0.97


def test_parts_add_up_to_the_total_in_units_of_labels() -> None:
    network = HeteroscedasticNetwork(steps=20).fit(GRAPHS, LABELS)
    mean, std = network.predict(GRAPHS, return_std=True)
    apart = network.predict_apart(GRAPHS)
    assert np.allclose(apart.mean, mean)
    assert np.allclose(np.hypot(apart.aleatoric, apart.epistemic), std)
    scaled = HeteroscedasticNetwork(steps=20).fit(GRAPHS, 10.0 * np.array(LABELS) + 3.0)
    assert np.allclose(scaled.predict_apart(GRAPHS).epistemic, 10.0 * apart.epistemic)


def test_constant_labels_have_no_deviation() -> None:
    network = HeteroscedasticNetwork(steps=5).fit(GRAPHS, np.full(16, 2.0))
    mean, aleatoric, epistemic = network.predict_apart(GRAPHS)
    assert (mean == 2.0).all()
    assert not aleatoric.any()
    assert not epistemic.any()
    fitted = HeteroscedasticNetwork(steps=5).fit(GRAPHS, LABELS)
    assert [len(part) for part in fitted.predict_apart([])] == [0, 0, 0]


def test_moments_are_differentiable_by_rows() -> None:
    network = HeteroscedasticNetwork(None, ("code",), steps=20)
    rng = np.random.default_rng(0)
    network.fit_matrix(rng.normal(size=(30, 4)), rng.normal(size=30))
    rows = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network.moments, rows)
    assert torch.autograd.gradgradcheck(lambda at: network.moments(at)[0], rows, atol=1e-4)


@pytest.mark.parametrize("distance", ["edit", "spectral"])
def test_embeddings_are_saved(distance: str, tmp_path: Path) -> None:
    embedding = GraphEmbedding(distance, dimensions=3, landmarks=6)
    network = HeteroscedasticNetwork(embedding, ("statistics",), steps=20).fit(GRAPHS, LABELS)
    network.save(tmp_path / "network")
    loaded = HeteroscedasticNetwork.load(tmp_path / "network")
    for before, after in zip(
        network.predict_apart(GRAPHS), loaded.predict_apart(GRAPHS), strict=True
    ):
        np.testing.assert_allclose(after, before, rtol=1e-9)
    assert loaded.embedding.get_params() == embedding.get_params()


def test_architectures_and_codes() -> None:
    cells = space("nasbench201")
    archs = cells.sample(40, seed=0)
    labels = np.log([cells.graph(arch).params for arch in archs])
    network = HeteroscedasticNetwork(None, ("code",), space="nasbench201")
    assert network.fit(archs[:30], labels[:30]).score(archs[30:], labels[30:]) > 0.5


def test_what_cannot_be_learnt_is_told() -> None:
    for options, said in (({"embedding": None}, "parts"), ({"members": 1}, "members")):
        with pytest.raises(InputError, match=said):
            HeteroscedasticNetwork(**options).fit(GRAPHS, LABELS)
    with pytest.raises(InputError, match="distance"):
        HeteroscedasticNetwork("hamming").fit(GRAPHS, LABELS)
    with pytest.raises(NotFittedError):
        HeteroscedasticNetwork().predict_apart(GRAPHS)
