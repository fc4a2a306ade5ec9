"""Ridge regression on tables of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...basics import Array
from .contract import PARTS, TabularPredictor


class Ridge(TabularPredictor):
    """Ridge regression whose penalty is chosen by the leave-one-out error.

    A prediction's standard deviation is s sqrt(1 + x (X'X + alpha I)^-1 x'), where s is the root
    mean square of leave-one-out errors.

    Args:
        parts: names from ``PARTS``.
        alphas: the penalties to choose from.
        space, task, inputs, proxies: see ``Predictor``.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        alphas: Sequence[float] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0),
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.alphas = alphas
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        from sklearn.linear_model import RidgeCV

        if len(labels) < 2 or not matrix.shape[1]:
            self.weights_ = np.zeros(matrix.shape[1])
            self.intercept_, self.alpha_, self.error_ = float(labels.mean()), 1.0, 1.0
        else:
            model = RidgeCV(list(self.alphas), store_cv_results=True).fit(matrix, labels)
            self.weights_, self.intercept_ = model.coef_, float(model.intercept_)
            self.alpha_ = float(model.alpha_)
            chosen = list(self.alphas).index(model.alpha_)
            self.error_ = float(np.sqrt(model.cv_results_[:, chosen].mean()))
        _, self.singular_, self.directions_ = np.linalg.svd(matrix, full_matrices=False)

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        mean = matrix @ self.weights_ + self.intercept_
        along = matrix @ self.directions_.T
        inside = (along**2 / (self.singular_**2 + self.alpha_)).sum(axis=1)
        outside = np.maximum((matrix**2).sum(axis=1) - (along**2).sum(axis=1), 0) / self.alpha_
        return mean, self.error_ * np.sqrt(1.0 + inside + outside)
