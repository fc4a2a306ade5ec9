"""Scores for predictors: the same from any number of processes, kept when killed, never mixed."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from archrank.cli.app import app
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import samples
from archrank.predictors.reading import Reader
from archrank.predictors.scored import read_scored

DIGITS = space("digits")
ARCHS = DIGITS.sample(6, seed=0)
READER = Reader("digits", proxies=("params", "snip"), batch_size=4)


def test_scores_are_those_of_samples(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    found = read_scored(
        READER, ARCHS, kept=tmp_path / "kept", progress=lambda *given: told.append(given)
    )
    expected = samples(ARCHS, space="digits", proxies=READER.proxies, batch_size=4)
    for one, other in zip(found, expected, strict=True):
        assert one.arch == other.arch
        assert one.scores["params"] == other.scores["params"]
        assert one.scores["snip"] == pytest.approx(other.scores["snip"], rel=1e-4)
        assert set(one.node_scores) == set(other.node_scores) == {"params", "snip"}
        np.testing.assert_allclose(one.node_scores["snip"], other.node_scores["snip"], rtol=1e-3)
    assert [(done, total) for done, total, _ in told] == [(i + 1, 6) for i in range(6)]


def test_equal_networks_are_scored_once() -> None:
    told: list[str] = []
    found = read_scored(
        READER, [ARCHS[0], ARCHS[0]], progress=lambda done, total, arch: told.append(arch)
    )
    assert len(found) == 2
    assert len(told) == 1


@pytest.mark.slow
def test_processes_do_not_matter() -> None:
    alone, shared = (read_scored(READER, ARCHS, jobs=jobs) for jobs in (1, 2))
    assert [s.scores for s in alone] == [s.scores for s in shared]


def test_goes_on_with_what_is_kept(tmp_path: Path) -> None:
    kept, told = tmp_path / "kept", []

    def stop(done: int, total: int, arch: str) -> None:
        told.append(arch)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_scored(READER, ARCHS, kept=kept, progress=stop)
    before = _scores_in(kept)
    assert before == 2 * 2
    again = read_scored(READER, ARCHS, kept=kept)
    assert _scores_in(kept) == 6 * 2
    whole = read_scored(READER, ARCHS)
    for one, other in zip(again, whole, strict=True):
        assert one.scores == other.scores
        assert set(one.node_scores) == set(other.node_scores)
        np.testing.assert_array_equal(one.node_scores["snip"], other.node_scores["snip"])


def _scores_in(path: Path) -> int:
    """How many scores a store holds."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM scores").fetchone()[0])


def scores_if_any(path: Path) -> int:
    """Return the same of a store that may not have its tables yet."""
    with suppress(sqlite3.OperationalError):
        return _scores_in(path)
    return 0


def test_scores_of_something_else_stay_beside(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    read_scored(READER, ARCHS[:1], kept=kept)
    (other,) = read_scored(Reader("digits", proxies=("snip",), seed=1), ARCHS[:1], kept=kept)
    (first,) = read_scored(READER, ARCHS[:1], kept=kept)
    assert first.scores["snip"] != other.scores["snip"]
    kept.unlink()
    kept.write_text("name,value\na,1\n")
    with pytest.raises(InputError, match="cannot be opened as a store"):
        read_scored(READER, ARCHS, kept=kept)
    assert kept.read_text() == "name,value\na,1\n"


@pytest.mark.slow
def test_fit_goes_on_after_kill(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    archs = DIGITS.sample(12, seed=1)
    sizes = [DIGITS.graph(arch).params for arch in archs]
    pd.DataFrame({"arch": archs, "label": sizes}).to_csv(labels, index=False)

    def command(out: Path) -> list[str]:
        asked = ["--labels", labels, "--space", "digits", "--proxies", "params,snip", "--out", out]
        return ["fit", *map(str, asked), "--json"]

    kept, out = tmp_path / "model.scores", tmp_path / "model"
    words = [sys.executable, "-m", "archrank.cli.app", *command(out), "--jobs", "2"]
    running = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (kept.exists() and scores_if_any(kept) > 3 * 2):
        assert running.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline, "no scores within two minutes"
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not out.exists()
    finished = _scores_in(kept) // 2
    again = CliRunner().invoke(app, command(out))
    assert again.exit_code == 0, again.stderr
    assert again.stderr.count("/12 ") == 12
    assert finished > 3
    assert not kept.exists()
    straight = CliRunner().invoke(app, command(tmp_path / "b"))
    assert json.loads(again.stdout) == json.loads(straight.stdout)
