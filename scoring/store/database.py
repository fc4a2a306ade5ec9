"""One SQLite file that several processes write in turn, and that survives a kill."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ...errors import InputError, StoreError

_WAIT = 60.0  # seconds that a writer waits for another one
_NO_STORE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}  # a folder, a picture, no place


class Database:
    """An open file of tables, and a context manager that closes it.

    Args:
        path: the path of the file, which is created if it does not exist.
        schema: the statements that create the tables of a new file.
        format_: the number of the schema; files of another one are refused.
        writable: False opens the file only for reading and never creates it.

    Raises:
        InputError: the file is not such a database or cannot be opened.
        StoreError: (from any method) the file cannot be written.
    """

    def __init__(self, path: str | Path, schema: str, format_: int, writable: bool):
        self.path = str(path)
        if not writable and not Path(path).is_file():
            raise InputError(f"store: there is no file {self.path!r}; archrank benchmark makes it")
        try:
            self.connection = _opened(self.path, writable)
        except sqlite3.OperationalError as error:
            raise self._no_store(str(error)) from error
        try:
            self._prepare(schema, format_, writable)
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self, schema: str, format_: int, writable: bool) -> None:
        """Check that an existing file is a store, or create the tables of a new one."""
        try:
            if not writable:
                self.connection.execute("PRAGMA query_only = ON")
            elif self._is_empty():
                with self.writing():
                    if self._is_empty():  # no other process was quicker
                        # Not executescript: it would commit behind the transaction's back.
                        for statement in schema.split(";\n"):
                            self.connection.execute(statement)
                        self.connection.execute(f"PRAGMA user_version = {format_}")
            version = self._version()
            if version != format_:
                raise self._no_store(f"its format is {version}, expected {format_}")
            if writable:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = NORMAL")
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
        return not self.connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the last process to close it merges the write-ahead log."""
        self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Run one transaction, of which all or nothing is written."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise self._unwritable(error) from error

    def _unwritable(self, error: sqlite3.DatabaseError) -> StoreError:
        return StoreError(
            f"store: {self.path!r} cannot be written ({error}). Everything finished before is "
            "kept in it: make room, or make it writable, and run the same command again"
        )

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"store: {self.path!r} cannot be read ({error})") from error

    def named(self, table: str, columns: tuple[str, ...], values: tuple[Any, ...]) -> int:
        """Return the number of a row, which is created if it does not exist."""
        where = " AND ".join(f"{column} = ?" for column in columns)
        found = self.connection.execute(f"SELECT id FROM {table} WHERE {where}", values).fetchone()
        if found is not None:
            return int(found[0])
        marks = ", ".join("?" * len(columns))
        return self.insert(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)

    def insert(self, statement: str, values: tuple[Any, ...]) -> int:
        """Insert one row, and return its number."""
        number = self.connection.execute(statement, values).lastrowid
        assert number is not None
        return number


def _opened(path: str, writable: bool) -> sqlite3.Connection:
    uri = not writable and not os.access(Path(path).parent, os.W_OK)
    if uri and not Path(f"{path}-wal").exists():
        # SQLite would put a lock beside the file; nobody writes it here, so it needs none.
        path = f"{Path(path).absolute().as_uri()}?immutable=1"
    return sqlite3.connect(path, timeout=_WAIT, isolation_level=None, uri=uri)
