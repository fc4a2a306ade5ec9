"""TransNAS-Bench-101: last-epoch validation figures and zero-cost scores of all networks.

Left out for want of a public raw source: ``fisher_jigsaw`` of the micro space.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw
from .nbsuite_zero import HOOKED, ZERO_COST, part_of


def _transnas(space: str, spell: Callable[..., str], size: str) -> Published:
    metrics = {
        "class_scene": "accuracy, %",
        "class_object": "accuracy, %",
        "room_layout": "negative loss",
        "jigsaw": "accuracy, %",
        "segmentsemantic": "accuracy, %",
        "autoencoder": "structural similarity",
        "normal": "structural similarity",
    }
    source = f"transbench101_{space}"
    parts = {"main": Part(f"transnas101/tnb101_{space}", ("arch",), spell)}
    parts |= {name: part_of(source, name, spell) for name in metrics}
    tasks = [
        Task(name, f"validation {metric}, last epoch", column=f"val_{name}")
        for name, metric in metrics.items()
    ]
    tasks += [
        Task(f"{name}@best", f"validation {metric}, best epoch", column="val_accuracy", part=name)
        for name, metric in metrics.items()
    ]
    known = "|".join(metrics)
    costs = [
        (name, column, scale)
        for name in metrics
        for column, scale in (("params", 1e6), ("flops", 1.0))
    ]
    return Published(
        f"TransNAS-Bench-101: all {size} networks of the {space} space",
        f"transnas101_{space}",
        parts,
        tasks=tuple(tasks),
        costs=tuple(group(name, column, rf"\g<0>/{name}", scale=s) for name, column, s in costs),
        proxies=(
            group("main", rf"(zen|synflow|epe_nas|fisher)_({known})", r"\2/\1"),
            *(group(name, ZERO_COST, rf"{name}/\g<0>") for name in metrics),
        ),
        definitions={
            f"{column}/{name}": PARAMS if column == "params" else HOOKED
            for name, column, _ in costs
        },
    )


_TASKS = "segmentsemantic autoencoder class_object jigsaw class_scene room_layout normal".split()
_SCORES = {
    "zen": ("micro_all_tasks_zen.zip", "macro_all_tasks_zen.zip"),
    "synflow": ("micro_macro_4tasks_synflow.zip",),
    "epe_nas": ("micro_macro_4tasks_epe_nas.zip",),
}


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the micro and the macro table, in the order of the published index."""
    rows = [
        (
            member.split("--")[1].removeprefix("transbench101_"),
            member.split("--")[2],
            proxy,
            record["arch"],
            int(record["idx"]),
            record["val_accuracy"],
            record[proxy]["score"],
        )
        for proxy, files in _SCORES.items()
        for file in files
        if raw.has(file)
        for member, content in raw.zipped_json(file)
        for record in content
        if proxy in record
    ]
    if not rows:
        raw.read(_SCORES["zen"][0])  # says what is missing
    names = ["space", "task", "proxy", "arch", "idx", "val", "score"]
    long = pd.DataFrame(rows, columns=names)
    return {f"tnb101_{space}": _wide(part) for space, part in long.groupby("space", sort=False)}


def _wide(long: pd.DataFrame) -> pd.DataFrame:
    first = long.drop_duplicates("arch").sort_values("idx")
    found = first[["arch", "idx"]].reset_index(drop=True)
    columns: dict[str, pd.Series] = {}
    for proxy in _SCORES:
        for task in _TASKS:
            part = long[(long["proxy"] == proxy) & (long["task"] == task)].set_index("arch")
            if len(part):
                columns.setdefault(f"val_{task}", part["val"])
                columns[f"{proxy}_{task}"] = part["score"]
    for name, values in columns.items():
        found[name] = values.reindex(found["arch"]).to_numpy(dtype="float32")
    return found


SET = DataSet(
    name="transnas101",
    title="TransNAS-Bench-101: 4,096 micro and 3,256 macro networks on seven tasks",
    licence="Apache-2.0, MIT",
    files=(
        File("tnb101_micro", 4_096, ("arch", "val_class_scene")),
        File("tnb101_macro", 3_256, ("arch", "val_class_scene")),
    ),
    tables={
        "transnas101_micro": _transnas("micro", keys.transnas_micro, "4,096"),
        "transnas101_macro": _transnas("macro", keys.transnas_macro, "3,256"),
    },
    read=read,
    notes=(
        "Validation metric of the last epoch; room_layout is a negative loss, autoencoder and "
        "normal are structural similarity."
    ),
)
