"""NAS-Bench-101: 500 original cells with zero-cost scores."""

from __future__ import annotations

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw
from .nbsuite_zero import HOOKED, ZERO_COST

_PROXIES = "grasp fisher grad_norm l2_norm plain epe_nas jacov snip synflow".split()


TABLE = Published(
    "NAS-Bench-101: 500 cells",
    "nasbench101",
    {"main": Part("nasbench101_small/nb101_500_suitezero", ("arch",), keys.nasbench101_tuple)},
    tasks=(Task("cifar10", "validation accuracy, %", epochs=108, column="val_accuracy"),),
    costs=(group("main", "params", scale=1e6), group("main", "flops")),
    proxies=(group("main", ZERO_COST, r"cifar10/\g<0>"),),
    definitions={"params": f"{PARAMS}, to 7 digits", "flops": HOOKED},
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read 500 cells with zero-cost scores and one validation accuracy."""
    (tasks,) = raw.json("zc_nasbench101_500.json").values()
    rows = []
    for code, record in tasks["cifar10"].items():
        numbers = keys.numbers(code)
        size = numbers[49:].index(1) + 1
        rows.append(
            {
                "arch": code,
                **{name: record.get(name) for name in ("val_accuracy", "flops", "params")},
                **{name: record.get(name) for name in _PROXIES},
                "n": size,
                "adj": "".join(str(numbers[7 * i + j]) for i in range(size) for j in range(size)),
                "ops_raw": ",".join(map(str, numbers[49 : 49 + size])),
            }
        )
    found = pd.DataFrame(rows)
    floats = found.columns.drop(["arch", "n", "adj", "ops_raw"])
    return {"nb101_500_suitezero": found.astype(dict.fromkeys(floats, "float32"))}


SET = DataSet(
    name="nasbench101_small",
    title="NAS-Bench-101: 500 of the 423,624 cells",
    licence="Apache-2.0",
    files=(File("nb101_500_suitezero", 500, ("arch", "val_accuracy", "adj")),),
    tables={"nasbench101": TABLE},
    read=read,
    notes="One validation accuracy per cell, and zero-cost scores.",
)
