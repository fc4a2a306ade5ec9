"""The contract of members, what they learn, and the members that read no embeddings."""

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
    """What members learn of some graphs.

    Attributes:
        labels: (n,); larger is better.
        families: (n,), whole numbers; graphs of different ones are never compared.
        references: rows of the graphs that members which compare pairs compare others with.
    """

    labels: Array
    families: Rows
    references: npt.NDArray[np.intp]

    @classmethod
    def of(cls, labels: Array, families: Rows, references: int, seed: int) -> Lesson:
        """Return the lesson with so many references, drawn at random."""
        drawn = np.random.default_rng(seed).permutation(len(labels))
        return cls(labels, families, np.sort(drawn[:references]))


class Member(ABC):
    """One of the predictors that GENNAPE takes the mean of."""

    @abstractmethod
    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        """Learn what a lesson says of the inputs."""

    def adapt(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan) -> None:
        """Go on learning, from another family."""
        self.fit(inputs, lesson, plan, UNWATCHED)

    @abstractmethod
    def predict(self, inputs: Inputs) -> Array:
        """Return predictions (n,) on the member's own scale; larger is better."""


class FlopsMember(Member):
    """The logarithm of multiply-adds, which learns nothing."""

    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        pass

    def predict(self, inputs: Inputs) -> Array:
        return np.log10(1.0 + inputs.flops)


class KGNNMember(Member):
    """A graph predictor, which is trained by its own settings.

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
