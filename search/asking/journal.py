"""The state of a search as an append-only file of JSON lines."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from ...errors import InputError, StoreError

_MARK = "archrank search"
FORMAT = 1


class Journal:
    """A file of the events of a search, one a line, which one process holds at a time.

    Once ``append`` returns, the event is kept, whatever happens to the process afterwards. A last
    line that was cut off (the process or the machine died while it was written) is dropped with a
    warning; all lines before it count.

    Args:
        path: the file, which is created if it does not exist.
        settings: the settings of the search; the file of a search with others is refused.

    Attributes:
        events: the events that the file held.

    Raises:
        InputError: another process uses the file, the file is not a journal or has other settings,
            or a line before the last is damaged.
        StoreError: the file cannot be opened or written.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 - held open on purpose
        except OSError as error:
            raise StoreError(f"state: {str(path)!r} cannot be opened ({error})") from error
        try:
            if not _locked(self._file):
                raise InputError(
                    f"state: {str(path)!r} is in use by another search; give each search its "
                    "own file"
                )
            self.events = self._read({_MARK: FORMAT, **settings})
        except BaseException:
            self._file.close()
            raise

    def append(self, *events: Mapping[str, Any]) -> None:
        """Add events; if the machine dies meanwhile, only the first of them may be kept.

        Raises:
            StoreError: the events cannot be written; those of earlier calls are kept.
        """
        text = "".join(json.dumps(event) + "\n" for event in events).encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(text)
            if written != len(text):
                raise OSError(f"only {written} of {len(text)} bytes fitted")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise StoreError(
                f"state: {str(self.path)!r} cannot be written ({error}). Everything told before "
                "is kept in it: make room, and tell this again"
            ) from error

    def close(self) -> None:
        """Release the file for other processes."""
        self._file.close()

    def _read(self, header: dict[str, Any]) -> list[dict[str, Any]]:
        self._file.seek(0)
        text = self._file.read()
        whole, _, rest = text.rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        self._check_kind(lines, rest)
        if rest:
            warnings.warn(
                f"state: the last line of {str(self.path)!r} was cut off and is dropped; "
                f"{max(len(lines) - 1, 0)} events before it are kept",
                stacklevel=4,
            )
            self._file.truncate(len(text) - len(rest))
        if not lines:
            self.append(header)
            return []
        found, *events = (self._event(number, line) for number, line in enumerate(lines, 1))
        # Converted to text and back, since JSON knows no tuples.
        self._check_settings(found, json.loads(json.dumps(header)))
        return events

    def _event(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise InputError(
                f"state: line {number} of {str(self.path)!r} is damaged; the lines before it are "
                "whole: delete it and what follows to go on from there"
            )
        return event

    def _check_kind(self, lines: list[bytes], rest: bytes) -> None:
        mark = f'{{"{_MARK}"'.encode()
        first = lines[0] if lines else rest
        if not (first.startswith(mark) or (not lines and mark.startswith(first[: len(mark)]))):
            raise InputError(f"state: {str(self.path)!r} does not hold a search; name a new file")

    def _check_settings(self, found: Mapping[str, Any], header: Mapping[str, Any]) -> None:
        other = [key for key in {**found, **header} if found.get(key) != header.get(key)]
        if other:
            said = "; ".join(f"{k} {found.get(k)!r}, here {header.get(k)!r}" for k in other)
            raise InputError(
                f"state: {str(self.path)!r} belongs to a search with other settings ({said}); "
                "pass the same, or name a new file"
            )


def _locked(file: IO[bytes]) -> bool:
    """Lock the file for this process, until it is closed or the process ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            file.seek(1 << 30)  # far behind the text, since Windows lets no one read locked bytes
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
