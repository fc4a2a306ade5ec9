"""Everything that archrank raises on purpose: a leaf module that every room may import."""

from __future__ import annotations


class ArchrankError(Exception):
    """Base of all errors that archrank raises on purpose."""


class InputError(ArchrankError, ValueError):
    """An argument is not what was expected; the message says what came and what to do."""


class UnsupportedModelError(ArchrankError):
    """A model cannot be traced or scored; the message names the operator and the module path."""


class MissingExtraError(ArchrankError, ImportError):
    """A package that this feature needs is not installed; the message names the extra."""

    def __init__(self, feature: str, package: str, extra: str, cause: BaseException | None = None):
        self._parts = (feature, package, extra, cause)
        came = "" if cause is None else f" ({type(cause).__name__}: {cause})"
        super().__init__(
            f"{feature} needs the package {package!r}, which cannot be imported{came}. "
            f"Install it with: pip install 'archrank[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[object, ...]]:
        return type(self), self._parts  # it may come back from a worker process


class StoreError(ArchrankError):
    """A store cannot be written; what was finished before is kept in it."""


class ScoreError(ArchrankError):
    """One proxy cannot be computed for this model; becomes that proxy's status and reason."""

    def __init__(self, reason: str, status: str = "unsupported"):
        super().__init__(reason)
        self.status = status
