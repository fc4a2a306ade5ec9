"""Readers of published files: plain or gzipped CSV, JSON, YAML and text, zip, tar and TFRecord.

Nothing is unpickled or executed, and no archive is unpacked to disk: members are read in memory.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from ...errors import ArchrankError, InputError

LARGEST = 1 << 30
"""The most bytes that one file may unpack to, ten times the largest published file."""


class DamagedFileError(ArchrankError):
    """A published file is another than its name says, or is cut; the message says what to do."""


class Raw:
    """The published files of one set, in one folder, each plain or with ``.gz`` added.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.json").write_text('{"x": 1}')
        >>> Raw(folder).json("a.json")
        {'x': 1}
        >>> Raw(folder).has("b.json")
        False
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def has(self, name: str) -> bool:
        """Say whether the file exists."""
        return self._path(name) is not None

    def read(self, name: str) -> bytes:
        """Read the file as published, without the gzip that may have been added.

        Raises:
            InputError: the file does not exist.
            DamagedFileError: the file cannot be unpacked, or unpacks to more than `LARGEST` bytes.
        """
        path = self._path(name)
        if path is None:
            raise InputError(
                f"{name}: there is no such file in {str(self.folder)!r}; fetch the set, or import "
                "the file if you have it"
            )
        if path.name == name:
            return path.read_bytes()
        return gunzip(path)

    def json(self, name: str) -> Any:
        """Read a JSON file."""
        return _json(self.read(name), name)

    def csv(self, name: str, **options: Any) -> pd.DataFrame:
        """Read a CSV file; `options` go to `pandas.read_csv`."""
        content = io.BytesIO(self.read(name))
        try:
            table: pd.DataFrame = pd.read_csv(content, **options)
        except ValueError as error:  # parser and decoding errors are ValueErrors
            raise _damaged(name, error) from error
        return table

    def yaml(self, name: str) -> Any:
        """Read a YAML file safely (no Python objects).

        Raises:
            MissingExtraError: PyYAML is not installed.
        """
        try:
            import yaml
        except ImportError as error:
            from ...errors import MissingExtraError

            raise MissingExtraError("reading YAML", "yaml", "data", error) from error
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster and equally safe
        try:
            return yaml.load(self.read(name), Loader=loader)
        except yaml.YAMLError as error:
            raise _damaged(name, error) from error

    def zipped_json(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield the name and content of every JSON file in a zip archive, in stored order."""
        for member, content in unzip(self.read(name), name):
            if member.endswith(".json"):
                yield member, _json(content, f"{name}: {member}")

    def tarred_json(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yield the name and content of every JSON file in a gzipped tar archive, in stored
        order."""
        total = 0
        try:
            with tarfile.open(fileobj=io.BytesIO(self.read(name)), mode="r:gz") as archive:
                for entry in archive:
                    check_member(entry.name, name)
                    if not entry.isfile() or not entry.name.endswith(".json"):
                        continue
                    total += entry.size
                    _check_size(total, name)
                    stream = archive.extractfile(entry)
                    if stream is not None:
                        yield entry.name, _json(stream.read(), f"{name}: {entry.name}")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise _damaged(name, error) from error

    def tfrecords(self, name: str) -> Iterator[bytes]:
        """Yield every record of a TFRecord file after verifying its checksums."""
        return tfrecords(self.read(name), name)

    def _path(self, name: str) -> Path | None:
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.is_file():
                return path
        return None


def gunzip(path: Path) -> bytes:
    """Unpack a gzip file.

    Raises:
        DamagedFileError: the file is cut, is not gzip, or holds more than `LARGEST` bytes.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(str(path), error) from error
    _check_size(len(content), str(path))
    return content


def unzip(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of every file in a zip archive, in stored order.

    Raises:
        DamagedFileError: the content is not a zip archive or is cut, a member's path leads outside
            of it, or it unpacks to more than `LARGEST` bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            for entry in members:
                check_member(entry.filename, name)
            _check_size(sum(entry.file_size for entry in members), name)
            for entry in members:
                if not entry.is_dir():
                    yield entry.filename, archive.read(entry)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise _damaged(name, error) from error


def check_member(member: str, archive: str) -> None:
    """Refuse a path in an archive that leads outside of it.

    Raises:
        DamagedFileError: the path is absolute, or contains a drive or ``..``.

    Example:
        >>> check_member("zen/a.json", "a.zip")
        >>> check_member("../a.json", "a.zip")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        DamagedFileError: a.zip: holds the path '../a.json', which leads outside of the archive
    """
    for path in (PurePosixPath(member), PureWindowsPath(member)):
        if path.is_absolute() or path.drive or ".." in path.parts:
            raise DamagedFileError(
                f"{archive}: holds the path {member!r}, which leads outside of the archive; "
                "nothing was read, and the file should not be trusted"
            )


def tfrecords(content: bytes, name: str) -> Iterator[bytes]:
    """Yield the records of a TFRecord file, each a length, its checksum, data, and their checksum.

    Raises:
        DamagedFileError: a checksum is wrong or the file is cut.

    Example:
        >>> list(tfrecords(tfrecord(b"one") + tfrecord(b"two"), "example"))
        [b'one', b'two']
    """
    at = 0
    while at < len(content):
        if len(content) < at + 12:
            raise DamagedFileError(f"{name}: is cut at byte {at}; get the file again")
        (length,) = struct.unpack_from("<Q", content, at)
        end = at + 12 + length
        _check_sum(content[at : at + 8], content[at + 8 : at + 12], at, name)
        if len(content) < end + 4:
            raise DamagedFileError(f"{name}: is cut in the record at byte {at}; get the file again")
        data = content[at + 12 : end]
        _check_sum(data, content[end : end + 4], at, name)
        yield data
        at = end + 4


def tfrecord(data: bytes) -> bytes:
    """Return one record with its checksums."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _check_sum(data: bytes, wanted: bytes, at: int, name: str) -> None:
    if _masked(data) != wanted:
        raise DamagedFileError(
            f"{name}: the checksum of the record at byte {at} is wrong; get the file again"
        )


@cache
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # CRC-32C, reflected
        table.append(value)
    return table


def _masked(data: bytes) -> bytes:
    value, table = 0xFFFFFFFF, _crc_table()
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 255]
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _json(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(name, error) from error


def _check_size(size: int, name: str) -> None:
    if size > LARGEST:
        raise DamagedFileError(
            f"{name}: unpacks to more than {LARGEST} bytes; it is not the published file"
        )


def _damaged(name: str, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"{name}: cannot be read ({type(error).__name__}: {error}); get the file again"
    )
