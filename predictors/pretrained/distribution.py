"""The distribution of the graphs in a training set, and whether other graphs are in it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors

from ...basics import Array
from ...errors import ArchrankWarning, InputError
from ...formats import named
from ...graphs import Graph
from ..neural.fuzzy import FuzzyCMeans
from ..neural.pretraining import Pretrained


class OutOfFamilyWarning(ArchrankWarning):
    """Warning that architectures are unlike everything that a predictor was trained on."""


@dataclass(frozen=True)
class DistributionReport:
    """The report of ``Distribution.report``: one value for each graph, all (graphs,).

    Attributes:
        distance: the mean distance of its vector to the nearest known ones, in units of the limit
            below which a share ``typical`` of known graphs lies.
        entropy: the entropy of its memberships in clusters of known graphs, divided by log
            clusters: near 0 the graph belongs to one cluster, near 1 to none in particular.
        unknown: the share of its nodes whose operator occurs in no known graph.
        in_distribution: whether the distance is at most 1, and at most 5 % of nodes are unknown.
    """

    distance: Array
    entropy: Array
    unknown: Array
    in_distribution: npt.NDArray[np.bool_]


class Distribution(BaseEstimator):  # type: ignore[misc]
    """Distances to known graphs in the space of an encoder trained without labels.

    Args:
        encoder: the ``Pretrained`` encoder that gives the vectors.
        clusters, fuzzifier: of ``FuzzyCMeans`` on the known vectors;
            near 1, since in many dimensions memberships are all alike otherwise.
        neighbours: the number of nearest known graphs that a distance is averaged over.
        typical: the share of known graphs, each left out in turn, that count as in distribution.
        most: the most known vectors to keep, drawn at random.
        random_state: the seed of the clusters and of the vectors kept.

    Attributes:
        vectors_: (known, width), standardised vectors of known graphs.
        limit_: the distance below which a share ``typical`` of them lies.
        operators_: the names of all operators in known graphs.

    Source: GENNAPE (AAAI-23) for the encoder and the memberships.

    Notes:
        The distance is our choice.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> from archrank.predictors import Pretraining
        >>> graphs = small_graphs()
        >>> encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        >>> known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        >>> float(known.report(graphs).unknown.max())
        0.0
    """

    def __init__(
        self,
        encoder: Pretrained,
        clusters: int = 16,
        fuzzifier: float = 1.2,
        neighbours: int = 5,
        typical: float = 0.99,
        most: int = 3000,
        random_state: int = 0,
    ):
        self.encoder = encoder
        self.clusters = clusters
        self.fuzzifier = fuzzifier
        self.neighbours = neighbours
        self.typical = typical
        self.most = most
        self.random_state = random_state

    def fit(self, graphs: Sequence[Graph]) -> Self:
        """Learn the distribution of known graphs.

        Raises:
            InputError: there are no more graphs than neighbours, or fewer than clusters.
        """
        if len(graphs) <= max(self.neighbours, self.clusters):
            raise InputError(
                f"graphs: got {len(graphs)}, expected more than neighbours={self.neighbours} and "
                f"clusters={self.clusters}"
            )
        some = np.random.default_rng(self.random_state).permutation(len(graphs))[: self.most]
        raw = self.encoder.embed([graphs[i] for i in np.sort(some).tolist()])
        self.mean_ = raw.mean(axis=0)
        deviation = raw.std(axis=0)
        self.std_ = np.where(deviation > 1e-9, deviation, 1.0)
        self.vectors_ = self._standardised(raw)
        fuzzy = FuzzyCMeans(
            self.clusters,
            m=self.fuzzifier,
            tolerance=1e-4,
            n_init=2,
            random_state=self.random_state,
        )
        self.centers_ = fuzzy.fit(self.vectors_).cluster_centers_
        # The nearest of a known graph is itself.
        near, _ = self._nearest(self.neighbours + 1).kneighbors(self.vectors_)
        self.limit_ = max(float(np.quantile(near[:, 1:].mean(axis=1), self.typical)), 1e-9)
        self.operators_ = sorted({name for graph in graphs for name in _operators(graph)})
        return self

    def report(self, graphs: Sequence[Graph]) -> DistributionReport:
        """Report how similar graphs are to the known ones."""
        if not len(graphs):
            nothing = np.zeros(0)
            return DistributionReport(nothing, nothing, nothing, np.zeros(0, dtype=bool))
        vectors = self._standardised(self.encoder.embed(graphs))
        near, _ = self._nearest(self.neighbours).kneighbors(vectors)
        distance = near.mean(axis=1) / self.limit_
        fuzzy = FuzzyCMeans(len(self.centers_), m=self.fuzzifier)
        fuzzy.cluster_centers_, fuzzy.n_features_in_ = self.centers_, self.centers_.shape[1]
        memberships = fuzzy.transform(vectors)
        entropy = -xlogy(memberships, memberships).sum(axis=1)
        known = set(self.operators_)
        unknown = np.array([np.mean([n not in known for n in _operators(g)]) for g in graphs])
        return DistributionReport(
            distance,
            entropy / np.log(max(memberships.shape[1], 2)),
            unknown,
            (distance <= 1.0) & (unknown <= _UNKNOWN),
        )

    def _standardised(self, raw: Array) -> Array:
        scaled: Array = (raw - self.mean_) / self.std_
        return scaled

    def _nearest(self, count: int) -> NearestNeighbors:
        return NearestNeighbors(n_neighbors=count).fit(self.vectors_)


_UNKNOWN = 0.05


def _operators(graph: Graph) -> list[str]:
    """Return the name of each node's operator, torch's where the vocabulary has none."""
    return [
        name if known else graph.aten_names[own]
        for name, known, own in zip(
            graph.operators, graph.operator.tolist(), graph.aten.tolist(), strict=True
        )
    ]


def warn_of_outsiders(in_distribution: npt.NDArray[np.bool_], names: Sequence[str]) -> None:
    """Warn if any architecture in a report is out of distribution, and name some that have names.

    Args:
        in_distribution: whether each architecture is in distribution.
        names: of the architectures; an empty one is unknown.
    """
    outside = np.flatnonzero(~in_distribution).tolist()
    if not outside:
        return
    known = [names[i] for i in outside]
    which = f" ({named(known)})" if all(known) else ""
    warnings.warn(
        f"{len(outside)} of {len(names)} architectures are out of distribution{which}: unlike "
        "everything that this predictor was trained on. Trust their places less than their "
        "standard deviations suggest",
        OutOfFamilyWarning,
        stacklevel=4,
    )
