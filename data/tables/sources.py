"""The public files that sets are made from, listed in ``sources.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Source:
    """One public file: its address, and the SHA-256 and size of its published content.

    `repository`, `commit` and `path` are None if no public address is known. Such a file cannot be
    fetched, but it can be imported. `read` is false for files that no importer reads, such as
    pickles; they are never fetched.
    """

    set: str
    file: str
    repository: str | None
    commit: str | None
    path: str | None
    sha256: str | None
    bytes: int | None
    read: bool = True

    @property
    def fetchable(self) -> bool:
        """Whether the public address and the hash are known."""
        return None not in (self.repository, self.commit, self.path, self.sha256)

    def url(self, base: str) -> str:
        """Return its address below `base`."""
        return f"{base.rstrip('/')}/{self.repository}/{self.commit}/{self.path}"


@cache
def sources() -> tuple[Source, ...]:
    """Return all public files that the sets are made from.

    Example:
        >>> len([source for source in sources() if source.set == "nasbench201"])
        15
    """
    text = files(__package__).joinpath("sources.json").read_text(encoding="utf-8")
    return tuple(Source(**entry) for entry in json.loads(text))
