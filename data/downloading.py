"""The download of one public file, which is verified and appears whole or not at all."""

from __future__ import annotations

import errno
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArchrankError, MissingExtraError
from .tables.sources import Source

if TYPE_CHECKING:
    import requests

_AGAIN = "Finished files stay; run the same command to go on"


class FetchError(ArchrankError):
    """A public file could not be fetched; the message says which, why, and what to do."""


def download(source: Source, target: Path, base_url: str, timeout: float, limit: float) -> None:
    """Fetch one public file, and keep it if it is the published one.

    Raises:
        FetchError: the file did not arrive, is not the published one, or cannot be written.
        MissingExtraError: pooch is not installed.
    """
    try:
        import pooch
        import requests
    except ImportError as error:
        raise MissingExtraError("fetching public data", "pooch", "data", error) from error
    url = source.url(base_url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _quiet(pooch.get_logger()):
            pooch.retrieve(
                *(url, f"sha256:{source.sha256}", target.name, target.parent),
                downloader=_Stream(source.bytes, timeout, limit),
            )
    except requests.RequestException as error:
        raise FetchError(f"{url}: {_what_went_wrong(error, source, timeout)} {_AGAIN}") from error
    except OSError as error:
        raise no_room(target, error) from error
    except ValueError as error:  # pooch's error for a wrong hash
        raise FetchError(
            f"{url}: is not the file that was published, as its SHA-256 is not {source.sha256}. "
            f"It was deleted. If you have the file: archrank data import {source.set} PATH"
        ) from error


@dataclass(frozen=True)
class _Stream:
    """A downloader for pooch, with a limit on the whole file's time and size."""

    bytes: int | None
    timeout: float
    limit: float

    def __call__(self, url: str, output: Any, _: Any) -> None:
        import requests

        started, size = time.monotonic(), 0
        with (
            requests.get(url, stream=True, timeout=self.timeout) as response,
            open(output, "wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(1 << 10):  # small, to notice a very slow server
                size += len(chunk)
                if self.bytes is not None and size > self.bytes:
                    raise FetchError(
                        f"{url}: is longer than the {self.bytes} bytes that were published, so "
                        f"it has changed. {_AGAIN}"
                    )
                if time.monotonic() - started > self.limit:
                    raise FetchError(
                        f"{url}: did not arrive within {self.limit:g} seconds ({size} bytes did). "
                        f"{_AGAIN}"
                    )
                file.write(chunk)
        if self.bytes is not None and size < self.bytes:
            raise FetchError(
                f"{url}: is incomplete: {size} of {self.bytes} bytes arrived. {_AGAIN}"
            )


def _what_went_wrong(error: requests.RequestException, source: Source, timeout: float) -> str:
    import requests

    if isinstance(error, requests.HTTPError):
        status = None if error.response is None else error.response.status_code
        what = "is no longer there" if status in (404, 410) else f"the server answered {status}"
        return (
            f"{what}. Wanted: {source.file}, SHA-256 {source.sha256}. If you have it: "
            f"archrank data import {source.set} PATH. Otherwise try later."
        )
    if isinstance(error, requests.Timeout) or (
        isinstance(error, requests.ConnectionError) and "timed out" in str(error)
    ):
        return f"the server was silent for {timeout:g} seconds."
    if isinstance(error, requests.ConnectionError):
        return (
            f"no connection, or it was cut ({_root(error)}). Is there a network, or a proxy to "
            "name in HTTPS_PROXY?"
        )
    return f"did not come whole ({_root(error)})."


@contextmanager
def kept_whole(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write to, which is renamed to `target` only on success.

    Raises:
        FetchError: the file cannot be written; the message says whether the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as place:
            part = Path(place) / target.name
            yield part
            part.replace(target)
    except OSError as error:
        raise no_room(target, error) from error


def no_room(target: Path, error: OSError) -> FetchError:
    """Return the error for a file that cannot be written."""
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
