"""Compare proxies with measured accuracy: score a sample into a store, judge it, write a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..scoring.store import Store
    from ..scoring.table_runs import Outcome, Settings, run
    from .judging import judge
    from .report import to_html, to_markdown, write_report
    from .results import Report

_HOME = {
    "Store": ".scoring.store",
    "Outcome": ".scoring.table_runs",
    "Report": "results",
    "Settings": ".scoring.table_runs",
    "judge": "judging",
    "run": ".scoring.table_runs",
    "to_html": "report",
    "to_markdown": "report",
    "write_report": "report",
}

__all__ = [
    "Outcome",
    "Report",
    "Settings",
    "Store",
    "judge",
    "run",
    "to_html",
    "to_markdown",
    "write_report",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
