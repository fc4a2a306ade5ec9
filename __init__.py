"""Rank neural architectures before anyone trains them.

The public names; each is imported when first used, so that ``import archrank`` costs nothing.

Example:
    >>> import torch, archrank
    >>> archrank.trace(torch.nn.Linear(4, 2), (4,)).params
    10
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names
from .version import VERSION as __version__

if TYPE_CHECKING:
    from . import benchmark, costs, data, errors, graphs, metrics, predictors, proxies, search
    from .costs.measuring import measure
    from .graphs import Graph, trace
    from .predictors.loading import load_predictor
    from .proxies import Result, Scores, score
    from .ranking.front import pareto_front
    from .ranking.order import rank
    from .ranking.table import Ranking

_HOME = {
    "Graph": "graphs",
    "trace": "graphs",
    "measure": "costs.measuring",
    "pareto_front": "ranking.front",
    "load_predictor": "predictors.loading",
    "Result": "proxies",
    "Scores": "proxies",
    "score": "proxies",
    "Ranking": "ranking.table",
    "rank": "ranking.order",
}
_ROOMS = (
    "benchmark",
    "costs",
    "data",
    "errors",
    "graphs",
    "metrics",
    "predictors",
    "proxies",
    "search",
)

__all__ = [
    "Graph",
    "Ranking",
    "Result",
    "Scores",
    "__version__",
    "benchmark",
    "costs",
    "data",
    "errors",
    "graphs",
    "load_predictor",
    "measure",
    "metrics",
    "pareto_front",
    "predictors",
    "proxies",
    "rank",
    "score",
    "search",
    "trace",
]


if not TYPE_CHECKING:  # a checker that saw them would take any name for a public one
    __getattr__, __dir__ = lazy_names(__name__, _HOME, {room: room for room in _ROOMS})
