"""Predicted speed: the sum against a loop over operators, learning, intervals, devices, files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import archrank
from archrank.costs import SpeedPredictor, estimate
from archrank.costs.devices import SETTINGS, setting
from archrank.costs.operators.loads import loads
from archrank.costs.operators.roofline import Roofline, rows
from archrank.costs.speed import error_quantiles
from archrank.errors import InputError
from archrank.graphs import Graph
from archrank.metrics import spearman
from archrank.predictors import Sample
from archrank.predictors.checks import small_graphs

STORES = Path(__file__).resolve().parents[2] / "experiments" / "results" / "stores"


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    return small_graphs()


@pytest.fixture(scope="module")
def speed() -> SpeedPredictor:
    found = archrank.load_predictor("speed")
    assert isinstance(found, SpeedPredictor)
    return found


def shaken(seed: int = 0) -> Roofline:
    """Return a model whose weights are all of a size that matters."""
    torch.manual_seed(seed)
    model = Roofline(2)
    for weights in model.parameters():
        nn.init.normal_(weights, weights.mean().item(), 0.2)
    return model


def test_a_network_is_the_sum_of_its_operators(graphs: list[Graph]) -> None:
    model = shaken()
    networks = [loads(graph) for graph in graphs[:5]]
    batches, settings = [1, 8, 64, 1024, 3], [0, 1, 0, 1, 1]
    whole = model(rows(networks, settings, batches)).exp().detach()
    for total, network, batch, place in zip(whole, networks, batches, settings, strict=True):
        one = model.parts(rows([network], [place], [batch])).detach()
        looped = 0.0
        for part, times in zip(one.tolist(), network.times.tolist(), strict=True):
            looped += times * sum(part)
        assert float(total) == pytest.approx(looped, rel=1e-4)


def test_rows_of_some_networks_are_their_own(graphs: list[Graph]) -> None:
    networks = [loads(graph) for graph in graphs[:6]]
    every = rows(networks, [0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])
    some = [4, 1, 1]
    alone = rows([networks[i] for i in some], some, [i + 1 for i in some])
    for got, wanted in zip(every.of(some), alone, strict=True):
        torch.testing.assert_close(got, wanted)


def test_it_learns_what_a_device_takes(graphs: list[Graph]) -> None:
    """Times of a made-up device: 1e6 multiply-adds and 1e5 elements in a ms, .002 ms a start."""
    samples = [Sample(g, context=(0.0, b)) for g in graphs for b in (1.0, 16.0, 256.0)]
    times = []
    for sample in samples:
        found, batch = loads(sample.graph), sample.context[1]
        work, read, written, weights = (found.counts * found.times[:, None]).sum(axis=0)
        moved = (read + written) * batch + weights
        times.append(work * batch / 1e6 + moved / 1e5 + 0.002 * found.times.sum())
    groups = np.repeat(np.arange(len(graphs)), 3)
    learnt = SpeedPredictor(members=1, epochs=300, folds=0)
    seen = groups % 4 != 2
    learnt.fit([s for s, k in zip(samples, seen, strict=True) if k], np.array(times)[seen])
    said = learnt.predict([s for s, k in zip(samples, seen, strict=True) if not k])
    assert np.median(np.abs(said / np.array(times)[~seen] - 1)) < 0.15


def test_intervals_hold_what_they_say_and_chances_agree(
    speed: SpeedPredictor, graphs: list[Graph]
) -> None:
    there = speed.on("rtx4090", 2**21)  # so small ones are within what was measured
    narrow, wide = there.speed(graphs, 0.5), there.speed(graphs, 0.9)
    assert (wide.low < narrow.low).all()
    assert (narrow.high < wide.high).all()
    np.testing.assert_allclose(narrow.milliseconds, there.predict(graphs))
    np.testing.assert_allclose(wide.parts.sum(axis=1), 1.0, rtol=1e-5)
    for graph, high in zip(graphs[:3], wide.high, strict=False):
        assert there.chance_within([graph], high)[0] == pytest.approx(0.95, abs=0.006)
    assert there.chance_within(graphs, 1e9).min() == 1.0


def test_quantiles_of_errors_hold_in_parts_that_they_were_not_taken_from() -> None:
    draw = np.random.default_rng(0)
    plain_held, held = [], []
    for _ in range(60):
        parts = np.repeat(np.arange(6), 50)
        errors = draw.normal(size=6)[parts] + 0.3 * draw.standard_t(4, size=300)
        new = parts == 5
        ends = error_quantiles(errors[~new], parts[~new])[[10, 190]]
        plain = np.quantile(errors[~new], [0.05, 0.95])
        held.append(((errors[new] >= ends[0]) & (errors[new] <= ends[1])).mean())
        plain_held.append(((errors[new] >= plain[0]) & (errors[new] <= plain[1])).mean())
    assert np.mean(plain_held) < 0.86
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=40), st.integers(1, 5), st.integers(0, 99))
def test_quantiles_of_errors_are_as_wide_as_each_part_needs(
    errors: list[float], parts: int, at: int
) -> None:
    values, part = np.array(errors), np.arange(len(errors)) % parts
    said = error_quantiles(values, part)
    assert (np.diff(said) >= 0).all()
    assert values.min() <= said[0]
    assert said[-1] <= values.max()
    if len(np.unique(part)) < 2:
        np.testing.assert_allclose(said, np.quantile(values, np.linspace(0, 1, 201)))
        return
    needed = []  # of each error how wide an interval of the others holds it, by looking for it
    for value, own in zip(values, part, strict=True):
        quantiles = np.quantile(values[part != own], np.linspace(0, 1, 201))
        below = np.interp(value, quantiles, np.linspace(0, 1, 201))
        needed.append(abs(below - (1 - below)))
    share = np.quantile(needed, 1 - at / 100)
    wanted = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    np.testing.assert_allclose(said[[at, 200 - at]], wanted, atol=1e-9)


def test_errors_are_of_groups_left_out(graphs: list[Graph]) -> None:
    times = [float(graph.flops) for graph in graphs]
    fitted = SpeedPredictor(members=1, epochs=2, folds=4).fit(
        graphs, times, [i % 4 for i in range(16)]
    )
    fold = [i for i in range(16) if i % 4 != 2]
    alone = SpeedPredictor(members=1, epochs=2, folds=0).fit(
        [graphs[i] for i in fold], [times[i] for i in fold]
    )
    out = [i for i in range(16) if i % 4 == 2]
    wanted = np.log(np.array(times)[out] / alone.predict([graphs[i] for i in out]))
    np.testing.assert_allclose(fitted.left_out_[out], wanted, atol=1e-3)


def test_a_larger_network_or_batch_takes_longer(speed: SpeedPredictor) -> None:
    def graph(width: int) -> Graph:
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(8)]
        return archrank.trace(nn.Sequential(nn.Conv2d(3, width, 3), *convs), (3, 64, 64))

    small, large = graph(32), graph(128)
    for one in SETTINGS:
        few, many = speed.on(one.name, 64), speed.on(one.name, 512)
        assert few.predict([small])[0] < few.predict([large])[0]
        assert few.predict([small])[0] < many.predict([small])[0]


def test_what_is_beyond_the_measured_times_is_said(speed: SpeedPredictor) -> None:
    tiny = archrank.trace(nn.Linear(4, 2), (4,))
    there = speed.on("rtx4090", 1)
    said = there.speed([tiny])
    assert said.beyond.tolist() == [True]
    assert said.high[0] == there.ranges_[SETTINGS.index(there.setting), 0]
    assert there.chance_within([tiny], said.high[0] / 2)[0] == 0.5
    assert there.chance_within([tiny], said.high[0] * 2)[0] == 1.0


def test_it_says_what_one_core_was_measured_to_take() -> None:
    pytest.importorskip("timm")
    rows = pd.read_csv(STORES / "measured_processor.csv").query("batch_size == 1")
    some = rows.sort_values("flops").iloc[::40]
    said = estimate(some["name"].tolist(), on=("epyc-1core",), batch_sizes=(1,))
    off = np.abs(np.log(said["ms"].to_numpy() / some["latency_ms"].to_numpy()))
    assert np.median(off) < 0.15
    assert spearman(said["ms"], some["latency_ms"]) > 0.9


def test_a_saved_one_predicts_the_same(
    speed: SpeedPredictor, graphs: list[Graph], tmp_path: Path
) -> None:
    there = speed.on("rtx3090", 32, training=True)
    there.save(tmp_path / "speed")
    back = archrank.load_predictor(tmp_path / "speed")
    assert isinstance(back, SpeedPredictor)
    assert back.setting.name == "rtx3090-train"
    np.testing.assert_array_equal(back.predict(graphs), there.predict(graphs))


def test_settings_are_found_by_device_and_by_name() -> None:
    assert setting("RTX4090").name == "rtx4090"
    assert setting("rtx4090", compiled=True).name == "rtx4090-compiled"
    assert setting("rtx3090", training=True).name == "rtx3090-train"
    with pytest.raises(InputError, match="expected one of rtx3090"):
        setting("gtx1")
    with pytest.raises(InputError, match="was not measured with training=True"):
        setting("rtx4090", training=True)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda speed, graphs: speed.on("rtx4090", 0), "batch_size"),
        (lambda speed, graphs: speed.speed(graphs, 1.0), "level"),
        (lambda speed, graphs: speed.predict([Sample(graphs[0], context=(99.0, 1.0))]), "context"),
        (lambda speed, graphs: SpeedPredictor().fit(graphs, [0.0] * 16), "larger than 0"),
        (lambda speed, graphs: SpeedPredictor().fit(graphs, range(1, 17), [1]), "groups"),
    ],
)
def test_wrong_arguments_are_named(call, said: str, speed: SpeedPredictor, graphs) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=said):
        call(speed, graphs)


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("on purpose")


def test_a_row_per_network_device_and_batch() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    net.train()
    table = estimate(
        {"net": net, "broken": Broken()},
        (3, 32, 32),
        on=("rtx4090", "i9-10940x"),
        batch_sizes=(1, 64),
    )
    assert net.training
    good = table[table["status"] == "ok"]
    assert good["device"].tolist() == ["rtx4090"] * 2 + ["i9-10940x-compiled"] * 2
    np.testing.assert_allclose(
        good["images_per_second"] * good["ms"], 1e3 * good["batch_size"].astype(float)
    )
    (broken,) = table[table["status"] != "ok"].itertuples()
    assert broken.name == "broken"
    assert "on purpose" in broken.reason
    assert all(math.isfinite(ms) for ms in good["ms"])
