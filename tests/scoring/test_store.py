"""The store: whole rows once, only in files that are its own, and kept when it is full."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from archrank.errors import InputError, StoreError
from archrank.proxies.scores import Result
from archrank.scoring.store import FORMAT, Failure, Store

CONDITION = {"task": "digits", "batch": 4}


def row(proxy: str, value: float | None = 1.0, reason: str | None = None) -> Result:
    return Result(proxy, 1, value, "error" if reason else "ok", reason, 0.5, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.sqlite"


def add(store: Store, arch: str, *rows: Result, seed: int = 0) -> None:
    store.add(CONDITION, "digits", arch, seed, rows)


class TestScores:
    def test_come_back(self, path: Path) -> None:
        with Store(path) as store:
            run = store.begin({"a": 1}, "digits", ["x", "y"])
            add(store, "y", row("params"), row("snip", None, "no loss"))
            add(store, "x", row("params", 7.0), seed=1)
            add(store, "elsewhere", row("params"))
        with Store(path, writable=False) as store:
            assert store.runs() == {run: {"a": 1}}
            assert store.sample(run) == ["x", "y"]
            frame = store.scores(run, CONDITION)
            assert frame[["arch", "seed", "proxy"]].values.tolist() == [
                ["x", 1, "params"],
                ["y", 0, "params"],
                ["y", 0, "snip"],
            ]
            assert frame["value"].tolist()[:2] == [7.0, 1.0]
            assert frame.iloc[2][["status", "reason"]].tolist() == ["error", "no loss"]
            assert frame["peak_memory"].isna().all()
            assert store.scores(run, {"task": "another"}).empty
            assert store.finished(CONDITION, "digits", "y", 0) == {("params", 1), ("snip", 1)}
            assert store.finished(CONDITION, "digits", "y", 1) == set()

    def test_the_first_stays(self, path: Path) -> None:
        with Store(path) as store:
            run = store.begin({}, "digits", ["x"])
            add(store, "x", row("params", 1.0))
            add(store, "x", row("params", 2.0), row("flops", 3.0))
            assert store.scores(run, CONDITION)["value"].tolist() == [3.0, 1.0]

    def test_failures(self, path: Path) -> None:
        with Store(path) as store:
            run = store.begin({}, "digits", ["x", "y", "z", "w"])
            for arch, reason in zip("xyz", ["rare", "common", "common"], strict=True):
                add(store, arch, row("snip", None, reason), row("params"))
            add(store, "w", row("snip"), row("grasp", None, "why"))
            assert store.failures(run, CONDITION) == [
                Failure("grasp", 1, 1, "why"),
                Failure("snip", 1, 3, "common"),
            ]

    def test_a_run_begins_once(self, path: Path) -> None:
        with Store(path) as store:
            first = store.begin({"a": 1}, "digits", ["x", "y"])
            assert store.begin({"a": 1}, "digits", ["x", "y"]) == first
            assert store.begin({"a": 2}, "digits", ["y"]) != first
            with pytest.raises(InputError, match="another sample"):
                store.begin({"a": 1}, "digits", ["y", "x"])


class TestFilesThatAreNoStore:
    def test_a_folder(self, tmp_path: Path) -> None:
        for writable in (True, False):
            with pytest.raises(InputError, match="store: "):
                Store(tmp_path, writable)

    def test_no_place(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="unable to open"):
            Store(tmp_path / "nowhere" / "run.sqlite")

    def test_none_to_read(self, path: Path) -> None:
        with pytest.raises(InputError, match="archrank benchmark makes it"):
            Store(path, writable=False)
        assert not path.exists()

    def test_a_text(self, path: Path) -> None:
        path.write_text("arch,score\n" * 100)
        before = path.read_bytes()
        with pytest.raises(InputError, match="not a database"):
            Store(path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("version", [0, FORMAT + 1])
    def test_another_database(self, path: Path, version: int) -> None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE bookmarks (name TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
        before = path.read_bytes()
        for writable in (True, False):
            with pytest.raises(InputError, match=f"its format is {version}, expected {FORMAT}"):
                Store(path, writable)
        assert path.read_bytes() == before


class TestTrouble:
    def test_a_full_disk(self, path: Path) -> None:
        with Store(path) as store:
            run = store.begin({}, "digits", ["x", "y"])
            add(store, "x", row("params"))
            before = store.scores(run, CONDITION)
            store.connection.execute("PRAGMA max_page_count = 1")  # as many as there are
            with pytest.raises(StoreError, match=r"is full\). Everything finished before is kept"):
                add(store, "y", row("params", None, "r" * 100_000))
            assert store.scores(run, CONDITION).equals(before)
            store.connection.execute("PRAGMA max_page_count = 1000")
            add(store, "y", row("params"))
            assert len(store.scores(run, CONDITION)) == 2

    def test_reading_alone_writes_nothing(self, path: Path) -> None:
        with Store(path) as store:
            store.begin({}, "digits", ["x"])
        with Store(path, writable=False) as store, pytest.raises(StoreError, match="readonly"):
            add(store, "x", row("params"))

    def test_a_damaged_file(self, path: Path) -> None:
        with Store(path) as store:
            run = store.begin({}, "digits", [str(i) for i in range(2_000)])
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        with Store(path, writable=False) as store, pytest.raises(StoreError, match="malformed"):
            store.sample(run)

    def test_an_interrupt_in_the_middle_leaves_no_part(self, path: Path) -> None:
        def rows():
            yield row("params")
            raise KeyboardInterrupt

        with Store(path) as store:
            run = store.begin({}, "digits", ["x"])
            with pytest.raises(KeyboardInterrupt):
                store.add(CONDITION, "digits", "x", 0, rows())
            assert store.scores(run, CONDITION).empty
            add(store, "x", row("params"))
            assert len(store.scores(run, CONDITION)) == 1
