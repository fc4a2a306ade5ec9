"""A cache of results computed from a graph, kept as long as the graph exists."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from ...graphs import Graph

Made = TypeVar("Made")


def once_per_graph(function: Callable[[Graph], Made]) -> Callable[[Graph], Made]:
    """Return the function with a cache, which computes once for each graph object.

    Graphs never change. Results are keyed by identity, since the structural hash of a graph costs
    more than most results. Results are shared: do not write to them.
    """
    kept: dict[int, Made] = {}

    @wraps(function)
    def remembered(graph: Graph) -> Made:
        key = id(graph)
        if key not in kept:
            made = function(graph)
            weakref.finalize(graph, kept.pop, key, None)
            kept[key] = made
        return kept[key]

    return remembered
