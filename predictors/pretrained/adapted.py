"""Learning from a few labels of a family, with a prior from other families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ..ensemble.archrank import ArchRank
from ..ensemble.line import Line
from ..features.columns import GROUPS, Columns
from ..features.evidence import EVIDENCE, PROXIES
from ..reading import Sample
from ..tabular.additive import AdditiveProcess
from ..tabular.baselines import TabularPredictor
from ..tabular.untrained import Vote
from .families import Slopes
from .graph_ensemble import GraphEnsemble
from .reference import Reference
from .zero_shot import Basis, ZeroShot

PARTS = (*GROUPS, "paths", "edges", "neighbourhoods", "code", "scores", "context")
"""What the process learns from beside the evidence."""


class EvidenceProcess(AdditiveProcess):
    """An additive process around a straight line of the evidence.

        y = b z + f(x),   f ~ GP

    z is the evidence, a score of each sample (``EVIDENCE``). Its slope b resembles that of one of
    the known families; labels show which (``Slopes``). f is an ``AdditiveProcess``. This predictor
    stands alone, whereas ``AdaptedRank`` learns around a line with all its members.

    Notes:
        The model is our choice.

    Args:
        parts: ``"evidence"``, and the parts of features that f reads.
        slopes, weights: of families.
        random_state, space, task, inputs, proxies: see ``AdditiveProcess``.
    """

    def __init__(
        self,
        parts: Sequence[str] = ("evidence", *PARTS),
        slopes: npt.ArrayLike = (0.0, 0.5, 0.9),
        weights: npt.ArrayLike = (1.0, 1.0, 1.0),
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        super().__init__(
            parts, random_state, space=space, task=task, inputs=inputs, proxies=proxies
        )
        self.slopes = slopes
        self.weights = weights

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        z = self._evidence(matrix)
        known = Slopes(np.asarray(self.slopes), np.asarray(self.weights))
        self.slope_, self.slope_variance_ = known.given(z, labels)
        super().fit_matrix(matrix, labels - self.slope_ * z)

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        z = self._evidence(matrix)
        mean, std = super().predict_matrix(matrix)
        return mean + self.slope_ * z, np.sqrt(std**2 + self.slope_variance_ * z**2)

    def _evidence(self, matrix: Array) -> Array:
        found = super()._blocks(matrix).get("evidence")
        return np.zeros(len(matrix)) if found is None else found[:, 0]

    def _blocks(self, matrix: Array) -> dict[str, Array]:
        blocks = super()._blocks(matrix)
        blocks.pop("evidence", None)
        return blocks or {"nothing": np.zeros((len(matrix), 1))}


class AdaptedRank(ArchRank):
    """An ``ArchRank`` that starts from the evidence of other families.

        y = b^2 b z + f(x)

    z is the evidence: the expected top-1 of networks of real size, else what sizes and proxies say
    on the scale that families fixed. Its slope b resembles that of one of the known families;
    labels show which (``Slopes``). The line b z is weighed by the share b^2 of the labels' variance
    that it would explain, since a line that explains little does more harm than good. The members
    learn the rest f, with the evidence as one more score. One additional member learns nothing, so
    that the line may stand alone.

    Source: a Gaussian process with a parametric mean, for any predictor; Rasmussen and Williams
    2006, section 2.7.

    Notes:
        That every member learns around the line, and the weight b^2, are our choice. They were
        chosen on other draws of labels than those that `experiments/results/transfer.md` reports.

    Attributes:
        reference_: what families fixed (``Reference.state``).
        expert_: the predictor for networks of real size, or None.
        basis_: what the evidence is.
        slope_: the slope b^3 of labels over the evidence.
    """

    expert_: GraphEnsemble | None = None
    reference_: Mapping[str, Any]
    basis_: Basis

    def __init__(
        self,
        reference: Mapping[str, Any] | None = None,
        proxies: Sequence[str] | Literal["auto"] = (),
        members: Mapping[str, TabularPredictor] | None = None,
        folds: int = 5,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
    ):
        super().__init__(
            proxies, members, folds, random_state, space=space, task=task, inputs=inputs
        )
        self.reference = reference

    @property
    def knowledge(self) -> ZeroShot:
        """Return the evidence that other families give about architectures."""
        return ZeroShot(Reference.read(self.reference_), self.expert_)

    @property
    def needed_proxies(self) -> tuple[str, ...]:
        return PROXIES if self.proxies == "auto" else tuple(self.proxies)

    @property
    def usable_proxies(self) -> tuple[str, ...]:
        return PROXIES

    @property
    def _chooses_proxies(self) -> bool:
        return False

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        self.basis_ = self.knowledge.basis(samples)
        super()._fit(self._judged(samples), labels)
        self.slope_ = self.line_["slope"]

    def _line(self, columns: Columns, targets: Array) -> Line:
        z = columns.tables["evidence"][:, 0]
        flat = Line(0.0, 0.0, float(z.mean()), float(z.std()) or 1.0)
        slope, variance = self.knowledge.slopes(self.basis_).given(
            flat.standardised(columns), targets
        )
        chance = max(slope, 0.0) ** 2
        doubt = chance * variance + chance * (1.0 - chance) * slope**2
        return replace(flat, slope=chance * slope, variance=doubt)

    def _parts_read(self, several: Any) -> tuple[str, ...]:
        return ("evidence", *super()._parts_read(several))

    def _normal(self, samples: list[Sample]) -> tuple[Array, Array]:
        return super()._normal(self._judged(samples))

    def _judged(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples with what the evidence says of them as one more score."""
        said = self.knowledge.evidence(samples, self.basis_).tolist()
        return [
            replace(sample, scores={**sample.scores, EVIDENCE: z})
            for sample, z in zip(samples, said, strict=True)
        ]

    def _library(self, samples: Sequence[Sample]) -> dict[str, TabularPredictor]:
        return {"evidence alone": Vote(()), **super()._library(samples)}
