"""Costs of networks: limits, measurements on this machine, and predictions for other devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .calibrating import DeviceSpeed
    from .estimating import estimate
    from .measuring import measure
    from .operator_table import OperatorTable
    from .predictor import CostPredictor
    from .speed import SpeedPredictor

_HOME = {
    "CostPredictor": "predictor",
    "DeviceSpeed": "calibrating",
    "OperatorTable": "operator_table",
    "SpeedPredictor": "speed",
    "estimate": "estimating",
    "measure": "measuring",
}

__all__ = ["CostPredictor", "DeviceSpeed", "OperatorTable", "SpeedPredictor", "estimate", "measure"]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
