"""Reports on the scores of a store, as a page and as Markdown."""

from __future__ import annotations

from pathlib import Path

from ..files import written_whole
from ..scoring.store import Store
from .judging import judge
from .markdown import to_markdown
from .page.html import to_html
from .results import Report

__all__ = ["Report", "judge", "to_html", "to_markdown", "write_report"]


def write_report(
    store: str | Path | Store,
    path: str | Path,
    *,
    run: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    date: str | None = None,
    machine: str | None = None,
) -> Report:
    """Judge the runs of a store and write the page. The page is written completely or not at all.

    Args:
        store, run, resamples, seed: the same as in ``judge``.
        path: the file of the page.
        date, machine: printed on the page if given.

    Raises:
        InputError: as ``judge``.
    """
    report = judge(store, run, resamples=resamples, seed=seed)
    with written_whole(path) as partial:
        partial.write_text(to_html(report, date=date, machine=machine), encoding="utf-8")
    return report
