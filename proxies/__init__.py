"""Zero-cost proxies: scores of a network at initialisation."""

# Registration order: lists and tables show the proxies in it.
# ruff: noqa: I001, F401
from .structure import size
from .gradients import gradient, fisher, synflow, jacobian
from .activations import naswot, swap, features, zen
from .gradients import gradsign, tangent
from .activations import aznas
from .gradients import epsinas
from .structure import wiring, parzc
from .gradients import croze
from .activations import transformers
from . import variants
from .registry import Measure, Proxy, get, register, unregister
from .registry import all_proxies as list
from .planner import score
from .scores import Result, Scores

# Last: those of other packages import what is defined above.
from ..plugins import loaded as _loaded, plugins as _plugins

for _point in _plugins("archrank.proxies").values():
    _loaded(_point)

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
