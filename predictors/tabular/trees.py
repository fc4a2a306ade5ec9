"""Forests and boosted trees; scikit-learn and XGBoost do the learning.

The fitted models are stored as plain arrays, so that they can be written without pickle and predict
the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...basics import Array
from .contract import PARTS, TabularPredictor, filled


class RandomForest(TabularPredictor):
    """A forest of fully grown trees; the standard deviation is that of its trees.

    Args:
        trees: the number of trees.
        columns: the share of columns that each split chooses from.
        extra: whether to grow extremely randomised trees on all samples instead of trees on
            bootstrap samples.
        random_state: the seed of everything random.
        parts, space, task, inputs, proxies: see ``Ridge``.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        trees: int = 300,
        columns: float = 0.3,
        extra: bool = False,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.trees = trees
        self.columns = columns
        self.extra = extra
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        kind = ExtraTreesRegressor if self.extra else RandomForestRegressor
        model = kind(self.trees, max_features=self.columns, random_state=self.random_state).fit(
            filled(matrix), labels
        )
        trees = [tree.tree_ for tree in model.estimators_]
        first = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        self.roots_ = first.astype(np.int64)
        self.left_ = _joined([tree.children_left for tree in trees], first)
        self.right_ = _joined([tree.children_right for tree in trees], first)
        self.column_ = np.concatenate([tree.feature for tree in trees]).astype(np.int32)
        self.threshold_ = np.concatenate([tree.threshold for tree in trees])
        self.value_ = np.concatenate([tree.value[:, 0, 0] for tree in trees])

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        # Trees were grown in single precision and compare in it.
        table = filled(matrix).astype(np.float32)
        node = np.repeat(self.roots_[None, :], len(table), axis=0)
        rows = np.arange(len(table))[:, None]
        while (inner := self.left_[node] >= 0).any():
            goes_left = table[rows, np.maximum(self.column_[node], 0)] <= self.threshold_[node]
            below = np.where(goes_left, self.left_[node], self.right_[node])
            node = np.where(inner, below, node)
        values = self.value_[node]
        return values.mean(axis=1), values.std(axis=1)


class XGBoost(TabularPredictor):
    """The mean of several gradient-boosted models on random shares of samples and columns.

    The standard deviation combines the spread of the members and the error on held-out samples.

    Args:
        trees, depth, learning_rate, samples, columns, least: for each member, the number of trees,
            their depth, the shrinkage, the shares of samples and columns per tree, and the least
            weight of a leaf.
        members: the number of models.
        random_state: the seed of the first model.
        parts, space, task, inputs, proxies: see ``Ridge``.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        trees: int = 300,
        depth: int = 4,
        learning_rate: float = 0.05,
        samples: float = 0.8,
        columns: float = 0.3,
        least: float = 2.0,
        members: int = 3,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.trees = trees
        self.depth = depth
        self.learning_rate = learning_rate
        self.samples = samples
        self.columns = columns
        self.least = least
        self.members = members
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        self.boosters_ = [
            np.frombuffer(self._member(matrix, labels, i).save_raw("ubj"), np.uint8).copy()
            for i in range(self.members)
        ]
        self.error_ = 0.0  # until calibrate_matrix estimates it

    def calibrate_matrix(self, matrix: Array, labels: Array) -> None:
        """Estimate the error by five-fold cross-validation, or by the labels' deviation if few."""
        import xgboost

        if len(labels) < 10:
            self.error_ = 1.0
            return
        fold = np.random.default_rng(self.random_state).permutation(len(labels)) % 5
        errors = []
        for held in range(5):
            out = fold == held
            booster = self._member(matrix[~out], labels[~out], 0)
            errors.append(booster.predict(xgboost.DMatrix(filled(matrix[out]))) - labels[out])
        self.error_ = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        import xgboost

        table = xgboost.DMatrix(filled(matrix), nthread=1)
        boosters = [xgboost.Booster(model_file=bytearray(b.tobytes())) for b in self.boosters_]
        values = np.array([booster.predict(table) for booster in boosters], dtype=np.float64)
        return values.mean(axis=0), np.sqrt(values.var(axis=0) + self.error_**2)

    def _member(self, matrix: Array, labels: Array, member: int) -> Any:
        import xgboost

        options = {
            "max_depth": self.depth,
            "eta": self.learning_rate,
            "subsample": self.samples,
            "colsample_bytree": self.columns,
            "min_child_weight": min(self.least, len(labels) / 8),
            "seed": self.random_state + member,
            "nthread": 1,
        }
        table = xgboost.DMatrix(filled(matrix), labels, nthread=1)
        return xgboost.train(options, table, self.trees)


def _joined(links: Sequence[npt.NDArray[Any]], first: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return the links of trees as positions in one list of nodes; -1 if there is no link."""
    moved = [np.where(link >= 0, link + at, -1) for link, at in zip(links, first, strict=True)]
    return np.concatenate(moved).astype(np.int32)
