"""The command ``archrank costs``, and what ``archrank measure --calibrate`` gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archrank.cli.app import app
from archrank.costs.devices import SETTINGS

MODELS = """
import torch
from torch import nn
INPUT = (3, 32, 32)
def small(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
def large(): return nn.Sequential(nn.Conv2d(3, 128, 3), nn.ReLU(), nn.Conv2d(128, 128, 3))
"""
BROKEN = """
class Broken(nn.Module):
    def forward(self, x): raise RuntimeError("on purpose")
def broken(): return Broken()
"""


@pytest.fixture
def models(tmp_path: Path) -> str:
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return str(path)


def call(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.stdout, result.stderr


def test_a_table_and_what_fits(models: str) -> None:
    code, out, _ = call("costs", models, "--on", "rtx4090,i9-10940x", "--memory", "8GB", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["device"] for row in rows] == ["rtx4090", "i9-10940x-compiled"] * 2
    assert [row["batch_size"] for row in rows] == [64, 1] * 2
    assert all(row["low_ms"] < row["ms"] < row["high_ms"] for row in rows)
    assert rows[2]["largest_batch"] < rows[0]["largest_batch"]


def test_the_table_for_readers_marks_what_is_beyond(models: str) -> None:
    code, out, err = call("costs", models, "--batch", "1")
    assert code == 0
    assert out.splitlines()[1].endswith("small *")
    assert "nothing so quick" in err
    assert len(out.splitlines()) == 1 + 3 * 2


def test_what_cannot_be_traced_is_a_row_and_exit_code_1(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text(MODELS + BROKEN)
    code, out, _ = call("costs", str(path), "--on", "rtx3090", "--training")
    assert code == 1
    assert "on purpose" in out
    assert "rtx3090-train" in out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "CANDIDATES"),
        (("--on", "gtx1"), "device"),
        (("--batch", "many"), "--batch"),
        (("--memory", "much"), "memory"),
        (("--on", "rtx4090", "--training"), "training"),
        (("--confidence", "2"), "level"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...], named: str, models: str) -> None:
    code, _, err = call("costs", *([models] if words else []), *words)
    assert code == 2
    assert named in err


def test_devices_are_listed() -> None:
    code, out, _ = call("costs", "--devices")
    assert code == 0
    assert len(out.splitlines()) == len(SETTINGS)
    assert "timm results/benchmark-infer-amp-nchw-pt291-cu128-4090.csv" in out


def test_a_calibrated_machine_is_a_device(models: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "here")
    words = ("--device", "cpu", "--seconds", "0.01", "--calibrate", folder)
    code, _, err = call("measure", models, *words)
    assert code == 0
    assert f"written: {folder}" in err
    code, out, _ = call("costs", models, "--on", folder, "--json")
    assert code == 0
    small, large = json.loads(out)
    assert small["batch_size"] == 1
    assert 0 < small["ms"] < large["ms"]
