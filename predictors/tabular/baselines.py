"""Predictors that learn from tables of features: baselines that are hard to beat.

scikit-learn and XGBoost do the learning. The fitted models are kept as plain arrays, so that they
can be written without pickle and predict the same on every machine.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...errors import InputError
from ..contract import Predictor
from ..features.columns import Features, read_columns
from ..reading import Sample

PARTS = ("statistics", "paths", "scores")


class TabularPredictor(Predictor):
    """A predictor that reads a matrix of features; subclasses learn from arrays (X, y).

    Attributes:
        features_: the ``Features`` that make the matrix.
    """

    parts: Sequence[str]
    features_: Features

    @property
    def read_parts(self) -> tuple[str, ...]:
        """Return the parts that the matrix is made of."""
        return tuple(self.parts)

    @abstractmethod
    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        """Learn from features (samples, columns) and standardised labels."""

    def calibrate_matrix(self, matrix: Array, labels: Array) -> None:
        """Learn how far means err, if that takes fits of its own; means do not need it."""

    @abstractmethod
    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        """Return means and standard deviations, both (samples,), of standardised labels."""

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        columns = read_columns(samples, self.read_parts)
        self.features_ = Features(self.read_parts).fit(columns)
        matrix = self.features_.transform(columns)
        self.fit_matrix(matrix, labels)
        self.calibrate_matrix(matrix, labels)

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        columns = read_columns(samples, self.read_parts, self.features_.score_names_)
        return self.predict_matrix(self.features_.transform(columns))


class Ridge(TabularPredictor):
    """Ridge regression whose penalty is chosen by the leave-one-out error.

    The standard deviation of a prediction is s sqrt(1 + x (X'X + alpha I)^-1 x'), s the root mean
    square of leave-one-out errors.

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


class RandomForest(TabularPredictor):
    """A forest of fully grown trees; the standard deviation is that of its trees.

    Args:
        trees: the number of trees.
        columns: the share of columns that each split chooses from.
        extra: extremely randomised trees on all samples instead of bootstrapped ones.
        random_state: seed.
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
            _filled(matrix), labels
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
        # Trees were grown on single precision, and compare in it.
        table = _filled(matrix).astype(np.float32)
        node = np.repeat(self.roots_[None, :], len(table), axis=0)
        rows = np.arange(len(table))[:, None]
        while (inner := self.left_[node] >= 0).any():
            goes_left = table[rows, np.maximum(self.column_[node], 0)] <= self.threshold_[node]
            below = np.where(goes_left, self.left_[node], self.right_[node])
            node = np.where(inner, below, node)
        values = self.value_[node]
        return values.mean(axis=1), values.std(axis=1)


def _joined(links: Sequence[npt.NDArray[Any]], first: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Links of trees as links of one list of nodes; -1 where there is none."""
    moved = [np.where(link >= 0, link + at, -1) for link, at in zip(links, first, strict=True)]
    return np.concatenate(moved).astype(np.int32)


def _filled(matrix: Array) -> Array:
    """At least one column: trees cannot do without."""
    return matrix if matrix.shape[1] else np.zeros((len(matrix), 1))


class XGBoost(TabularPredictor):
    """The mean of several gradient-boosted models on random shares of samples and columns.

    The standard deviation combines the spread of the members and the error on held-out samples.

    Args:
        trees, depth, learning_rate, samples, columns, least: for each member the number of trees,
            their depth, the shrinkage, the shares of samples and columns per tree, and the least
            weight of a leaf.
        members: how many.
        random_state: seed of the first.
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
        self.error_ = 0.0  # until it is known

    def calibrate_matrix(self, matrix: Array, labels: Array) -> None:
        """Estimate the error by five-fold cross-validation; take the labels' deviation if few."""
        import xgboost

        if len(labels) < 10:
            self.error_ = 1.0
            return
        fold = np.random.default_rng(self.random_state).permutation(len(labels)) % 5
        errors = []
        for held in range(5):
            out = fold == held
            booster = self._member(matrix[~out], labels[~out], 0)
            errors.append(booster.predict(xgboost.DMatrix(_filled(matrix[out]))) - labels[out])
        self.error_ = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        import xgboost

        table = xgboost.DMatrix(_filled(matrix), nthread=1)
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
        table = xgboost.DMatrix(_filled(matrix), labels, nthread=1)
        return xgboost.train(options, table, self.trees)


class GaussianProcess(TabularPredictor):
    """A Gaussian process that maximises the marginal likelihood over scales and noise.

    ``"rbf"``: a exp(-|x - x'|^2 / (2 l^2)) + noise on standardised features. ``"matern"``: the same
    with nu = 3/2. ``"wl"``: the Weisfeiler-Lehman subtree kernel, a dot product of counts of
    neighbourhoods of unit length, + noise.

    Source: Rasmussen and Williams 2006; for graphs Ru et al., NAS-BOWL, ICLR 2021.

    Args:
        kernel: as above; ``"wl"`` reads neighbourhoods, whatever ``parts`` says.
        random_state: seed of the restarts.
        parts, space, task, inputs, proxies: see ``Ridge``.

    Raises:
        InputError: there is no such kernel.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        kernel: str = "rbf",
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.kernel = kernel
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    @property
    def read_parts(self) -> tuple[str, ...]:
        return ("neighbourhoods",) if self.kernel == "wl" else tuple(self.parts)

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning

        process = self._process(self._start(matrix.shape[1]), optimise=True)
        with warnings.catch_warnings():
            # A scale at its bound is a kernel without, or with nothing but, noise: both fine.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(self._kernel_input(matrix), labels)
        self.scales_ = process.kernel_.theta
        self.matrix_, self.labels_ = matrix, labels
        self._fitted: Any = None

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        if getattr(self, "_fitted", None) is None:  # made of what files hold: they give the same
            kernel = self._start(self.matrix_.shape[1]).clone_with_theta(self.scales_)
            process = self._process(kernel, optimise=False)
            self._fitted = process.fit(self._kernel_input(self.matrix_), self.labels_)
        mean, std = self._fitted.predict(self._kernel_input(matrix), return_std=True)
        return mean, std

    def _process(self, kernel: Any, optimise: bool) -> Any:
        from sklearn.gaussian_process import GaussianProcessRegressor

        return GaussianProcessRegressor(
            kernel,
            optimizer="fmin_l_bfgs_b" if optimise else None,
            random_state=self.random_state,
        )

    def _start(self, columns: int) -> Any:
        from sklearn.gaussian_process.kernels import (
            RBF,
            ConstantKernel,
            DotProduct,
            Matern,
            WhiteKernel,
        )

        scale, bounds = max(columns, 1) ** 0.5, (0.1, 300.0)
        kernels = {
            "rbf": lambda: RBF(scale, bounds),
            "matern": lambda: Matern(scale, bounds, nu=1.5),
            "wl": lambda: DotProduct(0.0, "fixed"),
        }
        if self.kernel not in kernels:
            raise InputError(f"kernel: got {self.kernel!r}, expected one of {', '.join(kernels)}")
        amplitude = ConstantKernel(1.0, (1e-3, 1e3))
        return amplitude * kernels[self.kernel]() + WhiteKernel(0.1, (1e-4, 2.0))

    def _kernel_input(self, matrix: Array) -> Array:
        table = _filled(matrix)
        if self.kernel != "wl":
            return table
        length = np.linalg.norm(table, axis=1, keepdims=True)
        return table / np.where(length > 0, length, 1.0)


class MLP(TabularPredictor):
    """Several small networks on features; the standard deviation is their spread.

    Args:
        hidden: widths of hidden layers (ReLU).
        penalty: on squared weights.
        members: how many, each from its own initialisation.
        random_state: seed of the first.
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
                warnings.simplefilter("ignore", ConvergenceWarning)  # 300 epochs are the setting
                model.fit(_filled(matrix), labels)
            self.layers_.append(
                [[w, b] for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
            )

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        values = np.array([_forward(_filled(matrix), layers) for layers in self.layers_])
        return values.mean(axis=0), values.std(axis=0)


def _forward(matrix: Array, layers: Sequence[Sequence[Array]]) -> Array:
    state = matrix
    for weights, biases in layers[:-1]:
        state = np.maximum(state @ weights + biases, 0.0)
    weights, biases = layers[-1]
    output: Array = (state @ weights + biases)[:, 0]
    return output
