"""Search spaces, one file each; :func:`space` finds one by name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    from .contract import Space

_HOME = {
    "nasbench201": "nasbench201:NASBench201",
    "nats_sss": "nasbench201:NATSSizes",
    "nasbench101": "nasbench101:NASBench101",
    "nasbench301": "darts:NASBench301",
    "darts": "darts:DARTS",
    "nds_nasnet": "darts:NDSNASNet",
    "nds_amoeba": "darts:NDSAmoeba",
    "nds_pnas": "darts:NDSPNAS",
    "nds_enas": "darts:NDSENAS",
    "nds_darts": "darts:NDSDARTS",
    "transnas101_micro": "transnas101:TransNASMicro",
    "transnas101_macro": "transnas101:TransNASMacro",
    "nasbench_macro": "nasbench_macro:NASBenchMacro",
    "mnasnet": "mnasnet:MnasNet",
    "fbnet": "fbnet:FBNet",
    "ofa_mobilenetv3": "ofa:OFAMobileNetV3",
    "proxylessnas": "ofa:ProxylessNAS",
    "ofa_resnet": "ofa_resnet:OFAResNet",
    "enas": "enas:ENAS",
    "autoformer_tiny": "autoformer:AutoFormerTiny",
    "autoformer_small": "autoformer:AutoFormerSmall",
    "autoformer_base": "autoformer:AutoFormerBase",
    "pit": "pit:PiT",
    "gpt": "gpt:GPTSmall",
    "gpt_m": "gpt:GPTMedium",
    "gpt_l": "gpt:GPTLarge",
    "flexibert": "flexibert:FlexiBERT",
    "nasbench_graph": "nasbench_graph:NASBenchGraph",
    "hiaml": "hiaml:HiAML",
    "inception": "inception:Inception",
    "two_path": "two_path:TwoPath",
    "digits": "digits:Digits",
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
