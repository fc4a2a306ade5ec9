"""Objectives by name, for a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ....basics import Array
from ....errors import InputError, checked_choice
from ....graphs import Graph
from ...features.cache import once_per_graph
from ...reading import Sample
from .clusters import Clusters, clusters_of_graphs
from .contract import Objective
from .masking import Masked
from .regression import Regression
from .similarity import by_labels, spectral
from .tables import TABLES, labelled, table_of

OBJECTIVES = ("spectral", "contrast", "masked", *TABLES)
"""Names of objectives."""
PUBLISHED: Mapping[str, float] = {"spectral": 1.0}
"""GENNAPE's weights."""
BEST: Mapping[str, float] = {"statistics": 1.0}
"""The weights of the best frozen encoders, chosen on families that no page reports."""
NAMED = {"published": PUBLISHED, "best": BEST}


@dataclass(frozen=True)
class Settings:
    """The settings of contrast, and the size of vectors.

    Attributes:
        width, projection: the sizes of the vectors and of their projections for contrast.
        temperature: the temperature of the similarities of projections.
        q, spectral_temperature: the number of eigenvalues and the temperature of ``spectral``.
        label_temperature: the temperature of contrast by Weisfeiler-Lehman labels.
    """

    width: int
    projection: int
    temperature: float
    q: int
    spectral_temperature: float
    label_temperature: float


@dataclass(frozen=True)
class Corpus:
    """Samples to learn from, and the data that objectives need, computed once when needed.

    Attributes:
        samples: the samples to learn from.
        apart: whether the corpus is divided into kinds; otherwise it is one kind.
        seed: the seed of the kinds.
    """

    samples: Sequence[Sample]
    apart: bool
    seed: int

    @cached_property
    def kinds(self) -> Clusters | None:
        """The kind of each graph, as a cluster; None if the corpus is one kind."""
        if not self.apart:
            return None
        return clusters_of_graphs(table_of("statistics", self.samples), self.seed)

    def objective(self, name: str, how: Settings) -> Objective:
        """Return the objective called ``name`` for this corpus.

        Raises:
            InputError: no sample has a score to predict.
        """
        graphs = [sample.graph for sample in self.samples]
        compared = (how.temperature, how.width, how.projection)
        if name == "spectral":
            read = _spectrum_reader(how.q)
            spectra = np.stack([read(graph) for graph in graphs])
            return spectral(spectra, how.spectral_temperature, *compared)
        if name == "contrast":
            labels = np.stack([labelled(graph) for graph in graphs])
            return by_labels(labels, how.label_temperature, *compared)
        if name == "masked":
            return Masked(how.width)
        table = table_of(name, self.samples)
        if not table.shape[1]:
            raise InputError(
                "objectives: got 'scores', but no sample has any; give samples with scores of "
                "proxies, or leave this objective out"
            )
        return Regression(table, self.kinds, how.width)


def weights_of(objectives: str | Mapping[str, float]) -> dict[str, float]:
    """Return objectives and their weights, without those of weight 0.

    Raises:
        InputError: a name is unknown, a weight is out of range, or none is above 0.

    Example:
        >>> weights_of({"masked": 1.0, "contrast": 0.0})
        {'masked': 1.0}
    """
    if isinstance(objectives, str):
        checked_choice("objectives", objectives, NAMED)
        objectives = NAMED[objectives]
    for name, weight in objectives.items():
        checked_choice("objectives", name, OBJECTIVES)
        if not 0 <= weight < float("inf"):
            raise InputError(
                f"objectives: got {weight!r} for {name!r}, expected a weight from 0 on"
            )
    chosen = {name: float(weight) for name, weight in objectives.items() if weight}
    if not chosen:
        raise InputError(
            "objectives: got no weight above 0, expected one of " + ", ".join(OBJECTIVES)
        )
    return chosen


@cache
def _spectrum_reader(q: int) -> Callable[[Graph], Array]:
    """Return a reader of ``Graph.spectrum`` that caches it as long as the graph lives."""
    return once_per_graph(lambda graph: graph.spectrum(q))
