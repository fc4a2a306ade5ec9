"""Labelled real networks to learn from: checkpoints of timm, traced on the meta device."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...basics import Progress
from ...errors import InputError
from ...graphs import Graph
from .training_recipes import is_in1k_alone

SPACE = "imagenet_zoo"
LARGEST = 256
"""Height and width up to which a checkpoint counts for what is expected by default."""


def checkpoints() -> pd.DataFrame:
    """Return every labelled checkpoint: architecture (with size), family, recipe, size, top-1.

    Raises:
        InputError: the table is not installed.
    """
    from ...data import table

    zoo = table(SPACE)
    rows = zoo.context[["family", "tag", "img_size"]].rename(
        columns={"tag": "recipe", "img_size": "size"}
    )
    rows["top1"] = zoo.labels("imagenet")
    rows["network"] = [re.sub(r"\.\w+@", "@", name) for name in rows.index]
    return rows.reset_index(names="checkpoint")


def best_plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep each model's best checkpoint of ImageNet-1k alone, at no more than 256 pixels."""
    plain = rows[rows["recipe"].map(is_in1k_alone) & (rows["size"] <= LARGEST)]
    model = plain["network"].str.partition("@")[0]
    best = plain.sort_values("top1", kind="stable").groupby(model.loc[plain.index]).tail(1)
    return best.sort_index()


def graphs_of(
    networks: list[str], folder: Path, progress: Progress | None = None
) -> dict[str, Graph]:
    """Return graphs of networks (``"resnet18@224"``); trace those that the folder lacks.

    Args:
        networks: names in the space of timm's models.
        folder: a file for each; the same call continues where it was stopped.
        progress: called with (done, total, name).

    Raises:
        InputError: timm knows no such model.
        MissingExtraError: timm cannot be imported.
    """
    from ...data import space

    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, name in enumerate(dict.fromkeys(networks), 1):
        file = folder / f"{name}.graph"
        if not file.exists():
            space(SPACE).graph(name).save(file)
        try:
            found[name] = Graph.load(file)
        except InputError:
            file.unlink()
            raise
        if progress is not None:
            progress(number, len(networks), name)
    return found
