"""Measurements of networks at initialisation, as evidence that needs no labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import numpy as np

from ...basics import SIZES, Array
from ...graphs import Graph
from ...proxies import get

KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "size": SIZES,
        "spread of activations": ("near", "meco_opt"),
        "activation patterns": ("l_swag", "swap", "naswot"),
        "synaptic flow": ("synflow", "logsynflow"),
        "gradients": ("gradsign", "zico", "in_train"),
        "expressivity of blocks": ("az_expressivity",),
        "trainability of blocks": ("az_trainability",),
    }
)
"""Kind of evidence -> its measurements, which measure the same property."""
MEASURED = tuple(name for names in KINDS.values() for name in names)
"""All measurements."""
PROXIES = tuple(name for name in MEASURED if name not in SIZES)
"""The measurements that need a model; the others need only a graph."""
AUTO = ("near", "synflow", "jacob_cov", "meco_opt", "az_progressivity", "swap")
"""The proxies that predictors compute with ``proxies="auto"``: the best few on three measured
spaces (``experiments/choose_default.py``), at a fraction of the cost of all evidence."""
EVIDENCE = "evidence"
"""The name of the score that combines sizes and proxies, or is an expert's prediction."""


def measurements(graph: Graph, scores: Mapping[str, float]) -> list[float]:
    """Return one row of a table: the sizes of a graph and the known values of proxies.

    Proxies that fall as accuracy rises change their sign.

    Example:
        >>> import torch, archrank
        >>> graph = archrank.trace(torch.nn.Linear(4, 2), (4,))
        >>> dict(zip(MEASURED, measurements(graph, {"near": 3.0})))["near"]
        3.0
    """
    sizes = [float(getattr(graph, name)) for name in SIZES]
    return sizes + [sign * float(scores.get(name, np.nan)) for name, sign in _signs().items()]


@cache
def _signs() -> dict[str, float]:
    return {name: get(name).sign for name in PROXIES}


def table_of(rows: Sequence[Sequence[float]]) -> Array:
    """Return measurements of several networks (networks, ``MEASURED``)."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(MEASURED))
