"""Search spaces, one file each, in rooms by kind; ``space`` finds one by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import InputError, checked_choice
from ...plugins import loaded, plugins

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from .contract import Space

_HOME = {
    "nasbench201": "cells.nasbench201:NASBench201",
    "nats_sss": "cells.nasbench201:NATSSizes",
    "nasbench101": "cells.nasbench101:NASBench101",
    "nasbench301": "cells.darts:NASBench301",
    "darts": "cells.darts:DARTS",
    "nds_nasnet": "cells.nds:NDSNASNet",
    "nds_amoeba": "cells.nds:NDSAmoeba",
    "nds_pnas": "cells.nds:NDSPNAS",
    "nds_enas": "cells.nds:NDSENAS",
    "nds_darts": "cells.nds:NDSDARTS",
    "transnas101_micro": "cells.transnas101:TransNASMicro",
    "transnas101_macro": "cells.transnas101:TransNASMacro",
    "nasbench_macro": "mobile.nasbench_macro:NASBenchMacro",
    "mnasnet": "mobile.mnasnet:MnasNet",
    "fbnet": "mobile.fbnet:FBNet",
    "ofa_mobilenetv3": "mobile.ofa:OFAMobileNetV3",
    "proxylessnas": "mobile.ofa:ProxylessNAS",
    "ofa_resnet": "mobile.ofa_resnet:OFAResNet",
    "enas": "cells.enas:ENAS",
    "autoformer_tiny": "transformers.autoformer:AutoFormerTiny",
    "autoformer_small": "transformers.autoformer:AutoFormerSmall",
    "autoformer_base": "transformers.autoformer:AutoFormerBase",
    "pit": "transformers.pit:PiT",
    "gpt": "transformers.gpt:GPTSmall",
    "gpt_m": "transformers.gpt:GPTMedium",
    "gpt_l": "transformers.gpt:GPTLarge",
    "flexibert": "transformers.flexibert:FlexiBERT",
    "nasbench_graph": "graph_networks.nasbench_graph:NASBenchGraph",
    "graphgym": "graph_networks.graphgym:GraphGym",
    "hiaml": "paths.hiaml:HiAML",
    "inception": "paths.inception:Inception",
    "two_path": "paths.two_path:TwoPath",
    "digits": "digits.space:Digits",
    "imagenet_zoo": "imagenet_zoo:ImageNetZoo",
}
"""Name -> module and class of a space, imported when needed."""


_REGISTERED: dict[str, type[Space]] = {}
"""Name -> space registered in this process."""


def register_space(kind: type[Space]) -> type[Space]:
    """Register a class as a search space in this process; usable as a decorator.

    A package declares its spaces as entry points instead: see ``archrank.plugins``.

    Raises:
        InputError: another space has that name.
    """
    if kind.name in _HOME or _REGISTERED.get(kind.name, kind) is not kind:
        raise InputError(f"name: a space called {kind.name!r} exists already")
    _REGISTERED[kind.name] = kind
    return kind


def spaces() -> list[str]:
    """Return the names of all search spaces, including those of other packages.

    Example:
        >>> from archrank.data import spaces
        >>> "nasbench201" in spaces()
        True
    """
    return list(dict.fromkeys((*_HOME, *_REGISTERED, *_outside())))


@cache
def _outside() -> dict[str, EntryPoint]:
    return plugins("archrank.spaces")


def space(name: str) -> Space:
    """Return the search space of that name.

    Raises:
        InputError: there is no such space.

    Example:
        >>> from archrank.data import space
        >>> len(space("nasbench201"))
        15625
    """
    if name in _REGISTERED:
        return _made(_REGISTERED[name])
    if name in _HOME:
        module, _, kind = _HOME[name].partition(":")
        return _made(getattr(import_module(f".{module}", __name__), kind))
    outside = loaded(_outside()[name]) if name in _outside() else None
    if outside is None:
        checked_choice("space", name, [one for one in spaces() if one != name])
    return _made(outside)


@cache
def _made(kind: Any) -> Space:
    made: Space = kind()
    return made
