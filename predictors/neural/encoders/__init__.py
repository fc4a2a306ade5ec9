"""Encoders of graphs, one family per file; ``encoder`` creates one by name."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ....errors import InputError

if TYPE_CHECKING:
    from .contract import Encoder

_HOME = {
    "kgnn": "kgnn:KGNNEncoder",
    "gin": "gin:GINEncoder",
    "gat": "gat:GATEncoder",
    "flow": "flow:FlowEncoder",
    "transformer": "transformer:TransformerEncoder",
}
"""Name -> module and class of an encoder, imported when needed since torch-geometric takes
seconds."""


def encoders() -> list[str]:
    """Return the names of all encoders.

    Example:
        >>> encoders()
        ['kgnn', 'gin', 'gat', 'flow', 'transformer']
    """
    return list(_HOME)


def encoder(name: str, **options: Any) -> Encoder:
    """Return a new encoder, whose weights come from torch's random state, seeded by the caller.

    Args:
        name: one of ``encoders``.
        options: the arguments of its class, such as ``width``, ``statistics``, ``context``,
            ``dropout``.

    Raises:
        InputError: there is no such encoder, or it has no such option.

    Example:
        >>> encoder("kgnn", width=64).width
        64
    """
    if name not in _HOME:
        raise InputError(f"encoder: got {name!r}, expected one of {', '.join(_HOME)}")
    module, _, kind = _HOME[name].partition(":")
    made = getattr(import_module(f".{module}", __name__), kind)
    known = list(inspect.signature(made).parameters)
    for option in options:
        if option not in known:
            raise InputError(f"{name}: got option {option!r}, expected one of {', '.join(known)}")
    return made(**options)  # type: ignore[no-any-return]
