"""A predictor that ranks families of architectures it never saw, with no labels or a few."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ...basics import Array
from ...errors import InputError
from ..contract import AT_ONCE
from ..features.evidence import table_of
from ..reading import Sample, listed
from .adapted import AdaptedRank
from .distribution import Distribution, DistributionReport
from .family_prior import FamilyPrior
from .shipped import shipped
from .zero_shot import ZeroShot


class TransferRank(AdaptedRank):
    """Ranks families that it never saw: without labels by evidence, with some by learning.

    Without labels (``n_samples_`` is 0, as ``archrank.load_predictor`` gives it) predictions
    are the expected labels in standard deviations of a family, b_0 z, **relative to the
    architectures predicted together**: z says where each stands among them
    (``Evidence``). Their standard deviation is
    (1 - b_0^2)^1/2, and (1 - b_w^2)^1/2 for graphs unlike all that it learnt of, b_w being the
    least correlation that any family had; of those, a
    ``OutOfFamilyWarning`` tells.

    With labels it is an ``ArchRank`` with two more members, which begin
    with what families taught: see ``AdaptedRank``.

    Args:
        family_prior: what families taught (``FamilyPrior.state``); default what is
            shipped.
        proxies: to compute of each architecture: ``"auto"`` for all that the evidence can use
            (needs models or architectures of a space); by default it is made of sizes alone.
            Scores that samples bring are used in any case.
        members, folds, random_state, space, task, inputs: see
            ``ArchRank``.

    Source: A prior of labelled families in place of GENNAPE's fine-tuned encoder; our choice.

    Example:
        >>> from archrank import load_predictor
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(40, seed=0)
        >>> predictor = load_predictor().set_params(space="nasbench201")
        >>> labels = [space("nasbench201").graph(cell).params ** 0.5 for cell in cells]
        >>> predictor.score(cells, labels) > 0.7
        True
    """

    distribution_: Distribution | None = None

    @classmethod
    def without_labels(
        cls, prior: FamilyPrior, distribution: Distribution | None = None, **arguments: Any
    ) -> Self:
        """Return the one that ranks by what families taught alone."""
        made = cls(**arguments)
        made.n_samples_, made.label_mean_, made.label_std_ = 0, 0.0, 1.0
        made.family_prior_ = prior.state()
        made.distribution_ = distribution
        return made

    @property
    def zero_shot(self) -> ZeroShot | None:
        """What predicts as long as there are no labels; None once there are some."""
        if not self.__sklearn_is_fitted__() or self.n_samples_:
            return None
        return ZeroShot(FamilyPrior.read(self.family_prior_), self.distribution_)

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        if self.family_prior is not None:
            self.family_prior_, self.distribution_ = self.family_prior, None
        elif not hasattr(self, "family_prior_"):
            known = shipped()
            self.family_prior_, self.distribution_ = known.family_prior_, known.distribution_
        super()._fit(samples, labels)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return predicted labels (n,), and with ``return_std`` their standard deviations (n,).

        Raises:
            NotFittedError, InputError: see ``predict``.
        """
        zero_shot = self.zero_shot
        if zero_shot is None:
            return super().predict(X, return_std)
        given = listed(X)
        rows: list[list[float]] = [[] for _ in given]
        inside = np.ones(len(given), dtype=bool)
        for part in self.reader.parts(given, AT_ONCE):
            found, inside[part] = zero_shot.read(self._read([given[i] for i in part]))
            for i, row in zip(part, found, strict=True):
                rows[i] = row
        mean, std = zero_shot.judge(table_of(rows), inside)
        return (mean, std) if return_std else mean

    def explain(self, X: Any) -> dict[str, Array]:
        """Return each kind of evidence, as normal scores among the architectures.

        With labels there is none: predictions are no longer made of evidence alone.
        """
        zero_shot = self.zero_shot
        return {} if zero_shot is None else zero_shot.explain(self._read(listed(X)))

    def better(self, X: Any, others: Any) -> Array:
        if self.zero_shot is None:
            return super().better(X, others)
        raise InputError("X: without labels there is no comparing of two lists; rank them together")

    def interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        if self.zero_shot is None:
            return super().interval(X, coverage)
        raise InputError("X: without labels there is no scale for intervals of labels")

    def distribution_report(self, X: Any) -> DistributionReport:
        """Say how like each architecture is to what it learnt of; see ``Distribution``.

        Raises:
            InputError: nothing was kept to compare with.
        """
        if self.distribution_ is None:
            raise InputError(
                "distribution: this predictor keeps no pretraining set to compare with"
            )
        return self.distribution_.report([sample.graph for sample in self._read(listed(X))])
