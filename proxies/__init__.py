"""Zero-cost proxies: scores of a network at initialisation."""

from . import (  # noqa: I001, F401  (registration order)
    size,
    gradient,
    fisher,
    synflow,
    jacobian,
    naswot,
    swap,
    features,
    zen,
    gradsign,
    tangent,
    aznas,
    epsinas,
    wiring,
    parzc,
    croze,
    transformers,
    variants,
)
from .registry import Measure, Proxy, get, register, unregister
from .registry import all_proxies as list
from .scoring import Result, Scores, score

__all__ = [
    "Measure",
    "Proxy",
    "Result",
    "Scores",
    "get",
    "list",
    "register",
    "score",
    "unregister",
]
