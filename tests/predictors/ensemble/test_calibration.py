"""Intervals and chances from held-out errors, against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import ArchRank, Ridge
from archrank.predictors.ensemble.calibration import Calibration

CELLS = space("nasbench201")


@given(
    st.integers(1, 60),
    st.floats(0.05, 0.95),
    st.floats(0.1, 10.0),
    st.integers(0, 2**32 - 1),
)
def test_enough_held_out_errors_lie_within(n: int, share: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=n), rng.uniform(0.1, 2.0, n)
    labels = mean + scale * std * rng.standard_t(3, n)
    found = Calibration.of(mean, std, labels)
    within = np.abs(labels - mean) <= found.ratio(share) * std * (1 + 1e-12)
    assert within.mean() >= min(share, 1.0) - 1e-9
    assert found.scale > 0


def test_the_order_of_pairs_is_fitted_like_a_probit() -> None:
    rng = np.random.default_rng(0)
    mean = rng.normal(size=120)
    labels = mean + 0.4 * rng.normal(size=120)
    std = np.full(120, 0.4)
    found = Calibration.of(mean, std, labels)
    first, second = np.triu_indices(120, 1)
    steps = (mean[first] - mean[second]) / np.hypot(found.scale * 0.4, found.scale * 0.4)
    won = np.where(labels[first] > labels[second], 1.0, -1.0)

    def unlikeliness(factor: float) -> float:
        return -float(stats.norm.logcdf(factor * won * steps).sum())

    grid = np.linspace(0.1, 5.0, 500)
    assert found.telling == pytest.approx(
        grid[np.argmin([unlikeliness(t) for t in grid])], abs=0.02
    )


def test_chances_are_of_one_or_the_other() -> None:
    rng = np.random.default_rng(1)
    mean, std, others, others_std = rng.normal(size=(4, 50)) ** 2
    known = Calibration(np.ones(1), 1.0, scale=0.7, telling=1.3)
    there = known.better(mean, std, others, others_std)
    back = known.better(others, others_std, mean, std)
    np.testing.assert_allclose(there + back, 1.0)
    assert ((there > 0.5) == (mean > others)).all()
    assert known.better(np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1)).tolist() == [1.0]


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_a_coverage_that_is_none(coverage: float) -> None:
    found = Calibration.of(np.zeros(3), np.ones(3), np.arange(3.0))
    with pytest.raises(InputError, match="coverage: got"):
        found.ratio(coverage)


class TestArchRank:
    archs = CELLS.sample(160, seed=3)

    @pytest.fixture(scope="class")
    def labels(self) -> np.ndarray:
        """FLOPs under a noise that no predictor can know."""
        flops = np.log([CELLS.graph(arch).flops for arch in self.archs])
        return flops + 0.5 * np.random.default_rng(0).normal(size=len(flops))

    @pytest.fixture(scope="class")
    def fitted(self, labels: np.ndarray) -> ArchRank:
        members = {"ridge": Ridge(("statistics",)), "codes": Ridge(("code",))}
        return ArchRank(members=members, space="nasbench201").fit(self.archs[:80], labels[:80])

    def test_intervals_hold_new_labels(self, fitted: ArchRank, labels: np.ndarray) -> None:
        narrow, wide = (fitted.interval(self.archs[80:], c) for c in (0.5, 0.9))
        shares = [
            np.mean((low <= labels[80:]) & (labels[80:] <= high)) for low, high in (narrow, wide)
        ]
        assert 0.35 < shares[0] < 0.65
        assert 0.8 < shares[1] < 0.98
        assert (wide[0] <= narrow[0]).all()
        assert (wide[1] >= narrow[1]).all()

    def test_chances_follow_predictions(self, fitted: ArchRank) -> None:
        first, second = self.archs[80:100], self.archs[100:120]
        chance = fitted.better(first, second)
        assert ((chance > 0.5) == (fitted.predict(first) > fitted.predict(second))).all()
        np.testing.assert_allclose(chance + fitted.better(second, first), 1.0)
        with pytest.raises(InputError, match="others: got 3, expected 20"):
            fitted.better(first, second[:3])

    def test_constant_labels_leave_nothing_to_tell(self) -> None:
        fitted = ArchRank(space="nasbench201").fit(self.archs[:5], np.ones(5))
        low, high = fitted.interval(self.archs[5:8])
        assert low.tolist() == high.tolist() == [1.0] * 3
        assert fitted.better(self.archs[:2], self.archs[2:4]).tolist() == [0.5, 0.5]
        with pytest.raises(InputError, match="coverage: got 2"):
            fitted.interval(self.archs[5:8], 2.0)

    def test_saved_and_read_it_says_the_same(self, fitted: ArchRank, tmp_path) -> None:
        fitted.save(tmp_path / "model")
        read = ArchRank.load(tmp_path / "model")
        for before, after in zip(
            fitted.interval(self.archs[:9]), read.interval(self.archs[:9]), strict=True
        ):
            np.testing.assert_array_equal(before, after)
