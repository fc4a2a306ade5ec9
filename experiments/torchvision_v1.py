"""The shipped predictor on torchvision's first weights, which were used for no choice.

    python experiments/torchvision_v1.py

The script traces every classification model of torchvision on the meta device, at the size at which
its first weights were measured, and ranks it by its graph alone. It reads the published ImageNet
top-1 of these weights from torchvision and fetches nothing. It is run once for each release.
"""

from __future__ import annotations

import numpy as np
import torch
from common import RESULTS, made_by, markdown_table, parser, write_page
from scipy import stats

import archrank
from archrank.basics import SIZES
from archrank.predictors import Sample
from archrank.predictors.pretrained.shipped import shipped
from archrank.predictors.pretrained.training_recipes import context_of
from archrank.predictors.pretrained.zoo import checkpoints
from archrank.scoring.zoos import import_zoo

PAGE = RESULTS / "torchvision_v1.md"
RESAMPLED = 1000


def measured() -> list[tuple[str, float, archrank.Graph]]:
    """Return name, top-1 and graph of every model with first weights of ImageNet-1k."""
    models = import_zoo("torchvision").models
    found = []
    for name in models.list_models(module=models):
        entry = next((w for w in models.get_model_weights(name) if w.name.endswith("K_V1")), None)
        if entry is None:
            continue
        size = entry.transforms().crop_size[0]
        try:
            with torch.device("meta"):
                model = models.get_model(name, weights=None)
        except NotImplementedError:  # its constructor draws weights outside of torch
            model = models.get_model(name, weights=None)
        top1 = entry.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        found.append((name, top1, archrank.trace(model.eval(), (3, size, size))))
    return found


def tau(values: np.ndarray, labels: np.ndarray) -> str:
    """Return Kendall's tau with its 95 % interval, models drawn with replacement."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(values), size=len(values)) for _ in range(RESAMPLED)]
    low, high = np.quantile(
        [stats.kendalltau(values[at], labels[at]).statistic for at in drawn], (0.025, 0.975)
    )
    return f"{stats.kendalltau(values, labels).statistic:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser(__doc__).parse_args()
    rows = measured()
    labels = np.array([top1 for _, top1, _ in rows])
    graphs = [graph for _, _, graph in rows]
    expert = shipped().expert_
    first = [Sample(g, context=context_of("tv_in1k")) for g in graphs]
    columns = {
        "shipped predictor": expert.predict(graphs),
        "the same, told the recipe (tv_in1k)": expert.predict(first),
        **{name: np.array([getattr(g, name) for g in graphs]) for name in SIZES},
    }
    known = {name.partition("@")[0] for name in checkpoints()["network"]}
    new = np.array([name not in known for name, _, _ in rows])
    low, high = expert.interval(first)
    covered = ((low <= labels) & (labels <= high)).mean()
    table = [
        [
            name,
            tau(values, labels),
            tau(values[new], labels[new]),
            f"{np.abs(values - labels).mean():.2f}" if name not in SIZES else "-",
        ]
        for name, values in columns.items()
    ]
    headings = ["what orders them", f"tau, all {len(rows)}", f"tau, {new.sum()} new", "mean error"]
    write_page(
        PAGE,
        [
            "# Torchvision's first weights, ordered by graphs alone",
            "",
            made_by("torchvision_v1.py"),
            "",
            f"{len(rows)} models, published top-1, 95 % intervals over {RESAMPLED} draws. *New*: "
            "models whose name is not among the checkpoints that the predictor learnt from (of "
            "those that are, some were learnt with these very weights, most with better recipes).",
            "",
            *markdown_table(headings, table),
            "",
            f"90 % intervals, the recipe told, hold {covered:.2f} of them.",
        ],
    )


if __name__ == "__main__":
    main()
