"""timm and torchvision beside a torch that torchvision was not built for."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import archrank
    from archrank.scoring.zoos import import_zoo
    zoo = import_zoo("torchvision")
import torch
with torch.device("meta"):
    net = zoo.models.resnet18(weights=None)
told = [w for w in caught if "do not fit this torch" in str(w.message)]
print(archrank.trace(net, (3, 64, 64)).params, len(told))
"""


@pytest.mark.slow
def test_classifiers_do_without_compiled_operators() -> None:
    """In a process of its own: this one has them declared already."""
    pytest.importorskip("torchvision")
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    params, told = ran.stdout.split()
    assert params == "11689512"
    assert int(told) <= 1
