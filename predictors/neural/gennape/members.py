"""The contract of members, their lessons, and the members that read no embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....basics import Array
from ..graph_predictor import GraphPredictor
from ..learning.plan import TrainingPlan
from ..network_predictor import UNWATCHED, Watch
from .combining import Rows
from .embedding import Inputs

MEMBERS = ("fuzzy", "single", "fuzzy pairwise", "single pairwise", "kgnn", "flops")
"""The paper's CL+FCM+T, CL+T, CL+Pairwise+FCM, CL+Pairwise, k-GNN, FLOPs."""


@dataclass(frozen=True)
class Lesson:
    """The labels of some graphs that members learn.

    Attributes:
        labels: (n,); larger is better.
        families: (n,), whole numbers; graphs of different families are never compared.
        references: positions of the reference graphs, for members that compare pairs.
    """

    labels: Array
    families: Rows
    references: npt.NDArray[np.intp]

    @classmethod
    def of(cls, labels: Array, families: Rows, references: int, seed: int) -> Lesson:
        """Return the lesson with ``references`` random references."""
        drawn = np.random.default_rng(seed).permutation(len(labels))
        return cls(labels, families, np.sort(drawn[:references]))


class Member(ABC):
    """One of the predictors whose mean is GENNAPE's prediction."""

    @abstractmethod
    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        """Learn the labels of a lesson for the inputs."""

    def adapt(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan) -> None:
        """Continue to learn from the labels of another family."""
        self.fit(inputs, lesson, plan, UNWATCHED)

    @abstractmethod
    def predict(self, inputs: Inputs) -> Array:
        """Return predictions (n,) on the member's own scale; larger is better."""


class FlopsMember(Member):
    """A member that predicts the logarithm of multiply-adds and learns nothing."""

    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        pass

    def predict(self, inputs: Inputs) -> Array:
        return np.log10(1.0 + inputs.flops)


class KGNNMember(Member):
    """A member that is a graph predictor with its own settings of training.

    Args:
        predictor: the predictor; ``fit`` and ``adapt`` train it in place.
    """

    def __init__(self, predictor: GraphPredictor):
        self.predictor = predictor

    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        self.predictor.fit(inputs.samples, lesson.labels, watch.file("kgnn"), watch.progress)

    def adapt(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan) -> None:
        self.predictor.adapt(inputs.samples, lesson.labels, plan.epochs)

    def predict(self, inputs: Inputs) -> Array:
        return self.predictor.predict(inputs.samples)
