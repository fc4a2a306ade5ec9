"""Figures of bootstrap resamples against a loop over the rows drawn."""

from __future__ import annotations

import numpy as np
import pytest

from archrank import metrics
from archrank.benchmark.resampling import FIGURES, Resamples


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("ties", [False, True])
def test_figures_of_resamples_are_those_of_the_rows_drawn(size: int, ties: bool) -> None:
    rng = np.random.default_rng(size)
    truth, control = rng.normal(size=size) + 40, rng.normal(size=size)
    columns = [rng.normal(size=size), -truth, control, (np.arange(size) > size // 2) * 1.0]
    if ties:
        truth, columns = np.round(truth), [np.round(column) for column in columns]
    resamples = Resamples(truth, control, count=25, seed=3, top=4, share=0.2)
    for scores in columns:
        found = resamples.figures(scores)
        assert tuple(found) == FIGURES
        for at, counts in enumerate(resamples.counts):
            rows = np.repeat(np.arange(size), counts.astype(int))
            s, t, c = scores[rows], truth[rows], control[rows]
            expected = (
                metrics.kendall(s, t),
                metrics.spearman(s, t),
                metrics.ndcg(s, t, 4),
                metrics.precision_at(s, t, 0.2),
                metrics.regret(s, t, 4),
                metrics.relative_improvement(s, t, 4),
                metrics.partial_kendall(s, t, c),
                metrics.partial_spearman(s, t, c),
            )
            ours = [found[name][at] for name in FIGURES]
            np.testing.assert_allclose(ours, expected, atol=1e-9, err_msg=f"resample {at}")
        np.testing.assert_allclose(resamples.tau(scores), found["tau"])


def test_missing_scores_leave_the_same_resamples_of_the_others() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.normal(size=50), rng.normal(size=50)
    scores[::4] = np.nan
    resamples = Resamples(truth, None, count=20, seed=0)
    found = resamples.figures(scores)
    for at, counts in enumerate(resamples.counts):
        rows = np.repeat(np.arange(50), counts.astype(int))
        rows = rows[np.isfinite(scores[rows])]
        assert found["tau"][at] == pytest.approx(metrics.kendall(scores[rows], truth[rows]))
    assert np.isnan(found["partial_tau"]).all()
    assert np.isnan(resamples.figures(np.full(50, np.nan))["tau"]).all()


def test_many_architectures_in_blocks_and_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=90)
    scores = truth + rng.normal(size=90)
    whole = Resamples(truth, scores + truth, count=9, seed=0).figures(scores)
    for name, value in (("_BLOCK", 16), ("_CELLS", 300), ("_KEPT", 10)):
        monkeypatch.setattr(f"archrank.benchmark.resampling.{name}", value)
    pieces = Resamples(truth, scores + truth, count=9, seed=0).figures(scores)
    for name in FIGURES:
        np.testing.assert_allclose(pieces[name], whole[name])
