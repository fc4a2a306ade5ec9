"""The effect of batch and resolution on proxies whose rank correlation differs from published ones.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/proxy_conditions.py``. The script
scores the first networks of the samples of ``run_benchmark.py`` again under several conditions, and
compares each with the same labels by Spearman's rho. It writes
``experiments/results/proxy_conditions.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from common import RESULTS, made_by, markdown_table, parser, write_page

from archrank import score
from archrank.data import space, table
from archrank.metrics import spearman
from archrank.scoring.table_runs import sample_of, settings_for

RESULT = RESULTS / "proxy_conditions.md"
SEED = 0


@dataclass(frozen=True)
class Study:
    """Which networks and proxies, and (batch, resolution) to compare."""

    space: str
    task: str
    sample: int
    networks: int
    proxies: tuple[str, ...]
    conditions: tuple[tuple[int, int | None], ...]


STUDIES = (
    Study("nasbench101", "cifar10", 150, 60, ("epe_nas",), ((16, None), (64, None))),
    Study(
        *("transnas101_macro", "class_scene", 60, 24, ("snip", "grad_norm", "jacob_cov")),
        ((16, 32), (16, 64), (16, 128)),
    ),
)


def correlations(study: Study, batch: int, resolution: int | None) -> list[float]:
    """Compute rho of each proxy; a network without a value counts as 0."""
    settings = settings_for(study.space, study.task, sample=study.sample, data="cifar10")
    archs = sample_of(settings)[: study.networks]
    labels = table(settings.table).labels(study.task).loc[archs].to_numpy(float)
    networks, task = space(study.space), settings.build_task
    values = np.zeros((len(archs), len(study.proxies)))
    for row, arch in enumerate(archs):
        torch.manual_seed(SEED)
        images, targets = networks.batch(batch, SEED, task, arch, "cifar10", resolution)
        scores = score(
            networks.build(arch, task),
            images,
            targets,
            proxies=list(study.proxies),
            loss=networks.loss(task),
            seed=SEED,
        )
        values[row] = [scores[name].value or 0.0 for name in study.proxies]
    return [spearman(column, labels) for column in values.T]


def main() -> None:
    """Score everything and write the page."""
    parser(__doc__).parse_args()
    torch.set_num_threads(1)
    rows = []
    for study in STUDIES:
        for batch, resolution in study.conditions:
            found = correlations(study, batch, resolution)
            for name, rho in zip(study.proxies, found, strict=True):
                images = "the task's own" if resolution is None else f"{resolution}x{resolution}"
                what = (f"{study.space}, {study.task}", study.networks, batch, images, f"`{name}`")
                rows.append([*what, f"{rho:.3f}"])
                print(*rows[-1], flush=True)
    lines = [
        "# Proxies under several conditions",
        "",
        f"{made_by('proxy_conditions.py')} Spearman's rho with the labels; seed {SEED}, images of "
        "CIFAR-10, enlarged or reduced.",
        "",
        *markdown_table(("space, task", "networks", "batch", "images", "proxy", "rho"), rows),
    ]
    write_page(RESULT, lines)


if __name__ == "__main__":
    main()
