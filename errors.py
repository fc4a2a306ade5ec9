"""Errors and warnings of archrank: a leaf module that every room may import."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from numbers import Integral
from typing import Any


class ArchrankError(Exception):
    """Base of all errors that archrank raises on purpose."""


class ArchrankWarning(UserWarning):
    """A warning about a run that continues."""


class InputError(ArchrankError, ValueError):
    """An argument is invalid; the message says what was given, what was expected and what to do."""


class NothingLeftError(InputError):
    """A search has asked for every candidate of its space."""


class UnsupportedModelError(ArchrankError):
    """A model cannot be traced or scored; the message names the operator and the module path."""


class MissingExtraError(ArchrankError, ImportError):
    """A package that this feature needs is not installed; the message names the extra."""

    def __init__(self, feature: str, package: str, extra: str, cause: BaseException | None = None):
        self._parts = (feature, package, extra, cause)
        came = "" if cause is None else f" ({type(cause).__name__}: {cause})"
        super().__init__(
            f"{feature} needs the package {package!r}, which cannot be imported{came}. "
            f"Install it with: pip install {_wish(package, extra)}"
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[object, ...]]:
        return type(self), self._parts  # it may come back from a worker process


def _wish(package: str, extra: str) -> str:
    """Return what pip is to install here: the extra, where pip knows of this package at all."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("archrank")
    except PackageNotFoundError:  # it is run from its folder
        return package
    return f"'archrank[{extra}]'"


class StoreError(ArchrankError):
    """A store cannot be written; it keeps everything that was finished before."""


class ScoreError(ArchrankError):
    """One proxy cannot be computed for this model; this becomes the status and reason of the
    proxy."""

    def __init__(self, reason: str, status: str = "unsupported"):
        super().__init__(reason)
        self.status = status


class NotApplicable(ScoreError):
    """A proxy is not defined for this model, whatever it is given; that is not a failure."""

    def __init__(self, reason: str):
        super().__init__(reason, "not applicable")


def did_you_mean(name: str, known: Iterable[str], prefix: str = "", suffix: str = "") -> str:
    """Return a question with the known names closest to a wrong one, empty if none is close.

    Names that differ in case or begin with the wrong one come before those of similar letters.

    Example:
        >>> did_you_mean("NASWOT", ["naswot", "snip"])
        "did you mean 'naswot'? "
        >>> did_you_mean("grad", ["gradsign", "snip", "grad_norm"])
        "did you mean 'gradsign' or 'grad_norm'? "
    """
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    wanted = name.casefold()
    close = [one for key, one in folded.items() if key == wanted]
    close += (
        [] if close or not wanted else [one for k, one in folded.items() if k.startswith(wanted)]
    )
    close += [] if close else [folded[k] for k in difflib.get_close_matches(wanted, folded, n=3)]
    asked = " or ".join(repr(f"{prefix}{one}{suffix}") for one in close[:3])
    return f"did you mean {asked}? " if close else ""


def checked_choice(argument: str, given: str, known: Collection[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        InputError: the name is not known; the message suggests a similar one.
    """
    if given not in known:
        hint = did_you_mean(str(given), known)
        raise InputError(f"{argument}: got {given!r}, {hint}expected one of {', '.join(known)}")


def checked_calls(**given: Any) -> None:
    """Check arguments that are functions, if they are given at all.

    True and False, as of ``progress``, are no functions and are left to those who take them, as are
    names.

    Raises:
        InputError: an argument cannot be called.
    """
    for argument, value in given.items():
        named = argument == "loss" and isinstance(value, str)
        switched = argument == "progress" and isinstance(value, bool)
        if value is not None and not callable(value) and not named and not switched:
            raise InputError(f"{argument}: got {value!r}, expected a function")


def checked_count(argument: str, given: Any, least: int = 1) -> int:
    """Return a whole number, of Python or NumPy.

    Raises:
        InputError: the number is not whole or is too small.
    """
    if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
        raise InputError(f"{argument}: got {given!r}, expected a whole number of at least {least}")
    return int(given)
