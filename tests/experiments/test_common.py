"""What experiments share: lines that survive anything, intervals, tables."""

from __future__ import annotations

import json
from pathlib import Path

import common
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

_VALUES = st.floats(-1e3, 1e3)


def test_lines_are_what_was_appended_behind_one_that_was_cut_off(tmp_path: Path) -> None:
    lines = common.Lines(tmp_path / "new" / "x.jsonl")
    assert lines.read() == []
    lines.append({"seed": 0, "tau": np.float64(0.5)})
    with lines.path.open("a") as file:
        file.write('{"seed": 1, "ta')  # killed while it was written
    lines.append({"seed": 2, "group out": 0.25})
    assert lines.read() == [{"seed": 0, "tau": 0.5}, {"seed": 2, "group out": 0.25}]
    assert lines.read(seed=2) == [{"seed": 2, "group out": 0.25}]
    assert lines.read(seed=1) == lines.read(nothing=1) == []


@given(st.sets(st.tuples(st.sampled_from("ab"), st.integers(0, 3))), st.data())
def test_missing_is_what_no_line_holds(
    tmp_path_factory: pytest.TempPathFactory, wanted: set[tuple[str, int]], data: st.DataObject
) -> None:
    lines = common.Lines(tmp_path_factory.mktemp("lines") / "x.jsonl")
    keys = [{"part": "p", "space": space, "seed": seed} for space, seed in sorted(wanted)]
    done = data.draw(st.lists(st.sampled_from(keys))) if keys else []
    for key in done:
        lines.append({**key, "tau": 0.5})
        lines.append({**key, "part": "another"})
    assert lines.missing(keys) == [key for key in keys if key not in done]


def test_keep_writes_and_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = common.Lines(tmp_path / "x.jsonl")
    lines.keep({"space": "digits", "seed": 3}, tau=0.5, best={"20": "a"})
    assert lines.read() == [{"space": "digits", "seed": 3, "tau": 0.5, "best": {"20": "a"}}]
    assert capsys.readouterr().out == "digits 3 0.5\n"


@given(st.lists(_VALUES, min_size=2, max_size=20).filter(lambda v: np.std(v) > 1e-6))
def test_intervals_are_scipys(values: list[float]) -> None:
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    mean, half = map(float, common.interval(values, 6).split(" ± "))
    assert mean == pytest.approx((low + high) / 2, abs=1e-5)
    assert half == pytest.approx((high - low) / 2, abs=1e-5)


def test_one_value_has_no_interval() -> None:
    assert common.interval([0.25]) == "0.250"
    assert common.interval([0.25], 1) == "0.2"


def test_tables_are_markdown() -> None:
    assert common.markdown_table(("", "s"), [("a", 1.5), ("b", "")]) == [
        "| | s |",
        "|---|---|",
        "| a | 1.5 |",
        "| b | |",
    ]
    assert common.markdown_table(("a", "b", "c"), [], numbers=True)[1] == "|---|---:|---:|"


def test_a_page_is_written_whole_and_says_how_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    common.write_page(path, ["# Page", "", common.made_by("x.py", "--tables", also="1 thread")])
    assert path.read_text().startswith("# Page\n\n`python experiments/x.py`, then `--tables`, 20")
    assert path.read_text().endswith(f"Machine: {common.machine()}, 1 thread.\n")
    assert [file.name for file in tmp_path.iterdir()] == ["page.md"]


@pytest.mark.parametrize(("words", "measured"), [([], [5]), (["--seeds", "2"], [2])])
def test_a_script_measures_what_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], measured: list[int]
) -> None:
    seen: list[int] = []
    page = tmp_path / "page.md"
    for more in ([], ["--tables"]):
        monkeypatch.setattr("sys.argv", ["script.py", *words, *more])
        common.measure_and_write("Words.", page, seen.append, lambda: [json.dumps(seen)], 5)
    assert seen == measured
    assert json.loads(page.read_text()) == measured
