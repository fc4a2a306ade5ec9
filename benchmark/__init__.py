"""Proxies against measured accuracy: a sample scored into a store, judged, and written down."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .judging import Report, judge
    from .report import to_html, to_markdown, write_report
    from .runs import Outcome, Settings, run
    from .store import Store

_HOME = {
    "Outcome": "runs",
    "Report": "judging",
    "Settings": "runs",
    "Store": "store",
    "judge": "judging",
    "run": "runs",
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
