"""Ctrl-C: one line that says what is kept, and exit code 130."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from .console import INTERRUPTED, say

STORE_KEEPS = "--store FILE keeps finished scores"
_SHOW_CURSOR = "\x1b[?25h"


def plain_message() -> str:
    """Return what is said of a command that keeps nothing on its way."""
    return "interrupted"


def listen(message: Callable[[], str] = plain_message) -> Any:
    """Let Ctrl-C end this process, and return what it did before.

    It raises ``KeyboardInterrupt``, except during an import: packages that are half imported fail
    in other ways than that, and torch takes seconds to import.

    Args:
        message: returns what is said then.
    """
    return signal.signal(signal.SIGINT, partial(_interrupt, message))


def _interrupt(message: Callable[[], str], number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            say((_SHOW_CURSOR if sys.stderr.isatty() else "") + message())
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def kept_in(place: Path | None, advice: str = "") -> Iterator[None]:
    """Say where an interrupted command's results are and how to go on, or that there are none.

    Args:
        place: the file that keeps results; None if there is none.
        advice: how or when results are kept, said as long as nothing is.
    """

    def message() -> str:
        if place is not None and place.exists():
            return f"interrupted: what was finished is in {place}; run the same command to go on"
        return "interrupted: nothing was kept" + (f"; {advice}" if advice else "")

    main = threading.current_thread() is threading.main_thread()
    before = listen(message) if main else None
    try:
        yield
    except KeyboardInterrupt:
        say(message())
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
