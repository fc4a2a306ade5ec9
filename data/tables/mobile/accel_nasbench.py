"""Accel-NASBench: ImageNet accuracy and accelerators' figures of MnasNet-like networks."""

from __future__ import annotations

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw

_KEY = tuple(f"block{i}_{choice}" for i in range(7) for choice in ("e", "k", "l", "se"))
TABLE = Published(
    "Accel-NASBench: MnasNet-like networks on ImageNet",
    "mnasnet",
    {"main": Part("accel_nasbench/accel_nasbench", _KEY, keys.mnasnet, repeats_are_seeds=True)},
    tasks=(
        Task("imagenet", "validation top-1 accuracy, %, shortened training", column="val_top1"),
        Task(
            "imagenet-top5",
            "validation top-5 accuracy, %, shortened training",
            column="val_top5",
        ),
    ),
    costs=(group("main", "params|macs", scale=1e6),),
    hardware=(
        group("main", "latency_.+", unit="ms"),
        group("main", "throughput_.+", unit="images per second"),
        group("main", "train_time", unit="s"),
    ),
    definitions={
        "params": f"{PARAMS}, to 7 digits",
        "macs": "multiply-adds at 224 x 224, and some for norms, squeezes and the last pool: "
        "6 to 12 % above the true count",
    },
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the ImageNet accuracy; one JSON file per network.

    Left out for want of a small public raw source: params, macs and the accelerators' figures.
    """
    rows = []
    for member, record in raw.tarred_json("anb_dataset_jsons.tar.gz"):
        number = int(member.rsplit("_", 1)[1].removesuffix(".json"))
        rows.append({"id": number, **record["architecture"], **record["metrics"]})
    found = pd.DataFrame(rows).sort_values("id", ignore_index=True)
    floats = [name for name in found if not (name == "id" or str(name).startswith("block"))]
    return {"accel_nasbench": found.astype(dict.fromkeys(floats, "float32"))}


SET = DataSet(
    name="accel_nasbench",
    title="Accel-NASBench: 5,138 MnasNet-like networks on ImageNet, with accelerators",
    licence="Apache-2.0",
    files=(File("accel_nasbench", 5_138, ("block0_e", "block6_se", "val_top1")),),
    tables={"accel_nasbench": TABLE},
    read=read,
    notes="Shortened training. 13 networks were trained twice: two seeds.",
)
