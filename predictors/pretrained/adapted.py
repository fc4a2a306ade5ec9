"""Learning a few labels of a family, beginning with what other families taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ...basics import Array
from ..ensemble.archrank import ArchRank, available
from ..features.evidence import PROXIES
from ..reading import Sample
from ..tabular.additive import AdditiveProcess
from ..tabular.baselines import TabularPredictor
from .family_prior import FamilyPrior
from .shipped import shipped_prior

PROCESS = "process on evidence"
PARTS = ("statistics", "paths", "edges", "neighbourhoods", "code", "scores")
"""What the process learns from beside the evidence."""


class EvidenceProcess(AdditiveProcess):
    """An additive process around a straight line of the evidence.

        y = b z + f(x),   f ~ GP

    z is the evidence (``Evidence``); its slope b is
    like that of one of the families (``FamilyPrior.slope_given``), as labels tell; f is an
    ``AdditiveProcess``. Our choice.

    Args:
        parts: ``"evidence"``, and parts of features for f.
        family_prior: ``state``;
            default what is shipped.
        random_state, space, task, inputs, proxies: see
            ``AdditiveProcess``.
    """

    def __init__(
        self,
        parts: Sequence[str] = ("evidence", *PARTS),
        family_prior: Mapping[str, Any] | None = None,
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
        self.family_prior = family_prior

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        prior = self._prior
        z = self._evidence(matrix)
        kinds = list(getattr(self.features_, "evidence_", {"kinds": {}})["kinds"])
        self.slope_, self.slope_variance_ = prior.slope_given(kinds, z, labels)
        super().fit_matrix(matrix, labels - self.slope_ * z)

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        z = self._evidence(matrix)
        mean, std = super().predict_matrix(matrix)
        return mean + self.slope_ * z, np.sqrt(std**2 + self.slope_variance_ * z**2)

    @property
    def _prior(self) -> FamilyPrior:
        if self.family_prior is None:
            return shipped_prior()
        return FamilyPrior.read(self.family_prior)

    def _evidence(self, matrix: Array) -> Array:
        found = super()._blocks(matrix).get("evidence")
        return np.zeros(len(matrix)) if found is None else found[:, 0]

    def _blocks(self, matrix: Array) -> dict[str, Array]:
        blocks = super()._blocks(matrix)
        blocks.pop("evidence", None)
        return blocks or {"nothing": np.zeros((len(matrix), 1))}


class AdaptedRank(ArchRank):
    """An ``ArchRank`` with two more members that know other families.

    They are the evidence alone, and an ``EvidenceProcess`` around it. The process has half of
    the weight to begin with; from 12 labels on, cross-validation moves it.

    Attributes:
        family_prior_: what families taught
            (``state``).
    """

    def __init__(
        self,
        family_prior: Mapping[str, Any] | None = None,
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
        self.family_prior = family_prior

    family_prior_: Mapping[str, Any]

    @property
    def needed_proxies(self) -> tuple[str, ...]:
        return PROXIES if self.proxies == "auto" else tuple(self.proxies)

    @property
    def usable_proxies(self) -> tuple[str, ...]:
        return PROXIES

    @property
    def _chooses_proxies(self) -> bool:
        return False

    def _library(self, samples: Sequence[Sample]) -> dict[str, TabularPredictor]:
        has = available(samples)
        parts = ("evidence", *(part for part in PARTS if has.get(part, True)))
        return {
            PROCESS: EvidenceProcess(parts, self.family_prior_, self.random_state),
            "evidence alone": EvidenceProcess(("evidence",), self.family_prior_),
            **super()._library(samples),
        }

    def _start(self, names: Sequence[str]) -> dict[str, float]:
        others = len(names) - 1
        return {name: 0.5 if name == PROCESS else 0.5 / others for name in names}
