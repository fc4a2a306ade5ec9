"""The conversion of graphs to the tensors that an encoder reads, once for each graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ....graphs import Graph
from ...features.cache import once_per_graph
from ..batches import GraphTensors
from .contract import Encoder


@cache
def tensor_reader(fold: bool, positions: int) -> Callable[[Graph], GraphTensors]:
    """Return ``GraphTensors.of`` with fixed options, which keeps results as long as graphs live."""
    return once_per_graph(partial(GraphTensors.of, fold=fold, positions=positions))


def positions_of(encoder: Encoder) -> int:
    """Return the number of Laplacian positions that an encoder reads."""
    return int(getattr(encoder, "positions", 0))
