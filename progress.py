"""Progress of long work, in a terminal or a notebook: a leaf module that every room may import."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

_LOGGER = logging.getLogger("archrank")

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from .basics import Progress


class Bar:
    """A bar with percentage, remaining time and the name of what is worked at."""

    def __init__(self, bars: Bars, what: str):
        self._bars, self._what = bars, what
        self._task: TaskID = bars.add_task(what, total=None)

    def begin(self, name: str) -> None:
        """Show the name of what is begun."""
        self._bars.update(self._task, description=f"{self._what} {_short(name)}")

    def __call__(self, done: int, total: int, name: str) -> None:
        text = f"{self._what} {_short(name)}"
        self._bars.update(self._task, completed=done, total=total, description=text)


@contextmanager
def bar(what: str = "scoring") -> Iterator[Bar]:
    """Show a bar on stderr, or in the notebook, that is gone when the work is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=not in_notebook()), transient=True) as bars:
        yield Bar(bars, what)


@contextmanager
def shown(progress: Progress | bool | None, what: str = "scoring") -> Iterator[Progress | None]:
    """Give what work reports to.

    Args:
        progress: a function of (done, total, name); True for a bar, False for none; None for a bar
            in a terminal or a notebook alone.
        what: is done, in a word.
    """
    if progress is None:
        progress = sys.stderr.isatty() or in_notebook()
    if progress is True:
        with bar(what) as report:
            yield report
    else:
        yield None if progress is False else progress


def begin(progress: Progress | None, name: str) -> None:
    """Show the name of what begins, if progress is shown."""
    if isinstance(progress, Bar):
        progress.begin(name)


def tell_of_kept(place: object, kept: int, count: int, what: str) -> None:
    """Tell that long work goes on from what a file already holds.

    Args:
        place: the file.
        kept: how many of them it holds, the first ones.
        count: how many there are in all.
        what: is counted, in the plural.
    """
    if kept == count:
        _LOGGER.info("nothing left to do: %s already has all %d %s", place, count, what)
    elif kept:
        _LOGGER.info("continuing: %s already has the first %d of %d %s", place, kept, count, what)


def in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."
