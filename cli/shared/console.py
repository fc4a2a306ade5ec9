"""What the commands share: errors as exit codes, progress on stderr, results alone on stdout."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

from ...errors import ArchrankError, ArchrankWarning, InputError, MissingExtraError
from ...progress import bar

if TYPE_CHECKING:
    from ...basics import Progress


INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr)


@contextmanager
def errors(quiet: bool = False) -> Iterator[None]:
    """End a command by what archrank raises on purpose: exit code 2 on wrong usage, else 1.

    Its warnings are lines on stderr, left out where it is to be quiet.
    """
    logger = logging.getLogger("archrank")
    handler, level = _Teller(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            if quiet:
                warnings.simplefilter("ignore", ArchrankWarning)
            warnings.showwarning = _teller(warnings.showwarning)
            yield
    except ArchrankError as error:
        say(f"error: {error}")
        usage = isinstance(error, (InputError, MissingExtraError))
        raise typer.Exit(2 if usage else 1) from error
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Teller(logging.Handler):
    """Prints what the package logs as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _teller(usual: Callable[..., None]) -> Callable[..., None]:
    """Show warnings of this package as plain lines, others as before."""

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if category.__module__.partition(".")[0] == "archrank":
            say(f"warning: {message}")
        else:
            usual(message, category, *place)

    return show


@contextmanager
def results_only() -> Iterator[None]:
    """Send what the user's models print to stderr, from worker processes too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def progress(quiet: bool = False, what: str = "scoring") -> Iterator[Progress | None]:
    """Show a bar on a terminal, plain lines otherwise, on stderr; nothing where it is quiet."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield lambda done, total, name: say(f"{done}/{total} {name}")
    else:
        with bar(what) as report:
            yield report
