"""The store of long runs: one SQLite file that only ever grows, and survives being killed.

A score is kept under everything that it depends on: architecture, proxy and version, seed, and the
condition (task, data, batch, resolution). Scores of one architecture and seed are written in one
transaction, so a run that is killed holds whole rows, each once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from .errors import InputError, StoreError

FORMAT = 1
_WAIT = 60.0  # seconds that a writer waits for another one

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, settings TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS architectures (
    id INTEGER PRIMARY KEY, space TEXT NOT NULL, arch TEXT NOT NULL, UNIQUE (space, arch));
CREATE TABLE IF NOT EXISTS samples (
    run INTEGER NOT NULL REFERENCES runs, position INTEGER NOT NULL,
    architecture INTEGER NOT NULL REFERENCES architectures, PRIMARY KEY (run, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS proxies (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, UNIQUE (name, version));
CREATE TABLE IF NOT EXISTS conditions (
    id INTEGER PRIMARY KEY, settings TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS scores (
    condition INTEGER NOT NULL REFERENCES conditions,
    architecture INTEGER NOT NULL REFERENCES architectures,
    seed INTEGER NOT NULL, proxy INTEGER NOT NULL REFERENCES proxies,
    value REAL, status TEXT NOT NULL, reason TEXT, seconds REAL NOT NULL, peak_memory INTEGER,
    PRIMARY KEY (condition, architecture, seed, proxy)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Row:
    """One proxy's score of one architecture under one seed; ``value`` is None unless ok."""

    proxy: str
    version: int
    value: float | None
    status: str
    reason: str | None
    seconds: float
    peak_memory: int | None


class Store:
    """One file of runs and scores; a context manager that closes it.

    Several processes may hold one file open: writers wait for one another, and what both of them
    wrote is there once.

    Args:
        path: of the file, made if it is not there.
        writable: False opens it for reading alone and never makes it.

    Raises:
        InputError: it is no store, or cannot be opened.
        StoreError: (from any method) it cannot be written; what was finished is kept.

    Example:
        >>> condition, row = {"task": "digits"}, Row("params", 1, 2.0, "ok", None, 0.1, 0)
        >>> with Store(":memory:") as store:
        ...     run = store.begin({"space": "digits"}, "digits", ["a", "b"])
        ...     store.add(condition, "digits", "a", 0, [row])
        ...     store.scores(run, condition)[["arch", "proxy", "value"]].values.tolist()
        [['a', 'params', 2.0]]
    """

    def __init__(self, path: str | Path, writable: bool = True):
        self.path = str(path)
        if not writable and not Path(path).is_file():
            raise InputError(f"store: there is no file {self.path!r}; archrank benchmark makes it")
        try:
            self._connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
            if writable:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                # Not executescript: it would commit behind the transaction's back.
                with self._writing():
                    for statement in _SCHEMA.split(";\n"):
                        self._connection.execute(statement)
                    version = self._version()
                    if version == 0:
                        self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            version = self._version()
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"store: {self.path!r} cannot be opened as a store ({error}); name a new file, or "
                "one that archrank benchmark wrote"
            ) from error
        if version != FORMAT:
            raise InputError(
                f"store: {self.path!r} has format {version}, expected {FORMAT}: no store, or of "
                "another release of archrank"
            )

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its write-ahead log is folded in by the last one to close it."""
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all of it or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StoreError(
                f"store: {self.path!r} cannot be written ({error}). Everything finished before is "
                "kept in it: make room, or make it writable, and run the same command again"
            ) from error

    # --- runs -----------------------------------------------------------------------------------

    def begin(self, settings: Mapping[str, Any], space: str, architectures: Sequence[str]) -> int:
        """The run of these settings, made with its sample if it is new.

        Raises:
            InputError: a run of the same settings has another sample.
        """
        text = _json(settings)
        with self._writing():
            found = self._connection.execute(
                "SELECT id FROM runs WHERE settings = ?", (text,)
            ).fetchone()
            if found is None:
                run = self._insert("INSERT INTO runs (settings) VALUES (?)", (text,))
                ids = [self._architecture(space, arch) for arch in architectures]
                self._connection.executemany(
                    "INSERT INTO samples VALUES (?, ?, ?)",
                    [(run, position, one) for position, one in enumerate(ids)],
                )
                return run
        if self.sample(found[0]) != list(architectures):
            raise InputError(
                f"store: {self.path!r} holds a run of the same settings with another sample: the "
                "table has changed since; use a new file"
            )
        return int(found[0])

    def runs(self) -> dict[int, dict[str, Any]]:
        """Number -> settings of every run, oldest first."""
        found = self._connection.execute("SELECT id, settings FROM runs ORDER BY id")
        return {run: json.loads(settings) for run, settings in found}

    def sample(self, run: int) -> list[str]:
        """The architectures of a run, in order."""
        found = self._connection.execute(
            "SELECT arch FROM samples JOIN architectures ON id = architecture WHERE run = ? "
            "ORDER BY position",
            (run,),
        )
        return [arch for (arch,) in found]

    # --- scores ---------------------------------------------------------------------------------

    def add(
        self,
        condition: Mapping[str, Any],
        space: str,
        arch: str,
        seed: int,
        rows: Iterable[Row],
    ) -> None:
        """Write the scores of one architecture and seed; those that are there stay as they are."""
        with self._writing():
            first = (
                self._named("conditions", ("settings",), (_json(condition),)),
                self._architecture(space, arch),
                seed,
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *first,
                        self._named("proxies", ("name", "version"), (row.proxy, row.version)),
                        row.value,
                        row.status,
                        row.reason,
                        row.seconds,
                        row.peak_memory,
                    )
                    for row in rows
                ],
            )

    def finished(
        self, condition: Mapping[str, Any], space: str, arch: str, seed: int
    ) -> set[tuple[str, int]]:
        """The (proxy, version) that one architecture has scores of, or reasons why not."""
        found = self._connection.execute(
            "SELECT name, version FROM scores JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return set(found)

    def scores(self, run: int, condition: Mapping[str, Any]) -> pd.DataFrame:
        """All scores of a run's sample under a condition, in the order of the sample.

        Columns: position, arch, seed, proxy, version, value (NaN if none), status, reason,
        seconds, peak_memory.
        """
        columns = "position arch seed proxy version value status reason seconds peak_memory"
        found = self._connection.execute(
            "SELECT position, arch, seed, proxies.name, version, value, status, reason, seconds, "
            "peak_memory FROM samples JOIN architectures ON architectures.id = samples.architecture "
            "JOIN scores ON scores.architecture = architectures.id "
            "JOIN proxies ON proxies.id = proxy WHERE run = ? AND condition = "
            "(SELECT id FROM conditions WHERE settings = ?) "
            "ORDER BY position, seed, proxies.name, version",
            (run, _json(condition)),
        ).fetchall()
        frame = pd.DataFrame(found, columns=columns.split())
        return frame.astype({"value": float, "seconds": float, "peak_memory": float})

    def _architecture(self, space: str, arch: str) -> int:
        return self._named("architectures", ("space", "arch"), (space, arch))

    def _named(self, table: str, columns: tuple[str, ...], values: tuple[Any, ...]) -> int:
        """The number of a row, made if it is not there."""
        where = " AND ".join(f"{column} = ?" for column in columns)
        found = self._connection.execute(f"SELECT id FROM {table} WHERE {where}", values).fetchone()
        if found is not None:
            return int(found[0])
        marks = ", ".join("?" * len(columns))
        return self._insert(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)

    def _insert(self, statement: str, values: tuple[Any, ...]) -> int:
        number = self._connection.execute(statement, values).lastrowid
        assert number is not None
        return number


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
