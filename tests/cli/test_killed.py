"""``kill -9`` of commands at work: the same command goes on from what was finished, and says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from typer.testing import CliRunner, Result

from archrank.cli.app import app
from archrank.errors import InputError, StoreError
from archrank.scoring.store import Store

MODELS = """
from torch import nn
INPUT = (3, 12, 12)
def net(width, depth):
    layers = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
CANDIDATES = {f"net{d}": lambda d=d: net(24, d) for d in range(1, 9)}
"""


# Checkpoints are written every half a minute, of a clock that runs a thousand times as fast.
COMMAND = """
import time, types
from archrank.predictors.neural.learning import run
run.time = types.SimpleNamespace(monotonic=lambda: 1000 * time.monotonic())
from archrank.cli.app import main
main()
"""


def killed(words: list[str], when: Callable[[], bool]) -> None:
    """Start a command and kill it as soon as something holds."""
    running = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not when():
        assert running.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline, "nothing was kept within two minutes"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()


def run(words: list[str]) -> Result:
    """Run a command to its end, in this process."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return result


def graphs_in(store: Path) -> int:
    """Return how many whole candidates a store holds, while another process may write it."""
    if not store.exists():
        return 0
    try:
        with Store(store, writable=False) as opened:
            return int(opened.rows("SELECT COUNT(*) FROM graphs")[0][0])
    except (InputError, StoreError):  # the file is there, its tables are not yet
        return 0


def epochs_in(checkpoint: Path) -> int:
    """Return how many epochs a checkpoint holds."""
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, "pt") as opened:
        return len(json.loads(opened.metadata()["run"])["history"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which commands run, with models and their labels."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    lines = [f"models.py:net{depth},{0.5 + depth / 50}" for depth in range(1, 9)]
    (tmp_path / "labels.csv").write_text("\n".join(["name,accuracy", *lines]))
    return tmp_path


@pytest.mark.slow
def test_fit_keeps_the_scores_of_own_models(folder: Path) -> None:
    words = ["fit", "--labels", "labels.csv", "--proxies", "snip,gradsign", "--out"]
    kept = folder / "model.scores"
    killed([*words, "model"], lambda: graphs_in(kept) >= 3)
    count = graphs_in(kept)
    again = run([*words, "model"])
    said = f"continuing: model.scores already has the first {count} of 8 candidates"
    assert said in again.stderr
    assert not kept.exists()
    assert again.stdout == run([*words, "straight"]).stdout


@pytest.mark.slow
def test_pretrain_goes_on_from_its_checkpoint(folder: Path) -> None:
    words = ["pretrain", "models.py", "--epochs", "20", "--width", "8", "--out"]
    checkpoint = folder / "encoder.checkpoint"
    killed([*words, "encoder"], lambda: epochs_in(checkpoint) >= 2)
    count = epochs_in(checkpoint)
    again = run([*words, "encoder"])
    said = f"continuing: encoder.checkpoint already has the first {count} of 20 epochs"
    assert said in again.stderr
    assert again.stdout == run([*words, "straight"]).stdout
