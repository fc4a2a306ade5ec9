"""What is said before long work."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import tiny_networks as nets
from torch import nn

import archrank
from archrank import benchmark
from archrank.scoring import estimates
from archrank.scoring.candidates import collect
from archrank.scoring.data import GivenData
from archrank.scoring.rows import Plan

CELLS = ["nats_sss:8:8:8:8:8", "nats_sss:16:8:8:8:8", "nats_sss:8:16:8:8:8"]


def test_seconds_are_those_of_two_calibrated_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    beside, rate = 0.5, 1e-6
    sizes = {8: 1e6, 64: 5e7}
    monkeypatch.setattr(
        estimates,
        "_calibration",
        lambda width, plan: (sizes[width], beside + rate * sizes[width]),
    )
    candidates = collect([nets.narrow, nets.wide, nets.raises])
    plan = Plan(("snip",), GivenData((3, 8, 8), batch=8), seeds=(0, 1))
    flops = [archrank.trace(net(), (3, 8, 8)).flops for net in (nets.narrow, nets.wide)]
    expected = 6 * (beside + rate * sum(flops) / 2)  # the one that cannot be built counts, too
    assert estimates.seconds_needed(candidates, plan, worth=0) == pytest.approx(expected)
    assert estimates.seconds_needed(candidates, plan) == 0.0  # short: nothing is calibrated
    assert estimates.seconds_needed(candidates, Plan((), plan.data), worth=0) == 0.0


def test_nothing_is_calibrated_for_work_that_takes_little_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimates, "_calibration", lambda width, plan: (width, float(width)))
    plan = Plan(("snip",), GivenData((3, 8, 8), batch=8))
    each = estimates._guessed(archrank.trace(nets.wide(), (3, 8, 8)).flops, 8)
    calibrating = sum(2 * estimates._guessed(estimates._flops(width), 8) for width in (8, 64))
    assert calibrating > 1
    for times, calibrated in ((9.9, False), (10.1, True)):
        candidates = collect([nets.wide] * round(times * calibrating / each))
        assert (estimates.seconds_needed(candidates, plan) > 0) == calibrated


def test_a_calibration_scores_a_real_network() -> None:
    plan = Plan(("snip",), GivenData((3, 8, 8), batch=4))
    flops, seconds = estimates._calibration(8, plan)
    network = [nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8, 8)]
    convolutions = sum(layer.weight.numel() * 32 * 32 for layer in network)
    assert convolutions == estimates._flops(8)
    assert convolutions < flops < 1.2 * convolutions
    assert seconds > 0


def test_the_time_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(estimates, "seconds_needed", lambda candidates, plan: 250.0)
    with caplog.at_level(logging.INFO, "archrank"):
        archrank.rank([nets.narrow, nets.wide], (3, 8, 8), by="snip", batch_size=4, device="cpu")
    assert caplog.messages == ["scoring 2 candidates by 1 proxies on cpu: about 4 min"]


def test_the_time_of_a_benchmark_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(estimates, "seconds_needed", lambda candidates, plan: 250.0)
    store = tmp_path / "run.sqlite"
    with caplog.at_level(logging.INFO, "archrank"):
        for sample in (2, 3, 3):
            benchmark.run(store, "digits", proxies="params", sample=sample, seeds=2)
    first, _, continuing, _, rest = caplog.messages
    pairs = "6 (architecture, seed) pairs"
    assert first == "scoring 2 candidates by 1 proxies on cpu: about 4 min"
    assert continuing == f"continuing: {store} already has the first 2 of {pairs}"
    assert rest == f"nothing left to do: {store} already has all {pairs}"


def test_what_is_kept_already_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "scores.sqlite"
    options = {"by": "snip", "batch_size": 4, "store": store}
    with caplog.at_level(logging.INFO, "archrank"):
        archrank.rank(CELLS[:2], **options)
        assert caplog.messages == []
        archrank.rank(CELLS, **options)
        archrank.rank(CELLS, **options)
    assert caplog.messages == [
        f"continuing: {store} already has the first 2 of 3 candidates",
        f"nothing left to do: {store} already has all 3 candidates",
    ]
