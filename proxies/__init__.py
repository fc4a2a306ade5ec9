"""Zero-cost proxies: scores of a network at initialisation."""

from . import size, gradient, fisher, synflow, jacobian, naswot, zen, gradsign  # noqa: I001, F401  (registration order)
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
