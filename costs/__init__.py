"""What networks cost: limits, measurements on this machine, and predictions for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .measuring import measure
    from .operator_table import OperatorTable
    from .predictor import CostPredictor

_HOME = {
    "CostPredictor": "predictor",
    "OperatorTable": "operator_table",
    "measure": "measuring",
}

__all__ = ["CostPredictor", "OperatorTable", "measure"]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
