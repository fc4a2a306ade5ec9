"""Predictions of accuracy from graphs alone: trees, two Gaussian processes, and their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy import stats

from ...basics import Array
from ...errors import InputError
from ..contract import Predictor
from ..features.columns import GROUPS
from ..reading import Sample
from ..tabular.surrogate import Surrogate
from ..tabular.trees import RandomForest

LabelKind = Literal["number", "percent"]
_TUNED = 500
"""How many labels choose the variances of the processes."""
_WEIGHTS = {"trees": 0.25, "process on statistics": 0.25, "process on all": 0.5}


class GraphEnsemble(Predictor):
    """A weighted mean of three learners of graphs, with the training recipe as context.

    Extremely randomised trees learn from the statistics and the profile of each graph. Two Gaussian
    processes learn from groups of these numbers, with kernels for each group: one from the
    statistics alone, one from the profile and from counts of edges too. Both also learn from the
    context that samples bring. The last process counts twice in the mean. Samples without a context
    are assigned the most common one, if others had one. A prediction does not depend on the other
    architectures that are predicted with it.

    With ``label="percent"`` the labels are accuracies a, learnt as -log(100 - a), so that halving
    the error counts the same everywhere.

    The standard deviation combines the learners' disagreement, their errors, and the differences of
    labels of one graph. ``calibrate`` scales it to cover the errors that it is given (by default
    the scale is 1).

    Args:
        label: ``"number"``, or ``"percent"`` for accuracies below 100.
        trees: the number of randomised trees.
        random_state: the seed of the trees.
        space, task, inputs, proxies: see ``Predictor``.

    Notes:
        The learners and features are our choice (``experiments/imagenet_zoo.py``). Separate kernels
        for each group matter most: an unseen family is unusual in some groups and like others in
        the rest.

    Attributes:
        members_: the three learners, by name.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> labels = [graph.flops**0.5 for graph in graphs]
        >>> ensemble = GraphEnsemble(trees=20).fit(graphs[::2], labels[::2])
        >>> ensemble.score(graphs, labels) > 0.7
        True
    """

    def __init__(
        self,
        label: LabelKind = "number",
        trees: int = 100,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.label = label
        self.trees = trees
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from architectures and their labels, where larger is better.

        Raises:
            InputError: see ``Predictor.fit``; or an accuracy is 100 % or more.
        """
        return super().fit(X, self._learnt(y))

    def _learnt(self, y: Any) -> Any:
        if self.label == "number":
            return y
        labels = np.asarray(y, dtype=np.float64)
        if (labels >= 100.0).any():
            raise InputError(f"y: got {labels.max():g}, expected accuracies in % below 100")
        return -np.log(100.0 - labels)

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        contexts = np.array([sample.context for sample in samples], dtype=np.float64)
        distinct, counts = np.unique(contexts, axis=0, return_counts=True)
        self.context_ = distinct[counts.argmax()]
        context = ("context",) if contexts.shape[1] else ()
        groups = [group for group in GROUPS if group.startswith("statistics")]
        self.members_ = {
            "trees": RandomForest(
                ("statistics", "profile"),
                *(self.trees, 0.4),
                extra=True,
                random_state=self.random_state,
            ),
            "process on statistics": Surrogate((*groups, *context), most=_TUNED),
            "process on all": Surrogate((*GROUPS, "edges", *context), most=_TUNED),
        }
        for member in self.members_.values():
            member.fit(samples, labels)
        self.stretch_, self.slopes_ = 1.0, np.zeros(0)

    def calibrate(
        self,
        errors: npt.ArrayLike,
        stds: npt.ArrayLike,
        coverage: float = 0.9,
        slopes: npt.ArrayLike = (),
    ) -> Self:
        """Scale standard deviations so that intervals cover a given share of the errors.

        Args:
            errors, stds: (n,), the errors on held-out families and the predicted standard
                deviations, both in units of the learnt targets (the logarithm for ``"percent"``
                labels).
            coverage: the coverage of the intervals that will be asked for most.
            slopes: (families,), the correlations of predictions and labels within those families.
        """
        ratio = np.abs(np.asarray(errors)) / np.maximum(np.asarray(stds), 1e-12)
        self.slopes_ = np.asarray(slopes, dtype=np.float64)
        self.stretch_ *= float(np.quantile(ratio, coverage) / stats.norm.ppf(0.5 + coverage / 2))
        return self

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        given = self._in_context(samples)
        said = [self.members_[name].predict(given, return_std=True) for name in _WEIGHTS]
        means, deviations = (np.array(values) for values in zip(*said, strict=True))
        weights = np.array([*_WEIGHTS.values()])
        mean = weights @ means
        variance = weights @ (deviations**2 + (means - mean) ** 2)
        return mean, self.stretch_ * np.sqrt(variance + self._noise())

    def _noise(self) -> float:
        """Return the variance of labels of one graph, as the process on all of them found it."""
        scales = self.members_["process on all"].scales_
        return float(np.exp(scales[-1]))

    def _in_context(self, samples: Sequence[Sample]) -> list[Sample]:
        return [replace(s, context=s.context or tuple(self.context_)) for s in samples]

    def by_member(self, X: Any) -> dict[str, Array]:
        """Return the predictions (n,) of each learner, in units of the labels."""
        given = self._in_context(self._read(X))
        found = {}
        for name, member in self.members_.items():
            own = member.predict(given) * self.label_std_ + self.label_mean_
            found[name] = 100.0 - np.exp(-own) if self.label == "percent" else own
        return found

    def expected(self, X: Any) -> tuple[Array, Array]:
        """Return means and standard deviations (n,) in units of the learnt targets."""
        mean, std = super().predict(X, return_std=True)
        return mean, std

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return expected labels (n,), with ``return_std`` also their standard deviations (n,).

        Raises:
            NotFittedError, InputError: see ``Predictor.predict``.
        """
        mean, std = self.expected(X)
        if self.label == "percent":
            left = np.exp(-mean)
            mean, std = 100.0 - left, left * std
        return (mean, std) if return_std else mean

    def interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """Return the lower and upper ends (n,) of intervals that hold a share of the labels.

        Raises:
            InputError: ``coverage`` is not a share.
        """
        if not 0.0 < coverage < 1.0:
            raise InputError(f"coverage: got {coverage!r}, expected a share between 0 and 1")
        mean, std = self.expected(X)
        reach = stats.norm.ppf(0.5 + coverage / 2) * std
        low, high = mean - reach, mean + reach
        if self.label == "percent":
            low, high = 100.0 - np.exp(-low), 100.0 - np.exp(-high)
        return low, high
