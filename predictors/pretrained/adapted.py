"""Learning from a few labels of a family, with a prior from other families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ...basics import Array
from ..ensemble.archrank import ArchRank
from ..ensemble.line import Line
from ..features.columns import Columns
from ..features.evidence import EVIDENCE, PROXIES
from ..reading import Sample
from ..tabular.contract import TabularPredictor
from ..tabular.untrained import Vote
from .graph_ensemble import GraphEnsemble
from .reference import Reference
from .zero_shot import Basis, ZeroShot

_FEW = 5  # labels from which half of what members learn counts; our choice


class AdaptedRank(ArchRank):
    """An ``ArchRank`` that starts from the evidence of other families.

        y = b^2 b z + s f(x),   s = n^2 / (n^2 + 25)

    z is the evidence: the expected top-1 of networks of real size, else what sizes and proxies say
    on the scale that families fixed. Its slope b resembles that of one of the known families;
    labels show which (``Slopes``). The line b z is weighed by the share b^2 of the labels' variance
    that it would explain, since a line that explains little does more harm than good. The members
    learn the rest f, with the evidence as one more score. What they learn from n labels counts by
    the share s, since from a handful of labels they learn more noise than order. One additional
    member learns nothing, so that the line may stand alone.

    Source: a Gaussian process with a parametric mean, for any predictor; Rasmussen and Williams
    2006, section 2.7.

    Notes:
        That every member learns around the line, and the weights b^2 and s, are our choice. They
        were chosen on other draws of labels than `experiments/results/transfer.md` reports.

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
        share = len(targets) ** 2 / (len(targets) ** 2 + _FEW**2)
        return replace(flat, slope=chance * slope, variance=doubt, share=share)

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
