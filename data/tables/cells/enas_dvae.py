"""ENAS networks of the D-VAE study: weight-sharing accuracy."""

from __future__ import annotations

import pandas as pd

from .. import keys
from ..published import DataSet, File, Part, Published, Task
from ..raw import DamagedFileError, Raw

TABLE = Published(
    "ENAS macro networks of the D-VAE study",
    "enas",
    {"main": Part("enas_dvae/enas", ("arch",), keys.enas)},
    tasks=(Task("cifar10", "accuracy, fraction", label="weight-shared", column="ws_acc"),),
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read architectures and their weight-sharing accuracy."""
    rows = []
    for line in raw.read("final_structures6.txt").decode().splitlines():
        architecture, _, accuracy = line.rpartition(", ")
        try:
            rows.append((architecture, float(accuracy)))
        except ValueError as error:
            raise DamagedFileError(
                f"final_structures6.txt: got the line {line[:60]!r}, expected an architecture "
                "and its accuracy; get the file again"
            ) from error
    return {"enas": pd.DataFrame(rows, columns=["arch", "ws_acc"]).astype({"ws_acc": "float32"})}


SET = DataSet(
    name="enas_dvae",
    title="ENAS macro networks of the D-VAE study",
    licence="MIT",
    files=(File("enas", 20_020, ("arch", "ws_acc")),),
    tables={"enas": TABLE},
    read=read,
    notes="Accuracy with weights shared in a supernet. Five rows repeat.",
)
