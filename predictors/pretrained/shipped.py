"""The predictor that comes with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..contract import Predictor

WEIGHTS = Path(__file__).parent / "weights"
"""The folder that holds it; ``card.md`` in it says what it learnt from."""

GENNAPE_WEIGHTS = WEIGHTS.with_name("gennape_weights")
"""The folder of the ``GENNAPE`` that comes beside it."""


def shipped() -> Any:
    """Return the shipped predictor, a ``TransferRank``.

    Raises:
        InputError: the predictor is missing, since the installation is incomplete.
    """
    return Predictor.load(WEIGHTS)
