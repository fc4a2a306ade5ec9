"""Measuring on this machine: what rows say, what is kept, what fails."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import archrank
from archrank.costs import CostPredictor, OperatorTable
from archrank.costs.measuring import COLUMNS, measure, operator_costs, read_measurements
from archrank.costs.predictor import fit_costs
from archrank.costs.timing import machine
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors.predicting import predict

QUICK = {"device": "cpu", "seconds": 0.005, "threads": 1}
CELLS = space("digits").sample(3, seed=0)


class Sleeper(nn.Module):
    """A forward of at least so many milliseconds."""

    def __init__(self, milliseconds: float):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.milliseconds = milliseconds

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            time.sleep(self.milliseconds / 1e3)
        return self.linear(x)  # type: ignore[no-any-return]


class Broken(nn.Module):
    """Fails on batches larger than 2."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise RuntimeError("too\nmany samples")
        return x + 1


def test_the_median_is_that_of_the_forward() -> None:
    table = measure({"slow": Sleeper(8.0), "quick": Sleeper(0.0)}, (4,), **QUICK)
    slow, quick = table.itertuples(index=False)
    assert 8.0 < slow.latency_ms < 30.0
    assert quick.latency_ms < 4.0
    assert slow.runs >= 5
    assert slow.params == 10
    assert slow.flops == archrank.trace(nn.Linear(4, 2), (4,)).flops
    assert slow.spread_ms >= 0
    assert list(table.columns) == list(COLUMNS)


def test_memory_grows_with_the_batch() -> None:
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
    table = measure({"net": net}, (3, 64, 64), batch_sizes=(1, 16), **QUICK)
    one, many = table["memory_mb"]
    output = 16 * 64 * 64 * 64 * 4 / 1e6
    assert many > output > one


def test_candidates_are_those_of_rank() -> None:
    names = [f"digits:{arch}" for arch in CELLS]
    table = measure(names, batch_sizes=(1, 2), **QUICK)
    assert table["name"].tolist() == [name for name in names for _ in range(2)]
    assert table["batch_size"].tolist() == [1, 2] * 3
    graphs = [space("digits").graph(arch) for arch in CELLS]
    assert table["params"].tolist()[::2] == [graph.params for graph in graphs]
    assert (table["status"] == "ok").all()
    assert (table["threads"] == 1).all()
    assert table["machine"].nunique() == 1


def test_given_tensors_are_repeated_and_cut() -> None:
    sizes = []

    class Two(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            if not x.is_meta:
                sizes.append((len(x), len(mask)))
            return x * mask

    inputs = {"x": torch.randn(3, 4), "mask": torch.ones(3, 1)}
    table = measure({"two": Two()}, inputs, batch_sizes=(2, 7), **QUICK)
    assert set(sizes) == {(2, 2), (7, 7)}
    assert table["input"].tolist() == ["x:4 mask:1"] * 2


def test_what_raises_is_a_row_with_its_reason() -> None:
    def none() -> nn.Module:
        raise ValueError("no such width")

    given = {"broken": Broken(), "none": none, "number": lambda: 3, "well": nn.Linear(4, 2)}
    table = measure(given, (4,), batch_sizes=(1, 4), **QUICK).set_index(["name", "batch_size"])
    assert table.loc[("broken", 1), "status"] == "ok"
    assert table.loc[("broken", 4), "reason"] == "RuntimeError: too many samples"
    assert np.isnan(table.loc[("broken", 4), "latency_ms"])
    assert table.loc[("none", 1), "reason"] == "ValueError: no such width"
    assert "expected a torch.nn.Module" in table.loc[("number", 4), "reason"]
    assert table.loc["well", "status"].tolist() == ["ok", "ok"]


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    out, built = tmp_path / "table.csv", []

    def net() -> nn.Module:
        built.append(1)
        return nn.Linear(4, 2)

    first = measure({"net": net}, (4,), batch_sizes=(1, 2), out=out, **QUICK)
    again = measure({"net": net}, (4,), batch_sizes=(2, 1), out=out, **QUICK)
    assert len(built) == 1
    pd.testing.assert_frame_equal(
        again.sort_values("batch_size", ignore_index=True), first, check_exact=True
    )
    more = measure({"net": net}, (4,), batch_sizes=(1, 3), out=out, **QUICK)
    assert len(built) == 2
    assert more["batch_size"].tolist() == [1, 3]
    pd.testing.assert_frame_equal(read_measurements(out).iloc[:2], first, check_exact=True)
    assert len(out.read_text().splitlines()) == 4
    measure({"net": net}, (4,), out=out, **{**QUICK, "threads": 2})  # another setting
    assert len(read_measurements(out)) == 4


def test_failures_are_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    measure({"net": Broken()}, (4,), batch_sizes=(4,), out=out, **QUICK)
    measure({"net": nn.Linear(4, 2)}, (4,), batch_sizes=(4,), out=out, **QUICK)
    assert len(out.read_text().splitlines()) == 3
    assert read_measurements(out)["status"].tolist() == ["ok"]


def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    measure({"net": nn.Linear(4, 2)}, (4,), batch_sizes=(1, 2), out=out, **QUICK)
    out.write_bytes(out.read_bytes()[:-25])
    assert len(read_measurements(out)) == 1
    table = measure({"net": nn.Linear(4, 2)}, (4,), batch_sizes=(1, 2), out=out, **QUICK)
    assert (table["status"] == "ok").all()
    assert len(read_measurements(out)) == 2


@pytest.mark.slow
def test_killed_and_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``kill -9`` after some rows: they stay, and the same call does the others only."""
    out = tmp_path / "table.csv"
    names = [f"digits:{arch}" for arch in space("digits").sample(12, seed=1)]
    command = [sys.executable, "-m", "archrank.cli.app", "measure", *names, "--device", "cpu"]
    command += ["--seconds", "0.3", "--threads", "1", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if out.exists() and len(out.read_text().splitlines()) > 3:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = read_measurements(out)
    assert 3 <= len(kept) < 12
    with caplog.at_level(logging.INFO, "archrank"):
        measure(names, out=out, **QUICK)
        measure(names, out=out, **QUICK)
    assert caplog.messages == [
        f"continuing: {out} already has the first {len(kept)} of 12 measurements",
        f"nothing left to do: {out} already has all 12 measurements",
    ]
    whole = read_measurements(out)
    assert whole["name"].tolist() == names
    pd.testing.assert_frame_equal(whole.iloc[: len(kept)], kept, check_exact=True)


def test_operators_one_by_one() -> None:
    """Each size once, and what is no module has no entry."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.head = nn.Linear(48, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.a(x) + self.b(x)).flatten(1))  # type: ignore[no-any-return]

    costs = operator_costs({"net": Net()}, (3, 4, 4), **QUICK)
    assert set(costs) == {"conv2d 3x3 3x4x4 to 3x4x4", "linear 48 to 2"}
    assert min(costs.values()) > 0
    graph = archrank.trace(Net(), (3, 4, 4))
    table = OperatorTable.of(costs)
    expected = 2 * costs["conv2d 3x3 3x4x4 to 3x4x4"] + costs["linear 48 to 2"]
    assert table.predict([graph])[0] == pytest.approx(expected)
    assert table.unknown([graph]) == [{"add 3x4x4 to 3x4x4": 1.0}]


def test_models_are_given_back_as_they_were() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure({"net": net}, (4,), **QUICK)
    operator_costs({"net": net}, (4,), **QUICK)
    assert net.training
    assert all(module.training for module in net.modules())
    assert not any(module._forward_pre_hooks for module in net.modules())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_from_measuring_to_a_predictor_of_a_new_device(tmp_path: Path) -> None:
    """Files that ``measure`` writes are what ``fit`` reads, the space's name before architectures
    or not."""
    out = tmp_path / "measured.csv"
    archs = space("digits").sample(14, seed=2)
    measure([f"digits:{arch}" for arch in archs], out=out, **QUICK)
    fitted = fit_costs(out, "digits", column="latency_ms")
    assert isinstance(fitted, CostPredictor)
    assert fitted.n_samples_ == 14
    fitted.save(tmp_path / "here")
    few = tmp_path / "few.csv"
    costs = [3.0 * cost for cost in fitted.predict(archs[:6])]
    pd.DataFrame({"arch": archs[:6], "ms": costs}).to_csv(few, index=False)
    new = fit_costs(few, like=tmp_path / "here")
    assert isinstance(new, CostPredictor)
    assert new.n_samples_ == 6
    np.testing.assert_allclose(new.predict(archs[:6]), costs, rtol=0.3)
    table = predict(new, archs[:4])
    assert table["predicted"].is_monotonic_increasing  # less is better
    with pytest.raises(InputError, match="holds a CostPredictor, expected OperatorTable"):
        OperatorTable.load(tmp_path / "here")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_sizes": ()}, r"batch_sizes: got \(\)"),
        ({"batch_sizes": (0,)}, "batch_sizes"),
        ({"batch_sizes": (1.5,)}, "batch_sizes"),
        ({"seconds": 0.0}, "seconds: got 0.0"),
        ({"threads": 0}, "threads: got 0"),
        ({"device": "abacus"}, "device: 'abacus'"),
    ],
)
def test_wrong_arguments(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        measure({"net": nn.Linear(4, 2)}, (4,), **{**QUICK, **wrong})


def test_a_file_of_something_else(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("name,accuracy\nnet,0.9\n")
    with pytest.raises(InputError, match="holds no measurements"):
        measure({"net": nn.Linear(4, 2)}, (4,), out=other, **QUICK)
    assert other.read_text() == "name,accuracy\nnet,0.9\n"
    other.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        read_measurements(other)
    with pytest.raises(InputError, match="there is no file"):
        read_measurements(tmp_path / "none.csv")


def test_threads_are_set_back() -> None:
    before = torch.get_num_threads()
    measure({"net": nn.Linear(4, 2)}, (4,), **{**QUICK, "threads": 2})
    assert torch.get_num_threads() == before
    assert machine("cpu").endswith("cores")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_cuda() -> None:
    table = measure({"net": nn.Linear(512, 512)}, (512,), device="cuda", seconds=0.05)
    assert table.loc[0, "status"] == "ok"
    assert table.loc[0, "memory_mb"] > 512 * 512 * 4 / 1e6
