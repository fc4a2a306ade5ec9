"""The public files that sets are made from, as ``sources.json`` lists them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Source:
    """One public file: where it is, and the SHA-256 and size of what is published there.

    `repository`, `commit` and `path` are None where no public place is known; then the file cannot
    be fetched, but it can be imported. `read` is false for what no importer reads, pickles among
    them: such files are never fetched.
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
        """Whether its public place and its hash are known."""
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
