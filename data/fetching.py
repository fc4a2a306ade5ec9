"""The data folder: fetching, importing and verifying published figures.

The folder holds ``<set>/<file>.parquet``, the compact tables, and ``<set>/raw``, the public files
that they were made from. A file appears under its name only when it is whole and verified.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..basics import Progress
from ..errors import InputError
from .downloading import FetchError, download, kept_whole
from .tables.catalogue import SETS, data_set
from .tables.importing import convert
from .tables.published import DataSet
from .tables.raw import LARGEST, DamagedFileError, Raw, gunzip, unzip
from .tables.reading import data_folder
from .tables.sources import Source, sources

__all__ = ["FetchError", "Finding", "Outcome", "data_folder", "fetch", "import_files", "verify"]

BASE_URL = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Outcome:
    """The outcome of fetching or importing one set.

    `fetched` are public files that were downloaded, `present` those that were already complete,
    `unavailable` those without a known public address, `written` the new compact tables, and
    `kept` those that were left unchanged because they hold columns that the public files do not.
    """

    name: str
    fetched: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """The status of one file: ok, missing or damaged."""

    name: str
    file: str
    status: str
    reason: str = ""


def fetch(
    name: str,
    folder: Path | None = None,
    *,
    base_url: str | None = None,
    timeout: float = 30.0,
    limit: float = 900.0,
    progress: Progress | None = None,
) -> Outcome:
    """Fetch the public files of one set, verify each, and make its compact tables.

    Complete files are not fetched again, so a fetch that was interrupted can continue. `timeout`
    is how many seconds a server may be silent, and `limit` how many seconds one file may take.

    Raises:
        InputError: there is no such set, or none of its files has a known public address.
        FetchError: a file did not arrive, or is not the published one; earlier files are kept.
        MissingExtraError: pooch is not installed.
    """
    chosen, folder = _elsewhere(name), folder or data_folder()
    known = [source for source in sources() if source.set == name and source.read]
    wanted = [source for source in known if source.fetchable]
    if not wanted:
        raise InputError(
            f"name: {name!r} ({chosen.title}) cannot be fetched, as no public place of its files "
            f"is known; if you have one of {', '.join(_files_of(chosen))}, use: "
            f"archrank data import {name} PATH"
        )
    fetched: list[str] = []
    present: list[str] = []
    for number, source in enumerate(wanted):
        if progress is not None:
            progress(number, len(wanted), source.file)
        target = folder / name / "raw" / source.file
        if _sha256(target) == source.sha256:
            present.append(source.file)
        else:
            download(source, target, base_url or BASE_URL, timeout, limit)
            fetched.append(source.file)
    if not fetched and all(not _problem(folder, chosen, file.name) for file in chosen.files):
        written: tuple[str, ...] = ()
        kept = tuple(file.name for file in chosen.files)
    else:
        written, kept = _convert(chosen, folder)
    if progress is not None:
        progress(len(wanted), len(wanted), name)
    unavailable = tuple(source.file for source in known if not source.fetchable)
    return Outcome(name, tuple(fetched), tuple(present), unavailable, written, kept)


def import_files(name: str, path: Path, folder: Path | None = None) -> Outcome:
    """Import files of one set that you already have, from a file, a folder, or a zip archive.

    Public files are recognised by name, with or without ``.gz``, and verified. Compact tables
    (``.parquet``) are checked and copied.

    Raises:
        InputError: there is no such set, nothing is at `path`, or nothing there belongs to the set.
        FetchError: a file is not the published one, or cannot be written.
        DamagedFileError: a file cannot be read.
    """
    chosen, folder, path = _elsewhere(name), folder or data_folder(), Path(path)
    known = [source for source in sources() if source.set == name and source.read]
    tables = {f"{file.name}.parquet": file.name for file in chosen.files}
    imported: list[str] = []
    copied: list[str] = []
    for found, content in _contents(path):
        plain = found.removesuffix(".gz")
        if found in tables:
            _copy_table(chosen, tables[found], content(), folder)
            copied.append(tables[found])
            continue
        for source in known:
            published = (source.path or "").rsplit("/", 1)[-1]
            if source.file not in imported and {found, plain} & {source.file, published}:
                _keep(source, found, content(), folder / name / "raw" / source.file)
                imported.append(source.file)
                break
    if not imported and not copied:
        names = ", ".join(_files_of(chosen))
        raise InputError(f"path: {str(path)!r} holds no file of {name!r}; its files are {names}")
    written, kept = _convert(chosen, folder, tuple(copied)) if imported else ((), ())
    return Outcome(name, tuple(imported), (), (), (*copied, *written), kept)


def verify(name: str | None = None, folder: Path | None = None) -> list[Finding]:
    """Check the files of one set, or of all sets: every compact table and every kept public file.

    Raises:
        InputError: there is no such set.
    """
    folder = folder or data_folder()
    findings = []
    for chosen in SETS.values() if name is None else [data_set(name)]:
        for file in chosen.files:
            if not (chosen.home(folder) / f"{file.name}.parquet").is_file():
                advice = f"archrank data fetch {chosen.name}"
                findings.append(Finding(chosen.name, f"{file.name}.parquet", "missing", advice))
                continue
            reason = _problem(folder, chosen, file.name)
            status = "damaged" if reason else "ok"
            findings.append(Finding(chosen.name, f"{file.name}.parquet", status, reason))
        for source in sources():
            if source.set != chosen.name or source.sha256 is None:
                continue
            found = _sha256(folder / chosen.name / "raw" / source.file)
            if found is not None:
                reason = "" if found == source.sha256 else f"SHA-256 {found}, not {source.sha256}"
                status = "damaged" if reason else "ok"
                findings.append(Finding(chosen.name, f"raw/{source.file}", status, reason))
    return findings


def _convert(
    chosen: DataSet, folder: Path, leave: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make the compact tables of a set, except those that hold more than the public files."""
    import pyarrow.parquet as pq

    written, kept = [], []
    for name, frame in convert(chosen.name, Raw(folder / chosen.name / "raw")).items():
        target = folder / chosen.name / f"{name}.parquet"
        if name in leave:
            continue
        whole = target.is_file() and not _problem(folder, chosen, name)
        if whole and set(pq.read_schema(target).names) - set(frame.columns):
            kept.append(name)
            continue
        _write_table(frame, target)
        written.append(name)
    return tuple(written), tuple(kept)


def _write_table(frame: pd.DataFrame, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    with kept_whole(target) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def _copy_table(chosen: DataSet, name: str, content: bytes, folder: Path) -> None:
    with kept_whole(folder / chosen.name / f"{name}.parquet") as part:
        part.write_bytes(content)
        reason = _table_problem(part, chosen, name)
        if reason:
            raise InputError(f"path: {name}.parquet is not the table of {chosen.name!r}: {reason}")


def _keep(source: Source, found: str, content: bytes, target: Path) -> None:
    """Verify a public file of the user, and store it as published."""
    # gzip that was added is removed; gzip that was published is part of the file
    if found.endswith(".gz") and not source.file.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise DamagedFileError(f"{found}: cannot be unpacked ({error})") from error
    if len(content) > LARGEST:
        raise DamagedFileError(f"{found}: is larger than {LARGEST} bytes")
    actual = hashlib.sha256(content).hexdigest()
    if source.sha256 is not None and actual != source.sha256:
        raise FetchError(
            f"{found}: is not the file that was published: its SHA-256 is {actual}, expected "
            f"{source.sha256}; get it again from {source.url(BASE_URL)}"
            if source.fetchable
            else f"{found}: its SHA-256 is {actual}, expected {source.sha256}"
        )
    with kept_whole(target) as part:
        part.write_bytes(content)


def _contents(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name and a reader of every file at a path."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.name, file.read_bytes
    elif path.is_file():
        yield path.name, path.read_bytes
        if path.suffix == ".zip":
            for member, content in unzip(path.read_bytes(), str(path)):
                yield member.rsplit("/", 1)[-1], lambda content=content: content  # type: ignore[misc]
    else:
        raise InputError(f"path: there is nothing at {str(path)!r}; name a file or a folder")


def _elsewhere(name: str) -> DataSet:
    """Return the set; raise an InputError if it is part of this package."""
    chosen = data_set(name)
    if chosen.embedded:
        raise InputError(f"name: {name!r} comes with the package; nothing to fetch or import")
    return chosen


def _files_of(chosen: DataSet) -> list[str]:
    """Return the names of the files of a set that can be imported, public or compact."""
    known = [source.file for source in sources() if source.set == chosen.name and source.read]
    return [*known, *(f"{file.name}.parquet" for file in chosen.files)]


def _problem(folder: Path, chosen: DataSet, name: str) -> str:
    return _table_problem(chosen.home(folder) / f"{name}.parquet", chosen, name)


def _table_problem(path: Path, chosen: DataSet, name: str) -> str:
    """Return the problem of a compact table; empty if there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (wanted,) = (file for file in chosen.files if file.name == name)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read ({str(error).splitlines()[0]})"
    missing = [column for column in wanted.columns if column not in table.column_names]
    if missing:
        return f"has no columns {', '.join(missing)}"
    if table.num_rows != wanted.rows:
        return f"has {table.num_rows} rows, expected {wanted.rows}"
    return ""


def _sha256(path: Path) -> str | None:
    """Return the hash of a public file as published, without gzip that was added."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    packed = path.with_name(f"{path.name}.gz")
    if not packed.is_file():
        return None
    try:
        return hashlib.sha256(gunzip(packed)).hexdigest()
    except DamagedFileError:
        return "of nothing: it cannot be unpacked"
