"""Where results go: checked before long work, and written after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import InputError
from .console import say


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
    from ...predictors.loading import is_predictor

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
    from ...ranking.pictures import figure_class

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
