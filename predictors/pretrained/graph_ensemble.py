"""What graphs alone say of accuracy: trees and two processes, and how far they err."""

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
from ..tabular.baselines import RandomForest
from ..tabular.surrogate import Surrogate

LabelKind = Literal["number", "percent"]
_TUNED = 500
"""How many labels choose the variances of the processes."""
_WEIGHTS = {"trees": 0.25, "process on statistics": 0.25, "process on all": 0.5}


class GraphEnsemble(Predictor):
    """A weighted mean of three learners of graphs, with the training recipe as context.

    Extremely randomised trees learn from the statistics and the profile of each graph. Two Gaussian
    processes learn from groups of these numbers, with kernels for each group: one from the
    statistics alone, one from the profile and from counts of edges too. Both also learn from the
    context that samples bring. The last process counts twice in the mean. Samples without a
    context, where others had one, are taken to have the commonest. What is said of an architecture
    depends on nothing else that is predicted with it.

    Labels of ``"percent"`` are accuracies a, which it learns as -log(100 - a): a halved error
    counts the same everywhere.

    The standard deviation joins what learners disagree by, what they err by and what labels of one
    graph differ by, stretched so that it covers what ``calibrate`` was shown (by default 1).

    Args:
        label: ``"number"``, or ``"percent"`` for accuracies below 100.
        trees: how many randomised trees.
        random_state: seed of the trees.
        space, task, inputs, proxies: see ``Predictor``.

    Notes:
        The learners and features are our choice (``experiments/imagenet_zoo.py``). Kernels for
        each group matter most: an unseen family is odd in some groups, and like others in the rest.

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
        """Learn from architectures and their labels, larger is better.

        Raises:
            InputError: as of any predictor, or an accuracy of 100 % and more.
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
        """Stretch deviations so that intervals cover so many errors.

        Args:
            errors, stds: (n,), what it erred by on families held out, and the deviations that it
                said, both in units of what it learns (of ``"percent"`` labels, the logarithm).
            coverage: of the intervals that will be asked for most.
            slopes: (families,), correlations of what it said with labels within those families.
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
        """Return what each learner says alone (n,), in units of labels."""
        given = self._in_context(self._read(X))
        found = {}
        for name, member in self.members_.items():
            own = member.predict(given) * self.label_std_ + self.label_mean_
            found[name] = 100.0 - np.exp(-own) if self.label == "percent" else own
        return found

    def expected(self, X: Any) -> tuple[Array, Array]:
        """Return means and deviations in units of what it learns, both (n,)."""
        mean, std = super().predict(X, return_std=True)
        return mean, std

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return expected labels (n,), and with ``return_std`` their standard deviations (n,).

        Raises:
            NotFittedError, InputError: see ``Predictor.predict``.
        """
        mean, std = self.expected(X)
        if self.label == "percent":
            left = np.exp(-mean)
            mean, std = 100.0 - left, left * std
        return (mean, std) if return_std else mean

    def interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """Return the ends (n,) of intervals that hold the label so often.

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
