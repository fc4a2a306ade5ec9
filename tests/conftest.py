"""Shared by all tests."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path

import pytest
import torch

# torchvision's compiled operators are missing beside the CPU build of torch, and importing it then
# fails. Declaring the two that it looks for is enough to build and run classifiers.
_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    with contextlib.suppress(RuntimeError):  # a torchvision with its operators is loaded
        _LIBRARY.define(_schema)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def parity_folder() -> Path:
    """Return reference values of proxies; not on a user's machine."""
    folder = SHARED / "parity"
    if not (folder / "parity.json").exists():
        pytest.skip("the reference values (../shared/parity) are not on this machine")
    return folder


@pytest.fixture(autouse=True)
def same_threads() -> None:
    """Put back the number of threads, so that tests that change it do not slow down the others."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True, scope="module")
def little_to_collect() -> None:
    """Let the garbage collector leave alone what is loaded, through which it goes for a second."""
    gc.collect()
    gc.freeze()
