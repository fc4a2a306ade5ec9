"""The additive Gaussian process against scikit-learn's, and what it knows of parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

from archrank.data import space
from archrank.predictors import AdditiveProcess, Sample, samples, with_context
from archrank.predictors.checks import small_graphs
from archrank.predictors.tabular.additive import Prior, StretchedTerm, compared, improbability

CELLS = space("nasbench201")


def cells_and_labels(count: int) -> tuple[list[Sample], np.ndarray]:
    cells = samples(CELLS.sample(count, seed=3), space=CELLS)
    return cells, np.array([np.log(1.0 + cell.graph.flops) for cell in cells])


def test_one_part_is_the_process_of_scikit_learn() -> None:
    cells, labels = cells_and_labels(60)
    process = AdditiveProcess(("statistics",)).fit(cells[:40], labels[:40])
    smooth, length, linear, noise = np.exp(process.scales_)
    norm = process.norms_[0]
    kernel = (
        ConstantKernel(smooth) * Matern(length * process.distances_[0], nu=1.5)
        + ConstantKernel(linear / norm) * DotProduct(0.0, "fixed")
        + WhiteKernel(noise)
    )
    reference = GaussianProcessRegressor(kernel, optimizer=None)
    reference.fit(process.matrix_, process.residuals_)
    from archrank.predictors.features.columns import read_columns

    asked = process.features_.transform(read_columns(cells[40:], ("statistics",)))
    mean, std = process.predict_matrix(asked)
    expected, expected_std = reference.predict(asked, return_std=True)
    np.testing.assert_allclose(mean, expected + process.mean_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, expected_std, rtol=1e-4)


def test_the_posterior_is_that_of_scipy_and_the_gradient_its_derivative() -> None:
    rng = np.random.default_rng(0)
    first, second, labels = rng.normal(size=(20, 3)), rng.normal(size=(20, 5)), rng.normal(size=20)
    terms = [StretchedTerm(*compared(rows, rows)) for rows in (first, second)]
    prior = Prior(np.zeros(7), np.full(7, 2.0), np.full(7, -12.0), np.full(7, 12.0))

    def value(scales: np.ndarray) -> float:
        return improbability(scales, terms, labels, prior)[0]

    def gradient(scales: np.ndarray) -> np.ndarray:
        return improbability(scales, terms, labels, prior)[1]

    for scales in rng.normal(size=(5, 7)) / 2:
        by_term = np.exp(scales[:-1]).reshape(3, -1).T
        covariance = sum(term.kernel(own) for term, own in zip(terms, by_term, strict=True))
        covariance += (np.exp(scales[-1]) + 1e-8) * np.eye(20)
        likely = stats.multivariate_normal(cov=covariance).logpdf(labels)
        expected = -likely - 10 * np.log(2 * np.pi) + 0.5 * (scales**2).sum() / 4
        assert value(scales) == pytest.approx(expected, rel=1e-9)
        error = optimize.check_grad(value, gradient, scales)
        assert error < 1e-4 * np.abs(gradient(scales)).max()


def test_a_part_of_noise_costs_little() -> None:
    rng = np.random.default_rng(0)
    cells, labels = cells_and_labels(120)
    blind = [
        Sample(cell.graph, scores={f"noise {i}": float(rng.normal()) for i in range(100)})
        for cell in cells
    ]
    fitted = AdditiveProcess(("statistics", "scores")).fit(blind[:60], labels[:60])
    assert fitted.score(blind[60:], labels[60:]) > 0.8
    (_, smooth_noise), _, (_, linear_noise) = np.exp(fitted.scales_[:-1]).reshape(3, -1)
    assert smooth_noise + linear_noise < 0.3


@pytest.mark.parametrize("parts", [("statistics", "code"), ("edges",), ("scores",)])
def test_parts_without_columns_are_left_out(parts: tuple[str, ...]) -> None:
    """All graphs alike, or no score at all: there is nothing to tell apart, and no error."""
    alike = [Sample(small_graphs()[0], code=np.ones(3, np.float32))] * 6
    fitted = AdditiveProcess(parts).fit(alike, np.arange(6.0))
    np.testing.assert_allclose(fitted.predict(alike), 2.5)


def test_many_labels_are_tuned_on_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from archrank.predictors.tabular import additive

    cells, labels = cells_and_labels(100)
    monkeypatch.setattr(additive, "_MOST_TUNED", 40)
    some = AdditiveProcess().fit(cells[:80], labels[:80])
    again = AdditiveProcess().fit(cells[:80], labels[:80])
    np.testing.assert_array_equal(some.scales_, again.scales_)
    assert len(some.matrix_) == 80
    assert some.score(cells[80:], labels[80:]) > 0.8
    some.save(tmp_path / "process")
    loaded = AdditiveProcess.load(tmp_path / "process")
    np.testing.assert_array_equal(loaded.predict(cells), some.predict(cells))


def in_contexts(cells: list[Sample], labels: np.ndarray, seed: int) -> tuple[list, np.ndarray]:
    """Each cell in one of two contexts: a shared part, and one that only the second has."""
    context = np.random.default_rng(seed).integers(0, 2, len(cells)).astype(float)
    sizes = np.array([np.log(cell.graph.params) for cell in cells])
    joint = (labels - labels.mean()) / labels.std() - context * (sizes - sizes.mean()) + 5 * context
    return with_context(cells, context[:, None]), joint


def test_contexts_share_what_they_have_in_common() -> None:
    cells, labels = cells_and_labels(160)
    given, joint = in_contexts(cells, labels, 0)
    here = [i for i, sample in enumerate(given) if sample.context == (1.0,)]
    known, asked = [i for i in range(80) if i not in here[8:]], [i for i in here if i >= 80]
    parts = ("statistics", "context")
    together = AdditiveProcess(parts).fit([given[i] for i in known], joint[known])
    alone = AdditiveProcess(parts).fit([given[i] for i in here[:8]], joint[here[:8]])
    error = {
        name: np.sqrt(np.mean((fitted.predict([given[i] for i in asked]) - joint[asked]) ** 2))
        for name, fitted in (("together", together), ("alone", alone))
    }
    assert error["together"] < 0.7 * error["alone"]


def test_one_context_is_none() -> None:
    cells, labels = cells_and_labels(40)
    plain = AdditiveProcess(("statistics",)).fit(cells, labels)
    same = with_context(cells, np.ones((40, 2)))
    fitted = AdditiveProcess(("statistics", "context")).fit(same, labels)
    np.testing.assert_allclose(fitted.predict(same), plain.predict(cells))
