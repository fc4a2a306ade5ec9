"""What other packages add, by entry points: a leaf module that every room may import.

A package that defines proxies or search spaces names them in its own ``pyproject.toml``:

    [project.entry-points."archrank.proxies"]
    weight_spread = "my_package.proxies"

    [project.entry-points."archrank.spaces"]
    my_space = "my_package.spaces:MySpace"
"""

from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import ArchrankWarning


def plugins(group: str) -> dict[str, EntryPoint]:
    """Return what installed packages name in a group, ``"archrank.proxies"`` say, by name."""
    return {point.name: point for point in entry_points(group=group)}


def loaded(point: EntryPoint) -> Any:
    """Import what a package names; None, with a warning, if that fails.

    One broken package must not take archrank with it.
    """
    try:
        return point.load()
    except Exception as error:
        package = point.dist.name if point.dist is not None else "a package"
        warnings.warn(
            f"{point.group}: {package} names {point.value!r} as {point.name!r}, which cannot be "
            f"imported ({type(error).__name__}: {error}); mend or remove it",
            ArchrankWarning,
            stacklevel=2,
        )
        return None
