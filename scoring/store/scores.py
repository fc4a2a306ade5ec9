"""The store of long runs: one SQLite file that only grows and survives a kill.

The key of a score holds everything that it depends on: architecture, proxy and version, seed, and
the condition (task, data, batch, resolution). Scores of one architecture and seed are written in
one transaction, so a run that is killed holds whole rows, each once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ...proxies import Result
from .database import Database

FORMAT = 1

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


class Store(Database):
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
        super().__init__(path, _SCHEMA, FORMAT, writable)

    # --- runs -----------------------------------------------------------------------------------

    def begin(self, settings: Mapping[str, Any], space: str, architectures: Sequence[str]) -> int:
        """Return the number of the run with these settings; a new run is created with its sample.

        Raises:
            InputError: a run with the same settings has another sample.
        """
        text = _json(settings)
        with self.writing():
            found = self.rows("SELECT id FROM runs WHERE settings = ?", (text,))
            if not found:
                run = self.insert("INSERT INTO runs (settings) VALUES (?)", (text,))
                ids = [self._architecture(space, arch) for arch in architectures]
                self.connection.executemany(
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
        found = self.rows("SELECT id, settings FROM runs ORDER BY id")
        return {run: json.loads(settings) for run, settings in found}

    def sample(self, run: int) -> list[str]:
        """Return the architectures of a run, in order."""
        found = self.rows(
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
        with self.writing():
            first = (
                self.named("conditions", ("settings",), (_json(condition),)),
                self._architecture(space, arch),
                seed,
            )
            self.connection.executemany(
                "INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *first,
                        self.named("proxies", ("name", "version"), (row.name, row.version)),
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
        found = self.rows(
            "SELECT name, version FROM scores JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return {(name, version) for name, version in found}

    def of(self, condition: Mapping[str, Any], space: str, arch: str, seed: int) -> list[Result]:
        """Return all scores of one architecture under one seed."""
        found = self.rows(
            "SELECT name, version, value, status, reason, seconds, peak_memory FROM scores "
            "JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return [Result(*row) for row in found]

    def add_graph(self, condition: Mapping[str, Any], space: str, arch: str, graph: Graph) -> None:
        """Keep the graph of an architecture; an existing graph stays unchanged."""
        with self.writing():
            self.connection.execute(_GRAPHS)
            place = (
                self.named("conditions", ("settings",), (_json(condition),)),
                self._architecture(space, arch),
            )
            self.connection.execute(
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
        with self.writing():
            self.connection.execute(_NODE_SCORES)
            place = (
                self.named("conditions", ("settings",), (_json(condition),)),
                self._architecture(space, arch),
                seed,
            )
            self.connection.executemany(
                "INSERT OR IGNORE INTO node_scores VALUES (?, ?, ?, ?, ?)",
                [
                    (*place, self.named("proxies", ("name", "version"), key), values.tobytes())
                    for key, values in found.items()
                ],
            )

    def node_scores(
        self, condition: Mapping[str, Any], space: str, arch: str, seed: int
    ) -> dict[tuple[str, int], Array]:
        """Return the values per node of each (proxy, version) for which they were kept."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'node_scores'"):
            return {}
        found = self.rows(
            "SELECT name, version, nodes FROM node_scores JOIN proxies ON proxies.id = proxy "
            "WHERE condition = (SELECT id FROM conditions WHERE settings = ?) AND architecture = "
            "(SELECT id FROM architectures WHERE space = ? AND arch = ?) AND seed = ?",
            (_json(condition), space, arch, seed),
        )
        return {(name, version): np.frombuffer(raw) for name, version, raw in found}

    def graph(self, condition: Mapping[str, Any], space: str, arch: str) -> Graph | None:
        """Return the graph of an architecture; None if it is not kept."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'graphs'"):
            return None
        found = self.rows(
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
        found = self.rows(
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
        for name, version, reason, count in self.rows(
            f"SELECT proxies.name, version, reason, COUNT(*) {_OF_A_RUN} AND status != 'ok' "
            "GROUP BY proxies.name, version, reason "
            "ORDER BY proxies.name, version, COUNT(*) DESC, reason",
            (run, _json(condition)),
        ):
            first = found.get((name, version), Failure(name, version, 0, reason))
            found[name, version] = replace(first, count=first.count + count)
        return list(found.values())

    def _architecture(self, space: str, arch: str) -> int:
        return self.named("architectures", ("space", "arch"), (space, arch))


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
