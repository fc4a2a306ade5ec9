"""Networks whose accuracy is known: search spaces, tables of measured figures, images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .spaces import space, spaces
    from .spaces.space import Space

_HOME = {"space": "spaces", "spaces": "spaces", "Space": "spaces.space"}

__all__ = ["Space", "space", "spaces"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
