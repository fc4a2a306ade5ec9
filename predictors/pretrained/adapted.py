"""Learning a few labels of a family, beginning with what other families taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ..ensemble.archrank import ArchRank, available
from ..features.evidence import EVIDENCE, PROXIES
from ..features.rank_transform import normal_scores
from ..reading import Sample
from ..tabular.additive import AdditiveProcess
from ..tabular.baselines import TabularPredictor
from .families import Slopes
from .graph_ensemble import GraphEnsemble
from .reference import Reference
from .zero_shot import Basis, ZeroShot

PROCESS = "process on evidence"
PARTS = ("statistics", "paths", "edges", "neighbourhoods", "code", "scores", "context")
"""What the process learns from beside the evidence."""


class EvidenceProcess(AdditiveProcess):
    """An additive process around a straight line of the evidence.

        y = b z + f(x),   f ~ GP

    z is the evidence, a score of each sample (``EVIDENCE``); its slope b is like that of one of
    the families, as labels tell (``Slopes``); f is an ``AdditiveProcess``. Our choice.

    Args:
        parts: ``"evidence"``, and parts of features for f.
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
    """An ``ArchRank`` that knows what other families say of these architectures.

    That is one more score of each of them, which every member may learn from: the expected top-1
    of networks of real size, else what sizes and proxies say on the scale that families fixed.
    Two members more begin with it: a straight line, and an ``EvidenceProcess`` around one, which
    has b^4 / 2 of the weight to begin with, b the slope that labels find, or as much as others.

    Attributes:
        reference_: what families fixed (``Reference.state``).
        expert_: of networks of real size; None if there is none.
        basis_: what the evidence is.
        slope_: of labels over the evidence.
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
        """What other families say of architectures."""
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
        judged = self._judged(samples)
        z = np.array([sample.scores[EVIDENCE] for sample in judged])
        z = (z - z.mean()) / (z.std() or 1.0)
        self.slope_, _ = self.knowledge.slopes(self.basis_).given(z, normal_scores(labels))
        super()._fit(judged, labels)

    def _start(self, names: Sequence[str]) -> dict[str, float]:
        own = max(max(self.slope_, 0.0) ** 4 / 2, 1.0 / len(names))
        others = (1.0 - own) / max(len(names) - 1, 1)
        return {name: own if name == PROCESS else others for name in names}

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
        has = available(samples)
        known = self.knowledge.slopes(self.basis_)
        trust = (known.slopes, known.weights)
        parts = ("evidence", *(part for part in PARTS if has.get(part, True)))
        return {
            PROCESS: EvidenceProcess(parts, *trust, self.random_state),
            "evidence alone": EvidenceProcess(("evidence",), *trust),
            **super()._library(samples),
        }
