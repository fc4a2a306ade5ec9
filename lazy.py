"""Public names that are imported on first use: a leaf module that every room may import."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package whose names are imported on first use.

    Args:
        package: its ``__name__``.
        homes: public name -> the module below the package that defines it.
        modules: public name -> the module below the package that it stands for.

    Example:
        >>> get, names = lazy_names("archrank.costs", {"measure": "measuring"})
        >>> get("measure").__name__, "measure" in names()
        ('measure', True)
    """
    rooms = dict(modules or {})

    def get(name: str) -> Any:
        if name in rooms:
            return _imported(f".{rooms[name]}", package)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(_imported(f".{homes[name]}", package), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def names() -> list[str]:
        return sorted({*homes, *rooms, *_own(package)})

    return get, names


def _imported(module: str, package: str) -> ModuleType:
    """Import a module; what it imports may draw random numbers, as rich does, the user's go on."""
    state = random.getstate()
    try:
        return import_module(module, package)
    finally:
        random.setstate(state)


def _own(package: str) -> Iterable[str]:
    """Return the names that a package lists in ``__all__`` itself."""
    return getattr(sys.modules[package], "__all__", ())
