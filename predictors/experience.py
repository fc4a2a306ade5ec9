"""What labelled families of architectures teach about one that nobody has labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .additive import AdditiveProcess
from .evidence import KINDS, Evidence, measurements, table_of
from .features import Features, read_columns
from .quantiles import normal_scores
from .reading import Sample

Array = npt.NDArray[np.float64]

PARTS = ("statistics", "paths", "edges", "neighbourhoods", "code", "scores")
"""What a process learns from beside the evidence."""
_TUNED = 200  # labels of a family that scales are fitted to
_AT_LEAST = 0.1  # variance of logarithms of scales between families, however alike these are
_SCALES = 3  # of a part: variance and length of its Matern kernel, variance of its linear one


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
class Experience:
    """What families have in common, learnt by :meth:`of`; each counts by its quality.

    Labels become normal scores of their ranks within family and task, so that accuracies,
    perplexities and surrogates compare.

    Attributes:
        families: names of those it was learnt of.
        correlations: (kinds,), mean correlation of each kind of evidence with labels.
        between: (kinds, kinds), mean correlation of kinds with each other.
        spread: standard deviation over families of the correlation of z with labels.
        worst: the lowest of them.
        parts: what the next two are of.
        scales: (parts, 3), mean over families of the logarithms of a process's scales
            (:class:`~archrank.predictors.AdditiveProcess`) for each part.
        deviations: (parts, 3), their standard deviations over families.
        noise: mean and deviation of the logarithm of its noise.
    """

    families: list[str]
    correlations: Array
    between: Array
    spread: float
    worst: float
    parts: list[str]
    scales: Array
    deviations: Array
    noise: list[float]

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
        mean = _Weighted(weight)
        taught = np.array([lesson.taught for lesson in found])
        noises = np.array([lesson.noise for lesson in found])
        scales = np.array([lesson.scales for lesson in found])
        return cls(
            [family.name for family in families],
            mean(np.array([lesson.correlations for lesson in found])),
            mean(np.array([lesson.between for lesson in found])),
            float(np.sqrt(mean((taught - mean(taught)) ** 2))),
            float(taught.min()),
            list(PARTS),
            mean(scales),
            np.sqrt(mean((scales - mean(scales)) ** 2) + _AT_LEAST),
            [float(mean(noises)), float(np.sqrt(mean((noises - mean(noises)) ** 2) + _AT_LEAST))],
        )

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Self:
        """The one that :meth:`state` was taken of."""
        return cls(**state)

    def state(self) -> dict[str, Any]:
        """Arrays and numbers that say everything."""
        return asdict(self)

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
    """What one family teaches; NaN where it has no such kind or part."""

    correlations: Array
    between: Array
    taught: float
    scales: Array
    noise: float

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
        slopes = [_correlation(z, target) for target in targets]
        scales, noises = [], []
        for number, (slope, target) in enumerate(zip(slopes, targets, strict=True)):
            some = np.random.default_rng(number).permutation(len(samples))[:_TUNED]
            left = (target - slope * z)[np.sort(some)]
            found, noise = _scales([samples[i] for i in np.sort(some)], left)
            scales.append(found)
            noises.append(noise)
        return cls(
            correlations,
            between,
            float(np.mean(slopes)),
            np.mean(scales, axis=0),
            float(np.mean(noises)),
        )


def _scales(samples: Sequence[Sample], left: Array) -> tuple[Array, float]:
    """The scales (parts, 3) of a process fitted to what the evidence leaves, and its noise."""
    has = {
        "code": all(sample.code is not None for sample in samples),
        "scores": any(sample.scores for sample in samples),
    }
    parts = [part for part in PARTS if has.get(part, True)]
    columns = read_columns(samples, parts)
    process = AdditiveProcess(parts)
    process.features_ = Features(parts).fit(columns)
    matrix = process.features_.transform(columns)
    process.fit_matrix(matrix, left)
    found = np.full((len(PARTS), _SCALES), np.nan)
    fitted = process.scales_[:-1].reshape(_SCALES, -1).T
    for part, row in zip(process.parts_of(matrix), fitted, strict=True):
        if part in PARTS:
            found[PARTS.index(part)] = row
    return found, float(process.scales_[-1])


class _Weighted:
    """Means over families by weights, of those that have a value."""

    def __init__(self, weights: Array):
        self.weights = weights

    def __call__(self, values: Array) -> Array:
        weights = self.weights.reshape(-1, *[1] * (values.ndim - 1))
        known = np.isfinite(values)
        total = (known * weights).sum(axis=0)
        mean: Array = np.where(known, values * weights, 0.0).sum(axis=0) / np.maximum(total, 1e-12)
        return mean


def _correlation(values: Array, others: Array) -> float:
    spread = float(values.std() * others.std())
    if spread < 1e-12:
        return 0.0
    return float(((values - values.mean()) * (others - others.mean())).mean() / spread)
