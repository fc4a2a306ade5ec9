"""A new device from few measured networks: learning, prior knowledge, limits, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

import archrank
from archrank.costs import DeviceSpeed, SpeedPredictor
from archrank.costs.calibrating import CALIBRATION, calibrated, speed_on
from archrank.costs.devices import SETTINGS
from archrank.costs.grouped_regression import regression
from archrank.costs.operators.loads import CLASSES, loads
from archrank.costs.operators.roofline import processor_times
from archrank.errors import InputError
from archrank.graphs import Graph
from archrank.predictors import Sample

BATCH = 256


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    """Convolutions of several widths and depths, dense and depthwise."""
    found = []
    for width in (32, 64, 96):
        for depth in (2, 4, 8):
            for groups in (1, width):
                convs = [nn.Conv2d(width, width, 3, 1, 1, groups=groups) for _ in range(depth)]
                net = nn.Sequential(nn.Conv2d(3, width, 3), *convs, nn.ReLU())
                found.append(archrank.trace(net, (3, 32, 32)))
    return found


@pytest.fixture(scope="module")
def known() -> SpeedPredictor:
    found = archrank.load_predictor("speed")
    assert isinstance(found, SpeedPredictor)
    return found


def given(graphs: list[Graph]) -> list[Sample]:
    return [Sample(graph, context=(float(BATCH),)) for graph in graphs]


def test_few_measurements_find_a_device_that_is_so_many_times_slower(
    known: SpeedPredictor, graphs: list[Graph]
) -> None:
    times = known.on("rtx4090", BATCH).predict(graphs) * 5
    learnt = DeviceSpeed().fit(given(graphs[::3]), times[::3])
    others = [i for i in range(len(graphs)) if i % 3]
    said = learnt.predict(given([graphs[i] for i in others]))
    assert np.median(np.abs(said / times[others] - 1)) < 0.2
    found = learnt.at(BATCH).speed([graphs[i] for i in others], 0.9)
    assert ((found.low < times[others]) & (times[others] < found.high)).mean() > 0.5


def test_one_measurement_moves_all_alike(known: SpeedPredictor, graphs: list[Graph]) -> None:
    """Nothing but the level can be told from one."""
    mean = np.exp(
        np.mean(
            [
                np.log(known.on(one.name, BATCH).predict(graphs))
                for one in SETTINGS
                if not one.training
            ],
            axis=0,
        )
    )
    learnt = DeviceSpeed().fit(given(graphs[:2]), mean[:2] * [3.0, 3.0001])
    np.testing.assert_allclose(learnt.predict(given(graphs)), 3 * mean, rtol=0.02)


def test_a_device_without_relatives_is_as_full_with_few_as_others_with_many(
    known: SpeedPredictor, graphs: list[Graph]
) -> None:
    """One that takes for a sample what a known one takes for sixteen, ten times over."""
    place = [one.name for one in SETTINGS].index("rtx4090")
    times = known.on("rtx4090", 16).predict(graphs) * 10
    alone = [Sample(graph, context=(1.0,)) for graph in graphs]
    learnt = DeviceSpeed(known, settings=[place]).fit(alone[::3], times[::3])
    assert learnt.ways_[1]["share"] > 0.99
    np.testing.assert_allclose(learnt.predict(alone), times, rtol=0.02)


def test_ways_are_averaged_by_how_likely_they_make_the_measurements(
    known: SpeedPredictor, graphs: list[Graph]
) -> None:
    times = known.on("rtx4090", BATCH).predict(graphs) ** 0.9
    learnt = DeviceSpeed(known, (100.0, 900.0)).fit(given(graphs[::2]), times[::2])
    evidences, said = [], []
    for fuller, processor in ((1.0, False), (16.0, False), (1.0, True)):
        for scaled in (False, True):
            way = {"times": fuller, "scaled": scaled, "processor": processor}
            columns = learnt._columns(given(graphs), way)
            centred = [group - group[::2].mean(axis=0) for group in columns.groups]
            beliefs = (-1.0, -2.0, -1.0) if processor else (-1.0, -1.0, -2.0, -1.0)
            found = regression(
                [group[::2] for group in centred],
                np.log(times[::2]) - columns.mean[::2],
                beliefs,
            )
            evidences.append(found.evidence)
            said.append(columns.mean + found.mean(np.concatenate(centred, axis=1)))
    shares = np.exp(np.array(evidences) - max(evidences))
    wanted = np.exp(shares / shares.sum() @ np.array(said))
    np.testing.assert_allclose(learnt.predict(given(graphs)), wanted, rtol=1e-6)


def test_a_processor_like_none_that_is_known(known: SpeedPredictor, graphs: list[Graph]) -> None:
    """What a roofline says of it, all of it three times as slow."""
    by_class, parts = processor_times([loads(graph) for graph in graphs], [4.0] * len(graphs))
    times = 3 * parts.sum(axis=1)
    samples = [Sample(graph, context=(4.0,)) for graph in graphs]
    learnt = DeviceSpeed(known).fit(samples[::2], times[::2])
    assert learnt.ways_[2]["processor"]
    assert learnt.ways_[2]["share"] > 0.99
    np.testing.assert_allclose(learnt.predict(samples), times, rtol=0.02)
    np.testing.assert_allclose(by_class.sum(axis=1), parts[:, :2].sum(axis=1))


def test_a_processor_takes_for_an_operator_what_its_formula_says() -> None:
    conv = archrank.trace(nn.Conv2d(8, 16, 3, bias=False), (8, 10, 10))
    by_class, parts = processor_times([loads(conv)], [2.0])
    work = 2 * 8 * 16 * 9 * 64 / (0.6 * 1.5e9)
    data = 2 * 4 * (8 * 100 + 16 * 64) / (2 * 94e6) + 4 * 8 * 16 * 9 / (0.65 * 94e6)
    assert by_class[0, CLASSES.index("conv")] == pytest.approx(work + data)
    np.testing.assert_allclose(parts, [[work, data, 0.005]])


def test_intervals_are_as_wide_as_errors_without_each_measurement(
    known: SpeedPredictor, graphs: list[Graph]
) -> None:
    noise = np.exp(0.3 * np.random.default_rng(0).standard_normal(len(graphs)))
    times = known.on("rtx4090", BATCH).predict(graphs) * noise
    measured = given(graphs[:6])
    learnt = DeviceSpeed(known).fit(measured, times[:6])
    off = []
    for out in range(6):
        kept = [i for i in range(6) if i != out]
        other = DeviceSpeed(known).fit([measured[i] for i in kept], times[kept])
        mean, std, _ = other._logs([measured[out]])
        off.append((np.log(times[out]) - mean[0]) / std[0] * other.stretch_)
    assert learnt.stretch_ == pytest.approx(max(1.0, np.sqrt(np.mean(np.square(off)))), rel=1e-6)
    said = learnt.at(BATCH).speed(graphs, 0.9)
    held = (said.low < times) & (times < said.high)
    assert held[6:].mean() > 0.7


def test_a_datasheet_scales_work_and_bytes(known: SpeedPredictor, graphs: list[Graph]) -> None:
    """Of one setting: its own figures change nothing, twice of both halve all but the starts."""
    place = [one.name for one in SETTINGS].index("rtx4090")
    own = SETTINGS[place]
    same, twice = (
        DeviceSpeed.of_datasheet(n * own.teraflops, n * own.gigabytes, known, settings=[place])
        for n in (1, 2)
    )
    there = known.on("rtx4090", BATCH)
    np.testing.assert_allclose(same.at(BATCH).predict(graphs), there.predict(graphs), rtol=1e-5)
    starts = there.speed(graphs).parts[:, 2]
    ratio = twice.at(BATCH).predict(graphs) / there.predict(graphs)
    np.testing.assert_allclose(ratio, (1 - starts) / 2 + starts, rtol=1e-4)


def test_chances_and_intervals_agree(known: SpeedPredictor, graphs: list[Graph]) -> None:
    device = DeviceSpeed.of_datasheet(100.0, 1000.0, known).at(BATCH)
    said = device.speed(graphs, 0.8)
    for graph, high in zip(graphs[:3], said.high, strict=False):
        assert device.chance_within([graph], high)[0] == pytest.approx(0.9)


def test_what_was_measured_becomes_a_saved_device(tmp_path: Path) -> None:
    names = [f"digits:{arch}" for arch in archrank.data.space("digits").sample(4, seed=0)]
    table = pd.DataFrame(
        {
            "name": [*names, "broken"],
            "batch_size": [1, 1, 8, 8, 1],
            "latency_ms": [1.0, 2.0, 3.0, 4.0, np.nan],
            "status": ["ok"] * 4 + ["error"],
        }
    )
    calibrated(table, names).save(tmp_path / "device")
    back = speed_on(str(tmp_path / "device"), 8)
    assert isinstance(back, DeviceSpeed)
    assert (back.batches, back.batch_size) == ((1, 8), 8)
    shown = archrank.costs.estimate(names[:1], on=[str(tmp_path / "device")], batch_sizes=(8,))
    assert shown["status"].tolist() == ["ok"]
    ranking = archrank.rank(names, by="params", latency=tmp_path / "device", costs=["latency"])
    assert (ranking.table["latency_ms"] > 0).all()
    with pytest.raises(InputError, match="compiled"):
        speed_on(str(tmp_path / "device"), compiled=True)


def test_wrong_arguments_are_named(graphs: list[Graph]) -> None:
    with pytest.raises(InputError, match="teraflops"):
        DeviceSpeed.of_datasheet(0.0, 1.0)
    with pytest.raises(InputError, match="measurements"):
        calibrated(pd.DataFrame({"name": ["a"], "status": ["error"]}), {})
    with pytest.raises(InputError, match="batch size"):
        DeviceSpeed().fit([Sample(graphs[0], context=(1.0, 2.0))] * 2, [1.0, 2.0])


def test_the_networks_to_measure_are_named_once() -> None:
    assert len(set(CALIBRATION)) == len(CALIBRATION) == 20
