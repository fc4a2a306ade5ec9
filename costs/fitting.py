"""Predictors of costs from files of measurements: what ``archrank fit --cost`` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..predictors.fitting import read_labels, readable
from .predictor import CostPredictor


def fit_costs(
    costs: str | Path,
    space: str | None = None,
    task: str | None = None,
    inputs: Any = None,
    column: str | None = None,
    like: str | Path | None = None,
) -> CostPredictor:
    """Fit a predictor of costs to a CSV file of architectures and measured costs.

    Args:
        costs: as the labels of ``archrank.predictors.fitting.fit``, but smaller is better.
        space, task, inputs, column: as there.
        like: folder of a saved one of other devices, to learn a new device from few costs.

    Raises:
        InputError: the file is no such table, or names what is not there.
    """
    names, values = read_labels(costs, column)
    if like is None:
        predictor = CostPredictor(space=space, task=task, inputs=inputs)
        return predictor.fit(readable(predictor, _in_space(names, space)), values)
    known = CostPredictor.load(like)
    return known.adapt(readable(known, _in_space(names, known.space)), values)


def _in_space(names: Sequence[str], space: str | None) -> list[str]:
    """Architectures without the space's name before them, which files of measurements have."""
    prefix = f"{space}:"
    return [name.removeprefix(prefix) if space is not None else name for name in names]
