"""The state of a search: killed, cut off, shared, and on a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_searches
from small_searches import POOL, SIZES, digit_sum, follow, small, total

from archrank.errors import InputError, StoreError
from archrank.search import Searcher
from archrank.search.asking.journal import Journal


def test_a_search_goes_on_exactly(tmp_path: Path):
    whole = follow(small(seed=4), 8)
    path = tmp_path / "state"
    asked = []
    for _ in range(8):
        with small(seed=4, state=path) as searcher:  # every round in a new one
            asked += follow(searcher, 1)
    assert asked == whole
    assert b"pickle" not in path.read_bytes()
    assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())


_SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from small_searches import digit_sum, small

def slow(arch):
    time.sleep(0.02)
    return digit_sum(arch)

with small(seed=5, state={state!r}) as searcher:
    searcher.run(slow, 40, batch=3)
    print([trial.arch for trial in searcher.trials])
"""


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_exactly(tmp_path: Path):
    whole = [trial.arch for trial in small(seed=5).run(digit_sum, 40, batch=3)]
    state = tmp_path / "state"
    code = _SCRIPT.format(tests=str(Path(small_searches.__file__).parent), state=str(state))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.005)
        if state.exists() and state.read_bytes().count(b"\n") >= 30:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert 30 <= state.read_bytes().count(b"\n") < 60
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(whole)


@pytest.mark.parametrize("left", [1, 10, 0.3, 0.5, 0.9, -1])
def test_a_state_that_was_cut_keeps_whole_lines(tmp_path: Path, left):
    path = tmp_path / "state"
    with small(state=path) as searcher:
        follow(searcher, 5)
        trials = list(searcher.trials)
    text = path.read_bytes()
    path.write_bytes(text[: int(left * len(text)) if 0 < left < 1 else left])
    lines = path.read_bytes().count(b"\n")
    with pytest.warns(UserWarning, match="was cut off"):
        searcher = small(state=path)
    with searcher:
        told = [trial for trial in searcher.trials if trial.status == "done"]
        assert told == trials[: len(told)]
        assert len(told) + len(searcher.trials) == max(lines - 1, 0)
        follow(searcher, 1)
    with small(state=path) as searcher:
        assert len(searcher.trials) >= 3


def test_two_processes_on_one_state_are_refused(tmp_path: Path):
    path = tmp_path / "state"
    with small(state=path), pytest.raises(InputError, match="in use by another search"):
        small(state=path)
    fcntl = pytest.importorskip("fcntl")
    holder = f"import fcntl, time; f = open({str(path)!r}, 'a'); fcntl.flock(f, {fcntl.LOCK_EX});"
    code = f"{holder} print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InputError, match="in use by another search"):
            small(state=path)
    finally:
        process.kill()
        process.wait()
    small(state=path).close()


def test_a_state_of_other_settings_or_of_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "state"
    small(state=path).close()
    with pytest.raises(InputError, match="seed 0, here 1"):
        small(state=path, seed=1)
    with pytest.raises(InputError, match="pool"):
        small(state=path, pool=POOL[:50])
    other = tmp_path / "notes"
    for text in ("my notes", "my notes\nand more\n"):
        other.write_text(text)
        with pytest.raises(InputError, match="does not hold a search"):
            small(state=other)
        assert other.read_text() == text
    lines = path.read_text()
    path.write_text(lines + "garbage\n" + '{"ask": "00000000"}\n')
    with pytest.raises(InputError, match=r"line 2 of .* is damaged"):
        small(state=path)
    with pytest.raises(StoreError, match="cannot be opened"):
        small(state=tmp_path)


def test_a_full_disk_loses_nothing(tmp_path: Path):
    path = tmp_path / "state"
    searcher = small(state=path)
    follow(searcher, 1)
    before = path.read_bytes()
    count = len(searcher.trials)

    class Full:
        """A file on a disk with room for ten bytes."""

        def __init__(self, file):
            self._file = file

        def write(self, text):
            return self._file.write(text[:10])

        def __getattr__(self, name):
            return getattr(self._file, name)

    journal = searcher._trials._journal
    journal._file = Full(journal._file)
    with pytest.raises(StoreError, match="cannot be written"):
        searcher.ask(1)
    assert len(searcher.trials) == count
    assert path.read_bytes() == before


def test_tells_do_not_slow_down(tmp_path: Path):
    searcher = Searcher("nats_sss", state=tmp_path / "state")
    seconds = []
    for arch in SIZES.sample(1000, seed=0):
        start = time.perf_counter()
        searcher.tell(arch, total(arch))
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds[-200:]) < 2 * np.median(seconds[:200])


def test_a_journal_hands_back_its_events(tmp_path: Path):
    journal = Journal(tmp_path / "j", {"seed": (1, 2)})
    journal.append({"a": 1}, {"b": [2]})
    journal.close()
    assert Journal(tmp_path / "j", {"seed": (1, 2)}).events == [{"a": 1}, {"b": [2]}]
