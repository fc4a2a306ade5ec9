"""TransNAS-Bench-101: last-epoch validation figures and zero-cost scores of all networks.

Left out for want of a public raw source: ``fisher_jigsaw`` of the micro space.
"""

from __future__ import annotations

import pandas as pd

from .raw import Raw

TASKS = ("segmentsemantic autoencoder class_object jigsaw class_scene room_layout normal").split()
_SCORES = {
    "zen": ("micro_all_tasks_zen.zip", "macro_all_tasks_zen.zip"),
    "synflow": ("micro_macro_4tasks_synflow.zip",),
    "epe_nas": ("micro_macro_4tasks_epe_nas.zip",),
}


def frames(raw: Raw) -> dict[str, pd.DataFrame]:
    """The micro and the macro table, in the order of the published index."""
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
        for task in TASKS:
            part = long[(long["proxy"] == proxy) & (long["task"] == task)].set_index("arch")
            if len(part):
                columns.setdefault(f"val_{task}", part["val"])
                columns[f"{proxy}_{task}"] = part["score"]
    for name, values in columns.items():
        found[name] = values.reindex(found["arch"]).to_numpy(dtype="float32")
    return found
