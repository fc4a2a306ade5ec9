"""The Gaussian process of searches: its formula, what fades, and what it does not know."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import check_grad

from archrank.data import space
from archrank.metrics import kendall
from archrank.predictors import Sample, check_predictor, samples
from archrank.predictors.features.columns import Columns, Features
from archrank.predictors.tabular import additive as module
from archrank.search import Surrogate

SIZES = space("nats_sss")
ARCHS = SIZES.sample(60, seed=0)
LABELS = np.array([float(sum(map(int, arch.split(":")))) for arch in ARCHS])
READ = samples(ARCHS, space=SIZES)


def test_keeps_the_contract():
    check_predictor(Surrogate())
    check_predictor(Surrogate(("code",)), READ[:20], LABELS[:20])


def fitted_to(rows: np.ndarray, labels: np.ndarray) -> Surrogate:
    """Return a surrogate of codes, fitted to labels as they are."""
    made = Surrogate(("code",))
    made.features_ = Features(("code",)).fit(columns_of(rows))
    made.fit_matrix(made.features_.transform(columns_of(rows)), labels)
    return made


def columns_of(rows: np.ndarray) -> Columns:
    return Columns(len(rows), {"code": rows}, {}, ())


def test_is_the_gaussian_process_of_its_formula():
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((25, 3)), rng.standard_normal(25)
    fitted = fitted_to(rows, labels)
    x, z = (
        fitted.features_.transform(columns_of(some)) for some in (rows, rng.standard_normal((7, 3)))
    )

    def kernel(a, b):
        distance = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2)) / fitted.distances_[0]
        total = np.zeros(distance.shape)
        for name, variance in fitted.variances_.items():
            which = name.split()[1]
            if which == "linear":
                total += variance * (a @ b.T) / fitted.norms_[0]
            else:
                r = 5**0.5 * distance / float(which)
                total += variance * (1 + r + r**2 / 3) * np.exp(-r)
        return total

    inverse = np.linalg.inv(kernel(x, x) + (np.exp(fitted.scales_[-1]) + 1e-8) * np.eye(25))
    mean = kernel(z, x) @ inverse @ (labels - labels.mean()) + labels.mean()
    covariance = kernel(z, z) - kernel(z, x) @ inverse @ kernel(x, z)
    got_mean, got_std = fitted.predict_matrix(z)
    assert got_mean == pytest.approx(mean)
    assert got_std == pytest.approx(np.sqrt(np.diag(covariance)))


def test_variances_are_at_a_maximum(monkeypatch):
    seen = {}
    original = module.optimize.minimize

    def remember(loss, start, arguments, **options):
        seen["loss"] = lambda at: loss(at, *arguments)
        seen["found"] = original(loss, start, arguments, **options)
        return seen["found"]

    monkeypatch.setattr(module.optimize, "minimize", remember)
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((30, 4))
    fitted_to(rows, rows[:, 0] + 0.1 * rng.standard_normal(30))
    loss, at = seen["loss"], seen["found"].x
    for point in (at, at + 0.3):
        error = check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], point)
        assert error < 1e-4 * max(1.0, np.linalg.norm(loss(point)[1]))
    for nudge in np.eye(len(at)) * 0.2:
        assert loss(at)[0] <= min(loss(at + nudge)[0], loss(at - nudge)[0]) + 0.05


def test_what_explains_nothing_fades():
    rng = np.random.default_rng(2)
    useful, useless = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    given = [
        Sample(READ[0].graph, code=code, context=tuple(context))
        for code, context in zip(useful, useless, strict=True)
    ]
    fitted = Surrogate(("code", "context")).fit(given, useful @ [1.0, -1.0, 0.5])
    share = dict.fromkeys(("code", "context"), 0.0)
    for name, variance in fitted.variances_.items():
        share[name.split()[0]] += variance
    assert share["code"] > 10 * share["context"]


def test_deviations_are_true_on_data_of_its_kind():
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(20):
        rows = rng.standard_normal((90, 3))
        covariance = np.exp(-0.5 * ((rows[:, None] - rows[None]) ** 2).sum(2) / 3)
        labels = rng.multivariate_normal(np.zeros(90), covariance)
        given = [Sample(READ[0].graph, code=row) for row in rows]
        fitted = Surrogate(("code",)).fit(given[:40], labels[:40])
        mean, std = fitted.predict(given[40:], return_std=True)
        hits += list(np.abs(labels[40:] - mean) < stats.norm.ppf(0.95) * std)
    assert 0.8 < np.mean(hits) < 0.97


def test_correlations_are_those_of_what_is_not_known():
    fitted = Surrogate(("code",)).fit(READ[:30], LABELS[:30])
    twice = [READ[40], READ[40], READ[41]]
    found = fitted.correlation(twice)
    assert np.diag(found) == pytest.approx(1)
    assert found[0, 1] == pytest.approx(1)
    assert abs(found[0, 2]) < 1
    assert np.linalg.eigvalsh(fitted.correlation(READ[30:])).min() > -1e-6


def test_many_samples_share_variances_of_a_few():
    few = Surrogate(("code",), most=20).fit(READ[:50], LABELS[:50])
    assert len(few.matrix_) == 50
    assert kendall(few.predict(READ[50:]), LABELS[50:]) > 0.6


def test_takes_what_samples_have():
    assert Surrogate().fit(READ[:10], LABELS[:10]).read_parts == ("code", "statistics")
    graphs = [sample.graph for sample in READ]
    assert Surrogate().fit(graphs[:10], LABELS[:10]).read_parts == ("statistics",)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_hardly_any_samples(count):
    fitted = Surrogate().fit(READ[:count], LABELS[:count])
    mean, std = fitted.predict(READ[:5], return_std=True)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()


def test_equal_samples():
    fitted = Surrogate().fit([READ[0]] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert fitted.predict([READ[0]]) == pytest.approx(3.0, abs=1e-3)
