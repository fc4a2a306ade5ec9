"""What the commands share: errors as exit codes, progress on stderr, results alone on stdout."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import (
    ArchrankError,
    ArchrankWarning,
    InputError,
    MissingExtraError,
    did_you_mean,
)
from ..progress import bar

if TYPE_CHECKING:
    from ..basics import Progress


STORE_KEEPS = "--store FILE keeps finished scores"


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
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


_EXPECTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
}
"""What was expected, by the kinds of error of the library that checks options."""


def misused(error: Any) -> int:
    """Say what is wrong with a command line, and return the exit code.

    Args:
        error: what the command line's library raises, which knows its message and exit code.
    """
    causes: list[Any] = getattr(error.__cause__, "errors", list)()
    if type(error).__name__ == "NoArgsIsHelpError":  # the message is the help
        say(error.format_message())
        return int(error.exit_code)
    say(f"error: {_misvalued(error, causes[0]) if causes else error.format_message()}")
    context = getattr(error, "ctx", None)
    if context is not None:
        say(f"help: {context.command_path} -h")
    return int(error.exit_code)


def _misvalued(error: Any, cause: dict[str, Any]) -> str:
    """Say what an option got and what it expects."""
    option = error.param.metavar or max(error.param.opts, key=len)
    if cause["type"] in _EXPECTED:
        hint, expected = "", _EXPECTED[cause["type"]].format(**cause.get("ctx", {}))
    else:  # "'mean' is not one of 'mean_rank', 'vote'"
        _, *known = re.findall("'([^']*)'", cause["msg"])
        if not known:
            return f"{option}: {cause['msg']}"
        hint, expected = did_you_mean(str(cause["input"]), known), f"one of {', '.join(known)}"
    return f"{option}: got {cause['input']!r}, {hint}expected {expected}"


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
def kept_in(place: Path | None, advice: str) -> Iterator[None]:
    """Say where an interrupted command's results are and how to go on, or that there are none.

    Args:
        place: the file that keeps results; None if there is none.
        advice: how results can be kept, said where nothing was.
    """
    try:
        yield
    except KeyboardInterrupt:
        if place is None or not place.exists():
            say(f"interrupted: nothing was kept; {advice}")
        else:
            say(f"interrupted: what was finished is in {place}; run the same command to go on")
        raise


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


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """Return what ``--input`` says, as 3,224,224 or 3x224x224; None if it was not given."""
    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(
            f"--input: got {text!r}, expected whole numbers such as 3,224,224 (no batch dimension)"
        )
    return shape


def amounts(**texts: str | None) -> dict[str, float]:
    """Return what ``--max-NAME`` options say, as 5M, 300k or 1e6; those not given are left out."""
    found = {}
    for name, text in texts.items():
        if text is None:
            continue
        unit = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
        try:
            amount = float(text[:-1] if unit > 1 else text) * unit
        except ValueError:
            amount = 0.0
        if not 0 < amount < float("inf"):
            raise InputError(
                f"--max-{name}: got {text!r}, expected a number larger than 0, as 300000 or 5M"
            )
        found[name] = amount
    return found


def megabytes(option: str, text: str | None) -> float | None:
    """Return what an option says of memory, as 24GB, 500MB or, in MB, 500; None if it is not given.

    Raises:
        InputError: it is not an amount of memory.
    """
    if text is None:
        return None
    unit = {"GB": 1e3, "MB": 1.0}.get(text[-2:].upper())
    try:
        return amounts(size=text[:-2] if unit else text)["size"] * (unit or 1)
    except InputError as error:
        raise InputError(
            f"{option}: got {text!r}, expected an amount of memory, as 24GB or 500MB"
        ) from error


def check_writable(option: str, path: Path | None) -> None:
    """Say before long work, not after it, that its result has no place."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{option}: {str(path)!r} is a folder, expected the path of a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option}: there is no folder {str(path.parent)!r}; create it first")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise InputError(f"{option}: {str(path)!r} cannot be written; choose another place")


def make_room(option: str, path: Path) -> None:
    """Before long work, make the folder that a predictor's own will stand in, or say why not."""
    from ..predictors.loading import is_predictor

    if path.exists() and not is_predictor(str(path)):
        raise InputError(f"{option}: {str(path)!r} exists already and holds no predictor")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{option}: {str(path)!r} cannot be created ({error}); choose another place"
        ) from error
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{option}: {str(path)!r} cannot be written; choose another place")


def check_picture(option: str, path: Path | None) -> None:
    """Say before long work that matplotlib is missing or cannot write such a file."""
    if path is None:
        return
    from ..ranking.pictures import figure_class

    known = figure_class()().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise InputError(
            f"{option}: {str(path)!r} has no known suffix, expected .{', .'.join(sorted(known))}"
        )


def write_file(option: str, path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file and say so, or say why it cannot be."""
    try:
        write(path)
    except OSError as error:
        raise InputError(f"{option}: {str(path)!r} cannot be written ({error})") from error
    say(f"written: {path}")
