"""A predictor that ranks new families of architectures, with no labels or a few."""

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
    """A predictor for new families of architectures, with no labels or a few.

    Without labels (``n_samples_`` is 0, as from ``archrank.load_predictor``), it predicts expected
    labels in standard deviations, for each architecture by itself. Networks of real size are judged
    by the ImageNet accuracy expected from their graphs, others by sizes and proxies on a fixed
    scale (``ZeroShot``). Adding a candidate changes no other prediction. Standard deviations are
    calibrated on held-out families: of the pairs ordered with 90 % certainty, 90 % are ordered
    correctly. An ``OutOfFamilyWarning`` is given for small networks that are out of distribution.

    With labels it is an ``ArchRank`` that learns around a line learnt from other families; see
    ``AdaptedRank``.

    Args:
        reference: the scale that other families fixed (``Reference.state``); by default the
            shipped one, with the expert for networks of real size.
        proxies: proxies to compute for each architecture. ``"auto"`` computes all that the
            evidence can use, which needs models or architectures of a space. By default the
            evidence consists of sizes. Scores that samples already have are always used.
        members, folds, random_state, space, task, inputs: see
            ``ArchRank``.

    Source: A prior of labelled families in place of GENNAPE's fine-tuned encoder.

    Notes:
        The prior is our choice.

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
        """Return the predictor that needs no labels.

        Args:
            reference: the scale of the evidence.
            distribution: the distribution of the graphs that it learnt from.
            expert: the predictor for networks of real size.
            arguments: further arguments of the class.
        """
        made = cls(**arguments)
        made.n_samples_, made.label_mean_, made.label_std_ = 0, 0.0, 1.0
        made.reference_ = reference.state()
        made.distribution_ = distribution
        made.expert_ = expert
        return made

    @property
    def zero_shot(self) -> ZeroShot | None:
        """Return the predictor that needs no labels, or None if this one was fitted."""
        if not self.__sklearn_is_fitted__() or self.n_samples_:
            return None
        return replace(self.knowledge, distribution=self.distribution_)

    @property
    def enough(self) -> Callable[[Graph], bool] | None:
        """Return a function that tells for which graphs proxies change nothing, or None."""
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
        """Return predicted labels (n,), with ``return_std`` also their standard deviations (n,).

        Raises:
            NotFittedError, InputError: see ``predict``.
        """
        zero_shot = self.zero_shot
        if zero_shot is None:
            return super().predict(X, return_std)
        mean, std = self._in_parts(X, zero_shot.judge)
        return (mean, std) if return_std else mean

    def explain(self, X: Any) -> dict[str, Array]:
        """Return each kind of evidence, and the expected ImageNet top-1 for networks of real size.

        After ``fit`` it is empty, since predictions no longer consist of evidence alone.
        """
        zero_shot = self.zero_shot
        return {} if zero_shot is None else zero_shot.explain(self._read(listed(X)))

    def better(self, X: Any, others: Any) -> Array:
        """Return the probability (n,) that each architecture is better than its counterpart.

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
        """Report how similar each architecture is to the training data; see ``Distribution``.

        Raises:
            InputError: no training data were kept to compare with.
        """
        if self.distribution_ is None:
            raise InputError(
                "distribution: this predictor keeps no pretraining set to compare with"
            )
        return self.distribution_.report([sample.graph for sample in self._read(listed(X))])
