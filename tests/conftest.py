"""Shared by all tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    """Reference values of proxies; not on a user's machine."""
    folder = SHARED / "parity"
    if not (folder / "parity.json").exists():
        pytest.skip("the reference values (../shared/parity) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of one node on this machine; tests join it by address, and leave it."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "scoring"))  # has `mortal`
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(autouse=True)
def same_threads() -> None:
    """Tests that change the number of threads must not slow down the others."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
