"""Search spaces, one file each, in rooms by kind; ``space`` finds one by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
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
"""Where each space is; imported when asked for."""


def spaces() -> list[str]:
    """The names of all search spaces.

    Example:
        >>> from archrank.data import spaces
        >>> "nasbench201" in spaces()
        True
    """
    return list(_HOME)


@cache
def space(name: str) -> Space:
    """The search space of that name.

    Raises:
        InputError: there is none.

    Example:
        >>> from archrank.data import space
        >>> len(space("nasbench201"))
        15625
    """
    if name not in _HOME:
        raise InputError(f"space: got {name!r}, expected one of {', '.join(_HOME)}")
    module, _, kind = _HOME[name].partition(":")
    return getattr(import_module(f".{module}", __name__), kind)()  # type: ignore[no-any-return]
