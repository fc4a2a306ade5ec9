"""Rank neural architectures before anyone trains them.

The public names; each is imported when first used, so that ``import archrank`` costs nothing.

Example:
    >>> import torch, archrank
    >>> archrank.trace(torch.nn.Linear(4, 2), (4,)).params
    10
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import benchmark, data, errors, graphs, metrics, predictors, proxies, search
    from .graphs import Graph, trace
    from .measuring import measure
    from .pareto import pareto_front
    from .predicting import load_predictor
    from .proxies import Result, Scores, score
    from .ranking import Ranking, rank

__version__ = "0.1.0"

_HOME = {
    "Graph": "graphs",
    "trace": "graphs",
    "measure": "measuring",
    "pareto_front": "pareto",
    "load_predictor": "predicting",
    "Result": "proxies",
    "Scores": "proxies",
    "score": "proxies",
    "Ranking": "ranking",
    "rank": "ranking",
}
_ROOMS = ("benchmark", "data", "errors", "graphs", "metrics", "predictors", "proxies", "search")

__all__ = [
    "Graph",
    "Ranking",
    "Result",
    "Scores",
    "__version__",
    "benchmark",
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


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
