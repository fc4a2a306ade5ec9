"""Scores of proxies for the predictors of ``experiments/predictors.py`` to learn from.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/predictor_scores.py``. The script
may be killed at any moment; started again, it continues where it was. Finished networks are lines
of ``experiments/results/stores/nasbench201_scores.csv``. The script scores the proxies of
``proxies="auto"`` at initialisation on one small batch of CIFAR-10 images, for one cell of each
class of equal cells. Each process has one thread.
"""

from __future__ import annotations

import csv
import fcntl

import torch
from common import STORES, parser

from archrank.predictors.features.evidence import AUTO

FILE = STORES / "nasbench201_scores.csv"
BATCH = 8
SEED = 0


def read() -> dict[str, dict[str, float]]:
    """Read finished scores by canonical architecture; a line that was cut off is none."""
    if not FILE.exists():
        return {}
    with FILE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row.get(name) for name in AUTO)]
    return {row["arch"]: {name: float(row[name]) for name in AUTO} for row in rows}


def score_all(part: int, parts: int) -> None:
    """Score every ``parts``-th class of cells that is not in the file."""
    from archrank import score
    from archrank.data import images, space

    cells = space("nasbench201")
    archs = sorted({cells.canonical(arch) for arch in cells})
    pictures, classes = images("cifar10", BATCH, SEED, (3, 32, 32))
    done = read()
    for at, arch in enumerate(archs):
        if at % parts != part or arch in done:
            continue
        torch.manual_seed(SEED)
        model, graph = cells.build(arch), cells.graph(arch)
        scores = score(model, pictures, classes, proxies=list(AUTO), seed=SEED, graph=graph)
        found = {name: scores[name].value for name in AUTO}
        values = {name: "nan" if v is None else f"{v:.7g}" for name, v in found.items()}
        with FILE.open("a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            writer = csv.DictWriter(file, ["arch", *AUTO])
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({"arch": arch, **values})
        if at % 100 == part:
            print(f"{at}/{len(archs)}", flush=True)


def main() -> None:
    """Score what is missing."""
    options = parser(__doc__)
    options.add_argument("--part", type=int, default=0, help="of --parts processes, from 0")
    options.add_argument("--parts", type=int, default=1, help="processes that share the work")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    score_all(arguments.part, arguments.parts)


if __name__ == "__main__":
    main()
