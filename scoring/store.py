"""The store of long runs: one SQLite file that only grows and survives a kill.

The key of a score holds everything that it depends on: architecture, proxy and version, seed, and
the condition (task, data, batch, resolution). Scores of one architecture and seed are written in
one transaction, so a run that is killed holds whole rows, each once.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..basics import Array
from ..errors import InputError, StoreError
from ..graphs import Graph
from ..proxies import Result

FORMAT = 1
_WAIT = 60.0  # seconds that a writer waits for another one
_NO_STORE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}  # a folder, a picture, no place

_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, settings TEXT NOT NULL UNIQUE);
CREATE TABLE architectures (
    id INTEGER PRIMARY KEY, space TEXT NOT NULL, arch TEXT NOT NULL, UNIQUE (space, arch));
CREATE TABLE samples (
    run INTEGER NOT NULL REFERENCES runs, position INTEGER NOT NULL,
    architecture INTEGER NOT NULL REFERENCES architectures, PRIMARY KEY (run, position)
) WITHOUT ROWID;
CREATE TABLE proxies (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, UNIQUE (name, version));
CREATE TABLE conditions (
    id INTEGER PRIMARY KEY, settings TEXT NOT NULL UNIQUE);
CREATE TABLE scores (
    condition INTEGER NOT NULL REFERENCES conditions,
    architecture INTEGER NOT NULL REFERENCES architectures,
    seed INTEGER NOT NULL, proxy INTEGER NOT NULL REFERENCES proxies,
    value REAL, status TEXT NOT NULL, reason TEXT, seconds REAL NOT NULL, peak_memory INTEGER,
    PRIMARY KEY (condition, architecture, seed, proxy)
) WITHOUT ROWID;
"""

# Made when the first graph is kept: stores of benchmarks hold none.
_GRAPHS = """
CREATE TABLE IF NOT EXISTS graphs (
    condition INTEGER NOT NULL REFERENCES conditions,
    architecture INTEGER NOT NULL REFERENCES architectures,
    graph BLOB NOT NULL, PRIMARY KEY (condition, architecture)
) WITHOUT ROWID
"""

# Values per node of a graph, empty for a score that is one number for the whole network.
_NODE_SCORES = """
CREATE TABLE IF NOT EXISTS node_scores (
    condition INTEGER NOT NULL REFERENCES conditions,
    architecture INTEGER NOT NULL REFERENCES architectures,
    seed INTEGER NOT NULL, proxy INTEGER NOT NULL REFERENCES proxies,
    nodes BLOB NOT NULL, PRIMARY KEY (condition, architecture, seed, proxy)
) WITHOUT ROWID
"""

# The scores of a run's sample under a condition.
_OF_A_RUN = (
    "FROM samples JOIN architectures ON architectures.id = samples.architecture "
    "JOIN scores ON scores.architecture = architectures.id JOIN proxies ON proxies.id = proxy "
    "WHERE run = ? AND condition = (SELECT id FROM conditions WHERE settings = ?)"
)


@dataclass(frozen=True)
class Failure:
    """How often one proxy has no value, and the most common reason."""

    proxy: str
    version: int
    count: int
    reason: str


class Store:
    """A file of runs and scores, and a context manager that closes it.

    Several processes can open one file. Writers wait for each other, and a score that both write
    is kept once.

    Args:
        path: the path of the file, which is created if it does not exist.
        writable: False opens the file only for reading and never creates it.

    Raises:
        InputError: the file is not a store or cannot be opened.
        StoreError: (from any method) the file cannot be written; finished scores are kept.

    Example:
        >>> condition, row = {"task": "digits"}, Result("params", 1, 2.0, "ok", None, 0.1, 0)
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
            self._connection = _connection(self.path, writable)
        except sqlite3.OperationalError as error:
            raise self._no_store(str(error)) from error
        try:
            self._prepare(writable)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, writable: bool) -> None:
        """Check that an existing file is a store, or create the tables of a new one."""
        try:
            if not writable:
                self._connection.execute("PRAGMA query_only = ON")
            elif self._is_empty():
                with self._writing():
                    if self._is_empty():  # no other process was quicker
                        # Not executescript: it would commit behind the transaction's back.
                        for statement in _SCHEMA.split(";\n"):
                            self._connection.execute(statement)
                        self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            version = self._version()
            if version != FORMAT:
                raise self._no_store(f"its format is {version}, expected {FORMAT}")
            if writable:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode in _NO_STORE:
                raise self._no_store(str(error)) from error
            raise self._unwritable(error) from error

    def _no_store(self, why: str) -> InputError:
        return InputError(
            f"store: {self.path!r} cannot be opened as a store ({why}); name a new file, or one "
            "that this release of archrank wrote"
        )

    def _is_empty(self) -> bool:
        return not self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the last process to close it merges the write-ahead log."""
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Run one transaction, of which all or nothing is written."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise self._unwritable(error) from error

    def _unwritable(self, error: sqlite3.DatabaseError) -> StoreError:
        return StoreError(
            f"store: {self.path!r} cannot be written ({error}). Everything finished before is "
            "kept in it: make room, or make it writable, and run the same command again"
        )

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"store: {self.path!r} cannot be read ({error})") from error

    # --- runs -----------------------------------------------------------------------------------

    def begin(self, settings: Mapping[str, Any], space: str, architectures: Sequence[str]) -> int:
        """Return the number of the run with these settings; a new run is created with its sample.

        Raises:
            InputError: a run with the same settings has another sample.
        """
        text = _json(settings)
        with self._writing():
            found = self._rows("SELECT id FROM runs WHERE settings = ?", (text,))
            if not found:
                run = self._insert("INSERT INTO runs (settings) VALUES (?)", (text,))
                ids = [self._architecture(space, arch) for arch in architectures]
                self._connection.executemany(
                    "INSERT INTO samples VALUES (?, ?, ?)",
                    [(run, position, one) for position, one in enumerate(ids)],
                )
                return run
        run = int(found[0][0])
        if self.sample(run) != list(architectures):
            raise InputError(
                f"store: {self.path!r} holds a run of the same settings with another sample: the "
                "table has changed since; use a new file"
            )
        return run

    def runs(self) -> dict[int, dict[str, Any]]:
        """Return number -> settings of every run, oldest first."""
        found = self._rows("SELECT id, settings FROM runs ORDER BY id")
        return {run: json.loads(settings) for run, settings in found}

    def sample(self, run: int) -> list[str]:
        """Return the architectures of a run, in order."""
        found = self._rows(
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
        rows: Iterable[Result],
    ) -> None:
        """Write the scores of one architecture and seed; existing scores stay unchanged."""
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
                        self._named("proxies", ("name", "version"), (row.name, row.version)),
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
        """Return each (proxy, version) for which one architecture has a value or a reason."""
        found = self._rows(
            "SELECT name, version FROM scores JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return {(name, version) for name, version in found}

    def of(self, condition: Mapping[str, Any], space: str, arch: str, seed: int) -> list[Result]:
        """Return all scores of one architecture under one seed."""
        found = self._rows(
            "SELECT name, version, value, status, reason, seconds, peak_memory FROM scores "
            "JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return [Result(*row) for row in found]

    def add_graph(self, condition: Mapping[str, Any], space: str, arch: str, graph: Graph) -> None:
        """Keep the graph of an architecture; an existing graph stays unchanged."""
        with self._writing():
            self._connection.execute(_GRAPHS)
            place = (
                self._named("conditions", ("settings",), (_json(condition),)),
                self._architecture(space, arch),
            )
            self._connection.execute(
                "INSERT OR IGNORE INTO graphs VALUES (?, ?, ?)", (*place, graph.to_bytes())
            )

    def add_node_scores(
        self,
        condition: Mapping[str, Any],
        space: str,
        arch: str,
        seed: int,
        found: Mapping[tuple[str, int], Array],
    ) -> None:
        """Keep the values per node of each (proxy, version), an empty array if there are none."""
        with self._writing():
            self._connection.execute(_NODE_SCORES)
            place = (
                self._named("conditions", ("settings",), (_json(condition),)),
                self._architecture(space, arch),
                seed,
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO node_scores VALUES (?, ?, ?, ?, ?)",
                [
                    (*place, self._named("proxies", ("name", "version"), key), values.tobytes())
                    for key, values in found.items()
                ],
            )

    def node_scores(
        self, condition: Mapping[str, Any], space: str, arch: str, seed: int
    ) -> dict[tuple[str, int], Array]:
        """Return the values per node of each (proxy, version) for which they were kept."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'node_scores'"):
            return {}
        found = self._rows(
            "SELECT name, version, nodes FROM node_scores JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return {(name, version): np.frombuffer(raw) for name, version, raw in found}

    def graph(self, condition: Mapping[str, Any], space: str, arch: str) -> Graph | None:
        """Return the graph of an architecture; None if it is not kept."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'graphs'"):
            return None
        found = self._rows(
            "SELECT graph FROM graphs "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?)",
            (_json(condition), space, arch),
        )
        return Graph.from_bytes(found[0][0]) if found else None

    def scores(self, run: int, condition: Mapping[str, Any]) -> pd.DataFrame:
        """Return all scores of a run's sample under a condition, in the order of the sample.

        Columns: position, arch, seed, proxy, version, value (NaN if none), status, reason,
        seconds, peak_memory.
        """
        columns = "position arch seed proxy version value status reason seconds peak_memory"
        found = self._rows(
            "SELECT position, arch, seed, proxies.name, version, value, status, reason, seconds, "
            f"peak_memory {_OF_A_RUN} "
            "ORDER BY position, seed, proxies.name, version",
            (run, _json(condition)),
        )
        frame = pd.DataFrame(found, columns=columns.split())
        return frame.astype({"value": float, "seconds": float, "peak_memory": float})

    def failures(self, run: int, condition: Mapping[str, Any]) -> list[Failure]:
        """Return the proxies of a run that lack a value for some architecture, by name."""
        found: dict[tuple[str, int], Failure] = {}
        for name, version, reason, count in self._rows(
            f"SELECT proxies.name, version, reason, COUNT(*) {_OF_A_RUN} AND status != 'ok' "
            "GROUP BY proxies.name, version, reason "
            "ORDER BY proxies.name, version, COUNT(*) DESC, reason",
            (run, _json(condition)),
        ):
            first = found.get((name, version), Failure(name, version, 0, reason))
            found[name, version] = replace(first, count=first.count + count)
        return list(found.values())

    def _architecture(self, space: str, arch: str) -> int:
        return self._named("architectures", ("space", "arch"), (space, arch))

    def _named(self, table: str, columns: tuple[str, ...], values: tuple[Any, ...]) -> int:
        """Return the number of a row, which is created if it does not exist."""
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


def _connection(path: str, writable: bool) -> sqlite3.Connection:
    uri = not writable and not os.access(Path(path).parent, os.W_OK)
    if uri and not Path(f"{path}-wal").exists():
        # SQLite would put a lock beside the file; nobody writes it here, so it needs none.
        path = f"{Path(path).absolute().as_uri()}?immutable=1"
    return sqlite3.connect(path, timeout=_WAIT, isolation_level=None, uri=uri)


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
