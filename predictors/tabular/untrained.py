"""A predictor that hardly learns, the mean of features that are known to rise with accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...basics import SIZES, Array
from ..features.evidence import AUTO
from .contract import TabularPredictor


class Vote(TabularPredictor):
    """The mean of standardised columns that are known to rise with accuracy.

        a + b mean_c(o_c x_c),   b >= 0

    where x are standardised features, and o are the directions (1 or -1) that proxies declare. The
    columns c are the scores of ``AUTO`` that samples have. From ``"statistics"``, they are the
    logarithms of parameters, FLOPs and activations. Only a and b are learnt from labels, so a few
    labels cannot mislead the predictor. The standard deviation is that of the labels around the
    prediction.

    Notes:
        The predictor is our choice.

    Args:
        parts: some of ``"scores"`` and ``"statistics"``.
        space, task, inputs, proxies: see ``Predictor``.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> vote = Vote(("statistics",)).fit(graphs[::4], [0.1, 0.2, 0.2, 0.3])
        >>> vote.score(graphs, [graph.params for graph in graphs]) > 0.7
        True
    """

    def __init__(
        self,
        parts: Sequence[str] = ("scores", "statistics"),
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        known = directions()
        self.directions_ = np.array([known.get(name, 0.0) for name in self.features_.names_])
        votes = self._votes(matrix)
        spread = float(votes @ votes)
        self.slope_ = max(float(votes @ labels) / spread, 0.0) if spread else 0.0
        if self.slope_ == 0.0 and spread:
            # With too few labels, or labels against it, a tiny slope keeps the order.
            self.slope_ = 1e-3 * float(labels.std() or 1.0) / (spread / len(votes)) ** 0.5
        self.intercept_ = float(labels.mean() - self.slope_ * votes.mean())
        self.error_ = float(np.sqrt(np.mean((self._line(votes) - labels) ** 2)))

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        return self._line(self._votes(matrix)), np.full(len(matrix), self.error_)

    def _votes(self, matrix: Array) -> Array:
        count = max(float(np.abs(self.directions_).sum()), 1.0)
        votes: Array = matrix @ self.directions_ / count
        return votes

    def _line(self, votes: Array) -> Array:
        return self.intercept_ + self.slope_ * votes


def directions() -> dict[str, float]:
    """Return 1 for each column of ``Vote`` that rises with accuracy, and -1 for each that falls."""
    from ...proxies import get

    signs = {name: get(name).sign for name in AUTO}
    return {**dict.fromkeys((f"log2 {name}" for name in SIZES), 1.0), **signs}
