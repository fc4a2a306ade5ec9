"""A predictor that ranks families of architectures it never saw, with no labels or a few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
from scipy import stats

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ..reading import Sample, listed
from .adapted import AdaptedRank
from .distribution import Distribution, DistributionReport
from .graph_ensemble import GraphEnsemble
from .reference import Reference
from .shipped import shipped
from .zero_shot import ZeroShot, is_of_real_size


class TransferRank(AdaptedRank):
    """Ranks families that it never saw: without labels by what it knows, with some by learning.

    Without labels (``n_samples_`` is 0, as ``archrank.load_predictor`` gives it) it says expected
    labels in standard deviations, of each architecture by itself: networks of real size by what
    their graphs say of ImageNet accuracy, others by sizes and proxies on a fixed scale
    (``ZeroShot``). Adding a candidate moves no other. Deviations are such that of pairs that it
    tells apart with 90 %, 90 % are right, as far as families that were held out say. Of small
    networks unlike all that it learnt from, an ``OutOfFamilyWarning`` tells.

    With labels it is an ``ArchRank`` with two more members, which begin
    with what families taught: see ``AdaptedRank``.

    Args:
        reference: the scale that other families fixed (``Reference.state``); default what is
            shipped, with the expert of networks of real size.
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
        cls,
        reference: Reference,
        distribution: Distribution | None = None,
        expert: GraphEnsemble | None = None,
        **arguments: Any,
    ) -> Self:
        """Return the one that ranks by what families taught alone.

        Args:
            reference: the scale of the evidence.
            distribution: of the graphs that it learnt from.
            expert: of networks of real size.
            arguments: of the class.
        """
        made = cls(**arguments)
        made.n_samples_, made.label_mean_, made.label_std_ = 0, 0.0, 1.0
        made.reference_ = reference.state()
        made.distribution_ = distribution
        made.expert_ = expert
        return made

    @property
    def zero_shot(self) -> ZeroShot | None:
        """What predicts as long as there are no labels; None once there are some."""
        if not self.__sklearn_is_fitted__() or self.n_samples_:
            return None
        return replace(self.knowledge, distribution=self.distribution_)

    @property
    def enough(self) -> Callable[[Graph], bool] | None:
        """Which graphs it judges alone, so that proxies would change nothing; None if none."""
        zero_shot = self.zero_shot
        return None if zero_shot is None or zero_shot.expert is None else is_of_real_size

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        if self.reference is not None:
            self.reference_, self.expert_, self.distribution_ = self.reference, None, None
        elif not hasattr(self, "reference_"):
            known = shipped()
            self.reference_, self.expert_ = known.reference_, known.expert_
            self.distribution_ = known.distribution_
        super()._fit(samples, labels)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return predicted labels (n,), and with ``return_std`` their standard deviations (n,).

        Raises:
            NotFittedError, InputError: see ``predict``.
        """
        zero_shot = self.zero_shot
        if zero_shot is None:
            return super().predict(X, return_std)
        mean, std = self._in_parts(X, zero_shot.judge)
        return (mean, std) if return_std else mean

    def explain(self, X: Any) -> dict[str, Array]:
        """Return each kind of evidence, and the expected ImageNet top-1 of networks of real size.

        With labels there is none: predictions are no longer made of evidence alone.
        """
        zero_shot = self.zero_shot
        return {} if zero_shot is None else zero_shot.explain(self._read(listed(X)))

    def better(self, X: Any, others: Any) -> Array:
        """Return the chance (n,) that each architecture is better than the other at its place.

        Raises:
            InputError: there are not as many others.
        """
        if self.zero_shot is None:
            return super().better(X, others)
        (mean, std), (mean_of_others, std_of_others) = (
            self.predict(given, return_std=True) for given in (X, others)
        )
        if len(mean) != len(mean_of_others):
            raise InputError(f"others: got {len(mean_of_others)}, expected {len(mean)} as X has")
        chance: Array = stats.norm.cdf((mean - mean_of_others) / np.hypot(std, std_of_others))
        return chance

    def interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        if self.zero_shot is None:
            return super().interval(X, coverage)
        raise InputError("X: without labels there is no scale for intervals of labels")

    def distribution_report(self, X: Any) -> DistributionReport:
        """Say how like each architecture is to what it learnt from; see ``Distribution``.

        Raises:
            InputError: nothing was kept to compare with.
        """
        if self.distribution_ is None:
            raise InputError(
                "distribution: this predictor keeps no pretraining set to compare with"
            )
        return self.distribution_.report([sample.graph for sample in self._read(listed(X))])
