"""GraphGym: designs of graph networks on 32 tasks; a full grid, and random designs with recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw

_REAL = {
    "cora": ("Cora", "node"),
    "citeseer": ("CiteSeer", "node"),
    "computers": ("AmazonComputers", "node"),
    "photo": ("AmazonPhoto", "node"),
    "cs": ("CoauthorCS", "node"),
    "physics": ("CoauthorPhysics", "node"),
    "bzr": ("TU_BZR", "graph"),
    "cox2": ("TU_COX2", "graph"),
    "dd": ("TU_DD", "graph"),
    "enzymes": ("TU_ENZYMES", "graph"),
    "imdb": ("TU_IMDB", "graph"),
    "proteins": ("TU_PROTEINS", "graph"),
}
_BINARY = ("bzr", "cox2", "dd", "proteins")
_SHORT = {
    "pagerank": "node_pagerank",
    "clustering": "node_clustering_coefficient",
    "const": "node_const",
    "onehot": "node_onehot",
    "path": "graph_path_len",
}
MADE_UP = (
    *(("clustering", "pagerank"), ("const", "clustering"), ("const", "pagerank")),
    *(("onehot", "clustering"), ("onehot", "pagerank"), ("pagerank", "clustering")),
    *((feature, "path") for feature in ("clustering", "const", "onehot", "pagerank")),
)
"""Of made-up graphs: the features of nodes, and what is to be learnt from nodes or of graphs."""

Where = tuple[tuple[str, str, Any], ...]
_ROWS: dict[str, Where] = {
    **{
        name: (("dataset", "==", data), ("task", "==", kind))
        for name, (data, kind) in _REAL.items()
    },
    **{
        f"{data}-{feature}-{label}": (
            ("dataset", "==", data),
            ("feature", "==", _SHORT[feature]),
            ("label", "==", _SHORT[label]),
        )
        for data in ("scalefree", "smallworld")
        for feature, label in MADE_UP
    },
}
"""By task: which rows of the files are its."""

_DESIGN = ("l_pre", "l_mp", "l_post", "stage", "agg")
_RECIPE = ("bn", "act", "drop", "optim", "lr", "batch", "epoch")


def _published(
    title: str, file: str, key: tuple[str, ...], spell: Callable[..., str], epochs: int | None
) -> Published:
    metric = "validation accuracy, fraction, mean of three runs"
    area = "area under the ROC curve, mean of three runs"
    return Published(
        title,
        "graphgym",
        {name: Part(f"graphgym/{file}", key, spell, where) for name, where in _ROWS.items()},
        index=tuple(_ROWS),
        tasks=(
            *(Task(name, metric, epochs=epochs, column="accuracy", part=name) for name in _ROWS),
            *(
                Task(f"{name}-auc", area, epochs=epochs, column="auc", part=name)
                for name in _BINARY
            ),
        ),
        costs=tuple(group(name, "params", f"params/{name}") for name in _ROWS),
        hardware=tuple(
            group(name, "time_iter", f"time/{name}", "s an iteration") for name in _ROWS
        ),
        context=tuple(group(name, "accuracy_std", f"deviation/{name}") for name in _ROWS),
        definitions={f"params/{name}": PARAMS for name in _ROWS},
    )


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read both rounds as they are published; one must be there."""
    rounds = ("design_v2_grid_round2", "design_v1_grid_round1")
    found = {name: raw.csv(f"{name}.csv") for name in rounds if raw.has(f"{name}.csv")}
    if not found:
        raw.read(f"{rounds[0]}.csv")  # says what is missing
    return found


SET = DataSet(
    name="graphgym",
    title="GraphGym: designs of graph networks on 32 tasks",
    licence="MIT",
    files=(
        File("design_v2_grid_round2", 3_072, ("dataset", *_DESIGN, "accuracy", "params")),
        File("design_v1_grid_round1", 3_323, ("dataset", *_DESIGN, *_RECIPE, "accuracy")),
    ),
    tables={
        "graphgym": _published(
            "GraphGym, second round: 96 designs on 32 tasks",
            *("design_v2_grid_round2", _DESIGN, keys.graphgym, 399),
        ),
        "graphgym_random": _published(
            "GraphGym, first round: random designs and recipes, about a hundred for each task",
            *("design_v1_grid_round1", (*_DESIGN, *_RECIPE), keys.graphgym_recipe, None),
        ),
    },
    read=read,
    notes=(
        "Widths are chosen so that all designs have about as many weights: size does not order "
        "them. Of the first round each task has designs of its own, and recipes matter much."
    ),
)
