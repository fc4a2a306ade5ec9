"""Tables of measured figures; each set of them is one file in a room below."""

from __future__ import annotations

from .catalogue import sets_of, table, tables
from .contract import NoiseCeiling, Table
from .published import Task

__all__ = ["NoiseCeiling", "Table", "Task", "sets_of", "table", "tables"]
