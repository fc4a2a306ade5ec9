"""Graphs in the form that an encoder reads, made once per graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ....graphs import Graph
from ...features.cache import once_per_graph
from ..batches import GraphTensors
from .contract import Encoder


@cache
def tensor_reader(fold: bool, positions: int) -> Callable[[Graph], GraphTensors]:
    """Return ``GraphTensors.of`` in one form, remembered as long as the graph lives."""
    return once_per_graph(partial(GraphTensors.of, fold=fold, positions=positions))


def positions_of(encoder: Encoder) -> int:
    """Return how many Laplacian positions an encoder reads."""
    return int(getattr(encoder, "positions", 0))
