"""Figures of synthetic stores against scipy and sklearn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401  (before xgboost: two OpenMP runtimes in the other order can clash)
from scipy import stats
from sklearn.metrics import ndcg_score
from stores import COUNT, HOSTILE, LOWER, NAMES, labels, plausible, settings, write

from archrank import metrics
from archrank.benchmark.judging import judge, judge_frame
from archrank.benchmark.page.html import to_html
from archrank.data import table
from archrank.errors import InputError
from archrank.proxies.scores import Result
from archrank.scoring.store import Store
from archrank.scoring.table_runs import sample_of


def test_figures_are_scipys_and_sklearns(plain_store: Path, plain_report) -> None:
    judged = plain_report.runs[0].judged
    truth = labels(settings())
    with Store(plain_store, writable=False) as store:
        frame = store.scores(1, settings().condition)
    size = frame[frame["proxy"] == "params"].groupby("position")["value"].mean().to_numpy()
    for name in NAMES:
        rows = frame[frame["proxy"] == name]
        score = rows.groupby("position")["value"].mean().to_numpy()
        if name == LOWER:
            score = -score
        result = judged[name]
        figures = {key: figure.value for key, figure in result.figures.items()}
        assert figures["tau"] == pytest.approx(stats.kendalltau(score, truth).statistic)
        assert figures["rho"] == pytest.approx(stats.spearmanr(score, truth).statistic)
        gain = truth - truth.min()
        assert figures["ndcg"] == pytest.approx(ndcg_score([gain], [score], k=10))
        best = {*np.argsort(-score)[:4]} & {*np.argsort(-truth)[:4]}
        assert figures["precision"] == len(best) / 4
        top = truth[np.argsort(-score)[:10]]
        assert figures["regret"] == pytest.approx(truth.max() - top.max())
        assert figures["improvement"] == pytest.approx(100 * (top.mean() / truth.mean() - 1))
        if name != "params":
            partial = metrics.partial_kendall(score, truth, size)
            assert figures["partial_tau"] == pytest.approx(partial)
        over = figures["tau"] - metrics.kendall(size, truth)
        assert figures["over_params"] == pytest.approx(over)
        assert result.count == COUNT
        assert result.seconds == pytest.approx(rows["seconds"].median())
        seeds = [rows[rows["seed"] == s].sort_values("position")["value"] for s in (0, 1)]
        taus = [stats.kendalltau(one, truth).statistic for one in seeds]
        assert result.seed_spread == pytest.approx(np.std(taus, ddof=1))
        assert result.between_seeds == pytest.approx(stats.kendalltau(*seeds).statistic)
        assert result.figures["tau"].low < figures["tau"] < result.figures["tau"].high
    assert judged[LOWER].figures["tau"].value > 0.4  # turned round
    assert judged["snip"].figures["tau"].value > judged["zen"].figures["tau"].value


def test_baselines_and_combinations_are_always_there(plain_report) -> None:
    judged = plain_report.runs[0].judged
    names = [result.name for result in judged.results]
    assert len(set(names)) == len(names)
    for name in ("params", "flops", "random", "noise ceiling", "mean rank of all"):
        assert name in names
    assert abs(judged["random"].figures["tau"].value) < 0.1
    assert judged["random"].figures["tau"].low < 0 < judged["random"].figures["tau"].high
    ceiling = judged["noise ceiling"].figures["tau"].value
    assert 0.85 < ceiling < 1
    assert all(
        result.figures["tau"].value <= ceiling
        for result in judged.results
        if result.kind != "ceiling"
    )
    assert judged["ridge, 50 labels"].count == COUNT - 50
    assert "ridge, 100 labels" not in names  # too few to judge on
    assert judged["xgboost, 50 labels"].labels == 50
    assert judged["ridge, 50 labels"].figures["tau"].value > 0.3


def test_greedy_is_judged_on_labels_it_has_not_seen(tmp_path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(COUNT, 12))
    names = ("params", "flops", "snip", "zen", "plain", "fisher", "grasp", "naswot", "swap")
    column = {name: index for index, name in enumerate(names)}
    store = write(tmp_path / "s", lambda p, at, s: noise[at, column[p]], names=names, seeds=1)
    judged = judge(store, resamples=50).runs[0].judged
    greedy = next(v for v in judged.results if v.name.startswith("greedy"))
    # Chosen among nine columns of noise: good on its own folds, worthless on the others.
    assert abs(greedy.figures["tau"].value) < 0.2
    assert judged.greedy.held_out.low < 0.15
    assert sum(judged.greedy.chosen.values()) >= 5
    assert len(judged.greedy.folds) == 5


def test_failing_is_no_advantage(plain_report) -> None:
    judged = plain_report.runs[0].judged
    result = judged["plain"]
    assert (result.failed, result.count) == (COUNT // 5, COUNT - COUNT // 5)
    assert result.figures["tau_failed_last"].value < result.figures["tau"].value
    (failure,) = judged.failures
    assert (failure.proxy, failure.status, failure.count) == ("plain", "error", COUNT // 5)
    assert failure.reason == HOSTILE


def test_a_constant_score_and_one_that_always_fails(tmp_path) -> None:
    good = plausible(settings())

    def fill(proxy: str, at: int, seed: int) -> float | str:
        return {"zen": 3.0, "snip": "no such layer"}.get(proxy, good(proxy, at, seed))

    report = judge(write(tmp_path / "s", fill), resamples=50)
    judged = report.runs[0].judged
    assert np.isnan(judged["zen"].figures["tau"].value)
    assert judged["zen"].figures["improvement"].value == pytest.approx(0)  # as a random choice
    assert (judged["snip"].count, judged["snip"].failed) == (0, COUNT)
    page = to_html(report)
    assert "no such layer" in page
    assert "nan" not in re.sub(r"<script>.*?</script>", "", page).lower().replace("nano", "")
    json.dumps(report.to_dict(), allow_nan=False)


def test_older_versions_and_unknown_proxies_are_judged(tmp_path) -> None:
    store = write(tmp_path / "s", plausible(settings()), names=("params", "gone"))
    with Store(store) as opened:
        rows = [Result("params", 0, 1.0, "ok", None, 0.1, None)]
        opened.add(settings().condition, "digits", sample_of(settings())[0], 0, rows)
    judged = judge(store, resamples=20).runs[0].judged
    assert judged["params"].version == 1
    assert judged["params"].count == COUNT
    assert any("gone is not a proxy of this release" in note for note in judged.notes)


def test_a_run_that_is_not_finished_is_judged_on_what_it_has(tmp_path) -> None:
    frame_store = write(tmp_path / "s", plausible(settings()))
    with Store(frame_store, writable=False) as store:
        frame = store.scores(1, settings().condition)
    truth = table("digits").labels("digits").loc[sample_of(settings())]
    some = judge_frame(frame[frame["position"] < 30], truth, resamples=20)
    assert len(some.truth) == 30
    assert any("50 architectures of the sample have no scores yet" in n for n in some.notes)
    with pytest.raises(InputError, match="5 architectures have scores and a label"):
        judge_frame(frame[frame["position"] < 5], truth)
