"""The data folder: fetching, importing and verifying published figures.

The folder holds ``<set>/<file>.parquet``, the compact tables, and ``<set>/raw``, the public files
that they were made from. A file appears under its name only when it is whole and verified.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..basics import Progress
from ..errors import ArchrankError, InputError, MissingExtraError
from .sets import SETS, DataSet, Source, data_set, sources

if TYPE_CHECKING:
    import pandas as pd

BASE_URL = "https://raw.githubusercontent.com"

"""Called with files done, files in all, and the name of the file that comes next."""


class FetchError(ArchrankError):
    """A public file could not be fetched; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Outcome:
    """What fetching or importing one set did.

    `fetched` are public files that came now, `present` those that were there and whole,
    `unavailable` those without a known public place, `written` the compact tables made now, and
    `kept` those left as they were because they hold columns that the public files do not.
    """

    name: str
    fetched: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What `verify` found of one file: its status is ok, missing or damaged."""

    name: str
    file: str
    status: str
    reason: str = ""


def data_folder() -> Path:
    """Where the data are: ``$ARCHRANK_DATA``, else the user's cache folder.

    Example:
        >>> isinstance(data_folder(), Path)
        True
    """
    chosen = os.environ.get("ARCHRANK_DATA")
    if chosen:
        return Path(chosen).expanduser()
    try:
        import pooch
    except ImportError:
        return Path.home() / ".cache" / "archrank"
    return Path(pooch.os_cache("archrank"))


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

    Files that are there and whole are not fetched again, so a fetch that was cut goes on where it
    was. `timeout` is how many seconds a server may be silent, `limit` how many one file may take.

    Raises:
        InputError: no such set, or none of its files has a known public place.
        FetchError: a file did not come, or is not what was published; what came before stays.
        MissingExtraError: pooch is not installed.
    """
    chosen, folder = _elsewhere(name), folder or data_folder()
    known = [source for source in sources() if source.set == name and source.read]
    wanted = [source for source in known if source.fetchable]
    if not wanted:
        raise InputError(
            f"name: {name!r} cannot be fetched, as no public place of its files is known; if you "
            f"have them, or the compact tables, use: archrank data import {name} PATH"
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
            _download(source, target, base_url or BASE_URL, timeout, limit)
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
    """Take files of one set that you have: a file, a folder, or a zip archive of them.

    Public files are recognised by name, with or without ``.gz``, and verified; compact tables
    (``.parquet``) are checked and copied.

    Raises:
        InputError: no such set, nothing at `path`, or nothing there that belongs to the set.
        FetchError: a file is not what was published, or cannot be written.
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
        names = ", ".join([*(source.file for source in known), *tables])
        raise InputError(f"path: {str(path)!r} holds no file of {name!r}; its files are {names}")
    written, kept = _convert(chosen, folder, tuple(copied)) if imported else ((), ())
    return Outcome(name, tuple(imported), (), (), (*copied, *written), kept)


def verify(name: str | None = None, folder: Path | None = None) -> list[Finding]:
    """Check the files of one set, or of all sets: each compact table, each public file kept.

    Raises:
        InputError: no such set.
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


def _download(source: Source, target: Path, base_url: str, timeout: float, limit: float) -> None:
    try:
        import pooch
        import requests
    except ImportError as error:
        raise MissingExtraError("fetching public data", "pooch", "data", error) from error
    url = source.url(base_url)
    again = "Finished files stay; run the same command to go on"

    def stream(url: str, output: Any, _: Any) -> None:
        """Like pooch's own, but with a limit on the whole file's time and size."""
        started = time.monotonic()
        with (
            requests.get(url, stream=True, timeout=timeout) as response,
            open(output, "wb") as file,
        ):
            response.raise_for_status()
            size = 0
            for chunk in response.iter_content(1 << 10):  # small, to notice a server that drips
                size += len(chunk)
                if source.bytes is not None and size > source.bytes:
                    raise FetchError(
                        f"{url}: is longer than the {source.bytes} bytes that were published, so "
                        f"it has changed. {again}"
                    )
                if time.monotonic() - started > limit:
                    raise FetchError(
                        f"{url}: did not come within {limit:g} seconds ({size} bytes did). {again}"
                    )
                file.write(chunk)
        if source.bytes is not None and size < source.bytes:
            raise FetchError(f"{url}: was cut: {size} of {source.bytes} bytes came. {again}")

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _quiet(pooch.get_logger()):
            pooch.retrieve(
                url, f"sha256:{source.sha256}", target.name, target.parent, downloader=stream
            )
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        what = "is no longer there" if status in (404, 410) else f"the server answered {status}"
        raise FetchError(
            f"{url}: {what}. Wanted: {source.file}, SHA-256 {source.sha256}. If you have it: "
            f"archrank data import {source.set} PATH. Otherwise try later. {again}"
        ) from error
    except (requests.Timeout, requests.ConnectionError) as error:
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            what = f"the server was silent for {timeout:g} seconds."
        else:
            what = (
                f"no connection, or it was cut ({_root(error)}). Is there a network, or a proxy to "
                "name in HTTPS_PROXY?"
            )
        raise FetchError(f"{url}: {what} {again}") from error
    except requests.RequestException as error:
        raise FetchError(f"{url}: did not come whole ({_root(error)}). {again}") from error
    except OSError as error:
        raise _no_room(target, error) from error
    except ValueError as error:  # pooch's word for a wrong hash
        raise FetchError(
            f"{url}: is not the file that was published, as its SHA-256 is not {source.sha256}. "
            f"It was thrown away. If you have the file: archrank data import {source.set} PATH"
        ) from error


def _convert(
    chosen: DataSet, folder: Path, leave: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make the compact tables of a set; one that holds more than the public files do is kept."""
    import pyarrow.parquet as pq

    from .importers import convert
    from .importers.raw import Raw

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
    with _whole(target) as part:
        pq.write_table(table, part, compression="zstd", write_page_checksum=True)


def _copy_table(chosen: DataSet, name: str, content: bytes, folder: Path) -> None:
    with _whole(folder / chosen.name / f"{name}.parquet") as part:
        part.write_bytes(content)
        reason = _table_problem(part, chosen, name)
        if reason:
            raise InputError(f"path: {name}.parquet is not the table of {chosen.name!r}: {reason}")


def _keep(source: Source, found: str, content: bytes, target: Path) -> None:
    """Verify a public file that the user has, and keep it as published."""
    from .importers.raw import LARGEST, DamagedFileError

    # gzip that was added is taken off; gzip that was published is part of the file
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
    with _whole(target) as part:
        part.write_bytes(content)


def _contents(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Name and reader of every file at a path."""
    from .importers.raw import unzip

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
    """The set, if it is not part of this package."""
    chosen = data_set(name)
    if chosen.embedded:
        raise InputError(f"name: {name!r} comes with the package; nothing to fetch or import")
    return chosen


def _problem(folder: Path, chosen: DataSet, name: str) -> str:
    return _table_problem(chosen.home(folder) / f"{name}.parquet", chosen, name)


def _table_problem(path: Path, chosen: DataSet, name: str) -> str:
    """What is wrong with a compact table; empty if nothing is."""
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
    """The hash of a public file as published: of what is in it, if gzip was added."""
    from .importers.raw import DamagedFileError, gunzip

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


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A place beside `target` to write to; it takes `target`'s name only when all went well."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as place:
            part = Path(place) / target.name
            yield part
            os.replace(part, target)
    except OSError as error:
        raise _no_room(target, error) from error


def _no_room(target: Path, error: OSError) -> FetchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchError(
            f"{target}: the disk is full. Free some space, or set ARCHRANK_DATA to a folder "
            "elsewhere; finished files stay, nothing half-written does"
        )
    return FetchError(
        f"{target}: cannot be written ({error}); set ARCHRANK_DATA to a folder that you may write"
    )


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
