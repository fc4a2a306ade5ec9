"""Judging architectures without any label: by evidence, as far as families say that it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ..features.evidence import Evidence, measurements, table_of
from ..reading import Sample
from .distribution import Distribution, warn_of_outsiders
from .family_prior import FamilyPrior


@dataclass(frozen=True)
class ZeroShot:
    """Expected labels of architectures among each other, in standard deviations.

    Attributes:
        prior: what families taught.
        distribution: of the graphs that were learnt of; None if none were kept.
    """

    prior: FamilyPrior
    distribution: Distribution | None = None

    def read(self, samples: Sequence[Sample]) -> tuple[list[list[float]], npt.NDArray[np.bool_]]:
        """Return each sample's measurements, and whether it is in distribution."""
        rows = [measurements(sample.graph, sample.scores) for sample in samples]
        if self.distribution is None:
            return rows, np.ones(len(rows), dtype=bool)
        report = self.distribution.report([sample.graph for sample in samples])
        return rows, report.in_distribution

    def judge(self, table: Array, in_distribution: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return expected labels and their standard deviations, both (n,).

        What has no measurement at all gets NaN.

        Args:
            table: (n, ``MEASURED``), of all that are
                compared.
            in_distribution: (n,), whether each is like what was learnt of.
        """
        evidence = Evidence.of(table)
        slope = self.prior.slope(list(evidence.kinds))
        warn_of_outsiders(in_distribution)
        least = np.clip(min(self.prior.worst, slope), 0.0, 1.0)
        std = np.sqrt(1.0 - np.where(in_distribution, slope, least) ** 2)
        missing = ~np.isfinite(table).any(axis=1)
        mean = slope * evidence.score(table)
        return np.where(missing, np.nan, mean), np.where(missing, np.nan, std)

    def explain(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """Return each kind of evidence, as normal scores among the architectures."""
        table = table_of([measurements(sample.graph, sample.scores) for sample in samples])
        return dict(Evidence.of(table).scores(table))
