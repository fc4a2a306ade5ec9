"""The runs behind ``experiments/results``: scores of a seeded sample of every measured space.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/run_benchmark.py [NAME ...]``.
The script may be killed at any moment; started again, it continues where it was. The stores are
``experiments/results/stores/NAME.sqlite``; ``proxy_results.py`` makes pages from them. Each process
has one thread, so two processes of this script fill two cores. Both may work on one store.

Costly proxies are scored only on the first networks of the same sample, as separate runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from common import STORES, parser

from archrank import benchmark, proxies

COSTLY = ("croze", "epsinas")
COSTLY_SAMPLE = 100

CIFAR10 = {"data": "cifar10"}
TRANSNAS_TASKS = (
    *("class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal"),
    "autoencoder",
)
REDUCED = {"sample": 60, "batch_size": 16, "data": "cifar10", "resolution": 64}
"""TransNAS-Bench-101 trains on images of 256x256; here they are 64x64."""

RUNS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "digits": ({"space": "digits", "batch_size": 64, "data": "digits"},),
    "nasbench201": tuple(
        {"space": "nasbench201", "task": task, "sample": 400, "batch_size": 32, **CIFAR10}
        for task in ("cifar10", "ImageNet16-120", "cifar100")
    ),
    "nats_sss": ({"space": "nats_sss", "sample": 300, "batch_size": 32, **CIFAR10},),
    "nasbench_macro": ({"space": "nasbench_macro", "sample": 300, "batch_size": 32, **CIFAR10},),
    "nasbench101": ({"space": "nasbench101", "sample": 150, "batch_size": 16, **CIFAR10},),
    "nasbench301": ({"space": "nasbench301", "sample": 100, "batch_size": 16, **CIFAR10},),
    "transnas101_micro": tuple(
        {"space": "transnas101_micro", "task": task, **REDUCED} for task in TRANSNAS_TASKS
    ),
    "transnas101_macro": tuple(
        {"space": "transnas101_macro", "task": task, **REDUCED} for task in TRANSNAS_TASKS
    ),
    "flexibert": ({"space": "flexibert", "sample": 100, "batch_size": 16},),
}


def score(name: str) -> None:
    """Do all runs of one store: first what is cheap, then the costly proxies on fewer networks."""
    STORES.mkdir(parents=True, exist_ok=True)
    store = STORES / f"{name}.sqlite"
    cheap = [proxy.name for proxy in proxies.list() if proxy.name not in COSTLY]
    for run in RUNS[name]:
        benchmark.run(store, **run, proxies=cheap, progress=_say)
    for run in RUNS[name]:
        fewer = {**run, "sample": min(run.get("sample", COSTLY_SAMPLE), COSTLY_SAMPLE)}
        benchmark.run(store, **fewer, proxies=COSTLY, progress=_say)


def _say(done: int, total: int, arch: str) -> None:
    print(f"{done}/{total} {arch}", flush=True)


def main() -> None:
    """Score the stores asked for."""
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RUNS))
    arguments = options.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or RUNS:
        score(name)


if __name__ == "__main__":
    main()
