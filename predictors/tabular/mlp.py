"""Perceptrons on tables of features; scikit-learn does the learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...basics import Array
from .contract import PARTS, TabularPredictor, filled


class MLP(TabularPredictor):
    """Several small networks on features; the standard deviation is their spread.

    Args:
        hidden: the widths of hidden layers (ReLU).
        penalty: the penalty on squared weights.
        members: the number of networks, each with its own initialisation.
        random_state: the seed of the first network.
        parts, space, task, inputs, proxies: see ``Ridge``.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        hidden: Sequence[int] = (128, 128),
        penalty: float = 0.01,
        members: int = 5,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.hidden = hidden
        self.penalty = penalty
        self.members = members
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        self.layers_ = []
        for member in range(self.members):
            model = MLPRegressor(
                hidden_layer_sizes=tuple(self.hidden),
                alpha=self.penalty,
                max_iter=300,
                random_state=self.random_state + member,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # 300 epochs are intended
                model.fit(filled(matrix), labels)
            self.layers_.append(
                [[w, b] for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
            )

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        values = np.array([_forward(filled(matrix), layers) for layers in self.layers_])
        return values.mean(axis=0), values.std(axis=0)


def _forward(matrix: Array, layers: Sequence[Sequence[Array]]) -> Array:
    state = matrix
    for weights, biases in layers[:-1]:
        state = np.maximum(state @ weights + biases, 0.0)
    weights, biases = layers[-1]
    output: Array = (state @ weights + biases)[:, 0]
    return output
