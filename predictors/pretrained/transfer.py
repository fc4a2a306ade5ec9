"""A predictor that ranks families of architectures it never saw, with no labels or a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...errors import InputError
from ..contract import _AT_ONCE
from ..ensemble.archrank import ArchRank, available
from ..features.evidence import PROXIES, Evidence, measurements, table_of
from ..reading import Sample, listed
from ..tabular.additive import AdditiveProcess
from ..tabular.baselines import TabularPredictor
from .distribution import Familiarity, FamiliarityReport, warn_of_strangers
from .family_prior import Experience

WEIGHTS = Path(__file__).parent / "weights"
"""The predictor that is shipped; ``card.md`` beside it says what it learnt of."""
PROCESS = "process on evidence"
PARTS = ("statistics", "paths", "edges", "neighbourhoods", "code", "scores")
"""What the process learns from beside the evidence."""


class EvidenceProcess(AdditiveProcess):
    """An additive process around a straight line of the evidence.

        y = b z + f(x),   f ~ GP

    z is the evidence (:class:`~archrank.predictors.features.evidence.Evidence`); its slope b is
    like that of one of the families (:meth:`Experience.slope_given
    <archrank.predictors.pretrained.family_prior.Experience.slope_given>`), as labels tell; f is an
    :class:`~archrank.predictors.AdditiveProcess`. Our choice.

    Args:
        parts: ``"evidence"``, and parts of features for f.
        experience: :meth:`~archrank.predictors.pretrained.family_prior.Experience.state`.
        random_state, space, task, inputs, proxies: see
            :class:`~archrank.predictors.AdditiveProcess`.
    """

    def __init__(
        self,
        parts: Sequence[str] = ("evidence", *PARTS),
        experience: Mapping[str, Any] | None = None,
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
        self.experience = experience

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        experience = self._experience
        z = self._evidence(matrix)
        kinds = list(getattr(self.features_, "evidence_", {"kinds": {}})["kinds"])
        self.slope_, self.slope_variance_ = experience.slope_given(kinds, z, labels)
        super().fit_matrix(matrix, labels - self.slope_ * z)

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        z = self._evidence(matrix)
        mean, std = super().predict_matrix(matrix)
        return mean + self.slope_ * z, np.sqrt(std**2 + self.slope_variance_ * z**2)

    @property
    def _experience(self) -> Experience:
        if self.experience is None:
            return shipped_experience()
        return Experience.read(self.experience)

    def _evidence(self, matrix: Array) -> Array:
        found = super()._blocks(matrix).get("evidence")
        return np.zeros(len(matrix)) if found is None else found[:, 0]

    def _blocks(self, matrix: Array) -> dict[str, Array]:
        blocks = super()._blocks(matrix)
        blocks.pop("evidence", None)
        return blocks or {"nothing": np.zeros((len(matrix), 1))}


class TransferRank(ArchRank):
    """Ranks families that it never saw: without labels by evidence, with some by learning.

    Without labels (``n_samples_`` is 0, as :func:`archrank.load_predictor` gives it) predictions
    are the expected labels in standard deviations of a family, b_0 z, **relative to the
    architectures predicted together**: z says where each stands among them
    (:class:`~archrank.predictors.features.evidence.Evidence`). Their standard deviation is
    (1 - b_0^2)^1/2, and (1 - b_w^2)^1/2 for graphs unlike all that it learnt of, b_w being the
    least correlation that any family had; of those, a
    :class:`~archrank.predictors.pretrained.distribution.OutOfFamilyWarning` tells.

    With labels the evidence alone, and an :class:`EvidenceProcess` around it, are two more members
    of :class:`~archrank.predictors.ArchRank` beside those that are fitted from scratch. Half of the
    weight is the process's to begin with; from 12 labels on, cross-validation moves it.

    Args:
        experience: what families taught (:meth:`Experience.state
            <archrank.predictors.pretrained.family_prior.Experience.state>`); default what is
            shipped.
        proxies: to compute of each architecture: ``"auto"`` for all that the evidence can use
            (needs models or architectures of a space); by default it is made of sizes alone.
            Scores that samples bring are used in any case.
        members, folds, random_state, space, task, inputs: see
            :class:`~archrank.predictors.ArchRank`.

    Source: Experience of labelled families in place of GENNAPE's fine-tuned encoder; our choice.

    Example:
        >>> from archrank import load_predictor
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(40, seed=0)
        >>> predictor = load_predictor().set_params(space="nasbench201")
        >>> labels = [space("nasbench201").graph(cell).params ** 0.5 for cell in cells]
        >>> predictor.score(cells, labels) > 0.7
        True
    """

    def __init__(
        self,
        experience: Mapping[str, Any] | None = None,
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
        self.experience = experience

    experience_: Mapping[str, Any]
    familiarity_: Familiarity | None = None

    @classmethod
    def without_labels(
        cls, experience: Experience, familiarity: Familiarity | None = None, **arguments: Any
    ) -> Self:
        """The one that ranks by what families taught alone."""
        made = cls(**arguments)
        made.n_samples_, made.label_mean_, made.label_std_ = 0, 0.0, 1.0
        made.experience_ = experience.state()
        made.familiarity_ = familiarity
        return made

    @property
    def needed_proxies(self) -> tuple[str, ...]:
        return PROXIES if self.proxies == "auto" else tuple(self.proxies)

    @property
    def usable_proxies(self) -> tuple[str, ...]:
        return PROXIES

    def explain(self, X: Any) -> dict[str, Array]:
        """Return each kind of evidence, as normal scores among the architectures."""
        table = table_of([measurements(s.graph, s.scores) for s in self._read(listed(X))])
        return dict(Evidence.of(table).scores(table))

    @property
    def _chooses_proxies(self) -> bool:
        return False

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        if self.experience is not None:
            self.experience_, self.familiarity_ = self.experience, None
        elif not hasattr(self, "experience_"):
            known = shipped()
            self.experience_, self.familiarity_ = known.experience_, known.familiarity_
        super()._fit(samples, labels)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predicted labels (n,), and with ``return_std`` their standard deviations (n,).

        Raises:
            NotFittedError, InputError: see :meth:`~archrank.predictors.Predictor.predict`.
        """
        if not self._unlabelled:
            return super().predict(X, return_std)
        mean, std = self._zero_shot(X)
        return (mean, std) if return_std else mean

    def better(self, X: Any, others: Any) -> Array:
        if not self._unlabelled:
            return super().better(X, others)
        raise InputError("X: without labels there is no comparing of two lists; rank them together")

    def interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        if not self._unlabelled:
            return super().interval(X, coverage)
        raise InputError("X: without labels there is no scale for intervals of labels")

    def familiarity(self, X: Any) -> FamiliarityReport:
        """How like each architecture is to what it learnt of; see :class:`Familiarity`.

        Raises:
            InputError: nothing was kept to compare with.
        """
        if self.familiarity_ is None:
            raise InputError("familiarity: this predictor keeps no pretraining set to compare with")
        graphs = [sample.graph for sample in self._read(listed(X))]
        assert self.familiarity_ is not None
        return self.familiarity_.report(graphs)

    @property
    def _unlabelled(self) -> bool:
        return self.__sklearn_is_fitted__() and self.n_samples_ == 0

    def _zero_shot(self, X: Any) -> tuple[Array, Array]:
        given = listed(X)
        rows: list[list[float]] = [[] for _ in given]
        strange = np.zeros(len(given), dtype=bool)
        known = self.familiarity_
        for part in self.reader.parts(given, _AT_ONCE):
            samples = self._read([given[i] for i in part])
            for i, sample in zip(part, samples, strict=True):
                rows[i] = measurements(sample.graph, sample.scores)
            if known is not None:
                strange[part] = known.report([sample.graph for sample in samples]).strange
        return self.judged(table_of(rows), strange)

    def judged(self, table: Array, strange: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """Expected labels without any, and their deviations, both (n,), of measurements.

        Args:
            table: (n, :data:`~archrank.predictors.features.evidence.MEASURED`), of all that are
            compared. strange: (n,), whether each is unlike what was learnt of.
        """
        experience, evidence = Experience.read(self.experience_), Evidence.of(table)
        slope = experience.slope(list(evidence.kinds))
        warn_of_strangers(strange)
        least = np.clip(min(experience.worst, slope), 0.0, 1.0)
        std = np.sqrt(1.0 - np.where(strange, least, slope) ** 2)
        # What has not one measurement is not judged.
        missing = ~np.isfinite(table).any(axis=1)
        mean = slope * evidence.score(table)
        return np.where(missing, np.nan, mean), np.where(missing, np.nan, std)

    def _library(self, samples: Sequence[Sample]) -> dict[str, TabularPredictor]:
        has = available(samples)
        parts = ("evidence", *(part for part in PARTS if has.get(part, True)))
        return {
            PROCESS: EvidenceProcess(parts, self.experience_, self.random_state),
            "evidence alone": EvidenceProcess(("evidence",), self.experience_),
            **super()._library(samples),
        }

    def _start(self, names: Sequence[str]) -> dict[str, float]:
        others = len(names) - 1
        return {name: 0.5 if name == PROCESS else 0.5 / others for name in names}


def shipped() -> TransferRank:
    """The predictor that comes with the package.

    Raises:
        InputError: it does not; the installation is not whole.
    """
    return TransferRank.load(WEIGHTS)


def shipped_experience() -> Experience:
    """What the shipped predictor learnt of families."""
    return Experience.read(shipped().experience_)
