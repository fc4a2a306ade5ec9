"""What labelled families of architectures teach about one that nobody has labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from ...basics import Array
from ...errors import InputError
from ..features.evidence import KINDS, Evidence, measurements, table_of
from ..features.rank_transform import normal_scores
from ..reading import Sample


@dataclass(frozen=True)
class Family:
    """Labelled architectures of one kind.

    Attributes:
        name: of the family.
        samples: its architectures, with scores of proxies as far as they were computed.
        labels: (tasks, samples), larger is better, NaN where one has none.
        quality: how much it counts: 1 for networks trained to the end, less for labels of
            surrogates or shared weights.
    """

    name: str
    samples: Sequence[Sample]
    labels: Array
    quality: float = 1.0


@dataclass(frozen=True)
class FamilyPrior:
    """What families have in common, learnt by ``of``; each counts by its quality.

    Labels become normal scores of their ranks within family and task, so that accuracies,
    perplexities and surrogates compare.

    Attributes:
        families: names of those it was learnt of.
        correlations: (kinds,), mean correlation of each kind of evidence with labels.
        between: (kinds, kinds), mean correlation of kinds with each other.
        taught: (families,), the correlation of z with labels in each.
        qualities: (families,), how much each counts.
    """

    families: list[str]
    correlations: Array
    between: Array
    taught: Array
    qualities: Array

    @classmethod
    def of(cls, families: Sequence[Family]) -> Self:
        """Learn of families.

        Raises:
            InputError: fewer than two families, or one without labels.
        """
        if len(families) < 2:
            raise InputError(f"families: got {len(families)}, expected at least two")
        found = [_Lesson.of(family) for family in families]
        weight = np.array([family.quality for family in families])
        return cls(
            [family.name for family in families],
            _mean(np.array([lesson.correlations for lesson in found]), weight),
            _mean(np.array([lesson.between for lesson in found]), weight),
            np.array([lesson.taught for lesson in found]),
            weight,
        )

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Self:
        """The one that ``state`` was taken of.

        Raises:
            InputError: it was taken of something else.
        """
        names = [field.name for field in fields(cls)]
        if set(state) != set(names):
            raise InputError(
                f"family_prior: got {', '.join(map(str, state)) or 'nothing'}, expected what "
                f"FamilyPrior.state() gives: {', '.join(names)}"
            )
        return cls(**state)

    def state(self) -> dict[str, Any]:
        """Arrays and numbers that say everything."""
        return asdict(self)

    @property
    def spread(self) -> float:
        """The standard deviation of that correlation over families."""
        mean = np.average(self.taught, weights=self.qualities)
        return float(np.sqrt(np.average((self.taught - mean) ** 2, weights=self.qualities)))

    def slope_given(self, kinds: Sequence[str], z: Array, labels: Array) -> tuple[float, float]:
        """The slope b of labels (n,) over z (n,), both of variance 1, and its variance.

            p(b_f | labels) ~ q_f prod_i N(y_i; b_f z_i, 1 - b_f^2)

        over the slopes b_f that families had, q_f their qualities: a new family is taken to be
        like one of the others, which a few labels tell apart. Slopes are scaled to the kinds of
        evidence at hand. Source: nonparametric empirical Bayes (Robbins 1956).
        """
        whole = self.slope(list(KINDS))
        scale = self.slope(kinds) / whole if whole > 0 else 0.0
        slopes = np.clip(self.taught * scale, -0.95, 0.95)
        rest = 1.0 - slopes**2
        squares = ((labels - slopes[:, None] * z) ** 2).sum(axis=1)
        logs = np.log(self.qualities) - 0.5 * (len(z) * np.log(rest) + squares / rest)
        share = np.exp(logs - logs.max())
        share /= share.sum()
        mean = float(share @ slopes)
        return mean, float(share @ (slopes - mean) ** 2)

    def slope(self, kinds: Sequence[str]) -> float:
        """The expected correlation of z, made of these kinds of evidence, with labels.

            sum_k r_k / sqrt(sum_kl c_kl)

        with r the correlations and c those between kinds: what the mean of standardised variables
        correlates. 0 without any kind.
        """
        rows = [list(KINDS).index(kind) for kind in kinds]
        if not rows:
            return 0.0
        among = float(self.between[np.ix_(rows, rows)].sum())
        return float(np.clip(self.correlations[rows].sum() / np.sqrt(among), 0.0, 0.99))


@dataclass(frozen=True)
class _Lesson:
    """What one family teaches; NaN where it has no such kind."""

    correlations: Array
    between: Array
    taught: float

    @classmethod
    def of(cls, family: Family) -> Self:
        labels = np.atleast_2d(np.asarray(family.labels, dtype=np.float64))
        labelled = np.atleast_1d(np.isfinite(labels).all(axis=0))
        if labels.shape[1] != len(family.samples) or not labelled.any():
            raise InputError(
                f"families: {family.name!r} has labels of shape {labels.shape} for "
                f"{len(family.samples)} architectures, expected (tasks, architectures), and at "
                "least one architecture with all of them"
            )
        samples = [family.samples[i] for i in np.flatnonzero(labelled).tolist()]
        targets = [normal_scores(task) for task in labels[:, labelled]]
        table = table_of([measurements(s.graph, s.scores) for s in samples])
        evidence = Evidence.of(table)
        kinds = evidence.scores(table)
        rows = [list(KINDS).index(kind) for kind in kinds]
        values = np.array(list(kinds.values()))
        correlations = np.full(len(KINDS), np.nan)
        between = np.full((len(KINDS), len(KINDS)), np.nan)
        correlations[rows] = np.mean([[_correlation(v, t) for v in values] for t in targets], 0)
        between[np.ix_(rows, rows)] = [[_correlation(v, u) for u in values] for v in values]
        z = evidence.score(table)
        taught = float(np.mean([_correlation(z, target) for target in targets]))
        return cls(correlations, between, taught)


def _mean(values: Array, weights: Array) -> Array:
    """Means over families by weights, of those that have a value."""
    known = np.isfinite(values)
    share = known * weights.reshape(-1, *[1] * (values.ndim - 1))
    total = np.maximum(share.sum(axis=0), 1e-12)
    mean: Array = (share * np.where(known, values, 0.0)).sum(axis=0) / total
    return mean


def _correlation(values: Array, others: Array) -> float:
    spread = float(values.std() * others.std())
    if spread < 1e-12:
        return 0.0
    return float(((values - values.mean()) * (others - others.mean())).mean() / spread)
