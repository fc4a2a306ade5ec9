"""Import timm and torchvision, whose compiled operators may not fit the installed torch."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from types import ModuleType

from .errors import ArchrankWarning

_MOST_MISSING = 40
_declared: list[object] = []  # torch forgets operators whose library is dropped


def import_vision(name: str) -> ModuleType:
    """Import ``"timm"`` or ``"torchvision"``.

    A torchvision that was built for another torch, such as that of the package index beside a CPU
    build of torch, has none of its compiled operators (boxes, regions, deformable convolutions) and
    fails on import. They are declared then, without anything that computes them, and a warning says
    so: classifiers need none of them.

    Raises:
        ImportError, RuntimeError, AttributeError: it cannot be imported.
    """
    for _ in range(_MOST_MISSING):
        try:
            return importlib.import_module(name)
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            _declare(missing.group(1))
            for module in [*sys.modules]:  # what failed half way
                if module.partition(".")[0] in ("timm", "torchvision"):
                    del sys.modules[module]
    return importlib.import_module(name)


def _declare(operator: str) -> None:
    import torch

    if not _declared:
        _declared.append(torch.library.Library("torchvision", "FRAGMENT"))
        warnings.warn(
            "torchvision's compiled operators do not fit this torch: models that call them "
            "(detection) cannot run, all others can; install the torchvision made for this torch",
            ArchrankWarning,
            stacklevel=4,
        )
    library = _declared[0]
    assert isinstance(library, torch.library.Library)
    library.define(f"{operator}() -> ()")
