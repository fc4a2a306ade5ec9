"""Measure real networks on one core of this machine, for the shipped speed predictor.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/measured_processor.py --work
CACHE``, with the graphs of ``speed.py`` in CACHE. Nothing else should run on the core; on Linux
``chrt -f 10 taskset -c 1`` before the command keeps other work away. The script may be killed at
any moment; started again, it continues where it was. Rows are kept in
``experiments/results/stores/measured_processor.csv``, which ``speed.py`` reads.

The networks are those that ``archrank measure --calibrate`` runs, and others drawn by seed from the
table of speeds, so many of each family, at the image size that timm gives them: at most 12 billion
multiply-adds. Those with at most 1.5 billion are also measured on batches of 8.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from common import parser
from speed import OWN, measured, traced

from archrank.costs import measure
from archrank.costs.calibrating import CALIBRATION
from archrank.graphs import Graph
from archrank.vision import import_vision

MOST, MOST_OF_BATCH = 12e9, 1.5e9  # multiply-adds of a network measured alone, and in a batch
BATCH = 8
OF_FAMILY = 14  # networks of one family at most
SECONDS = 0.5


def drawn(work: Path) -> pd.DataFrame:
    """Return the networks to measure: name, image size and multiply-adds."""
    timm = import_vision("timm")
    known = measured().drop_duplicates(["model", "img_size"]).sort_values(["model", "img_size"])
    order = np.random.default_rng(0).permutation(len(known))
    kept: list[dict[str, object]] = []
    of_family: dict[str, int] = {}
    for row in known.iloc[order].itertuples():
        usual = timm.get_pretrained_cfg(row.model)
        if usual is None or usual.input_size[-1] != row.img_size:
            continue
        if of_family.get(row.family, 0) == OF_FAMILY:
            continue
        path = work / f"{row.model}@{row.img_size}.npz"
        traced(row.model, int(row.img_size), work)
        if not path.exists() or (macs := Graph.load(path).flops) > MOST:
            continue
        of_family[row.family] = of_family.get(row.family, 0) + 1
        kept.append({"model": row.model, "img_size": row.img_size, "macs": macs})
    return pd.DataFrame(kept)


def main() -> None:
    """Measure what is missing."""
    options = parser(__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder of graphs")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    networks = drawn(arguments.work)
    small = set(networks[networks.macs <= MOST_OF_BATCH].model)
    print(f"{len(networks)} networks, {len(small)} of them in batches of {BATCH}", flush=True)
    chosen = [name.removeprefix("timm:") for name in CALIBRATION]
    models = list(dict.fromkeys([*networks.model, *chosen]))
    for number, model in enumerate(models, 1):
        batches = (1, BATCH) if model in small else (1,)
        rows = measure(
            [f"timm:{model}"],
            device="cpu",
            batch_sizes=batches,
            threads=1,
            seconds=SECONDS,
            out=OWN,
        )
        said = ", ".join(f"{row.latency_ms:.1f} ms" for row in rows.itertuples())
        print(f"{number}/{len(models)} {model}: {said}", flush=True)


if __name__ == "__main__":
    main()
