"""NAS-Bench-Macro: CIFAR-10 accuracy of all 6,561 networks, three seeds."""

from __future__ import annotations

import pandas as pd

from ..published import MACS, PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw

TABLE = Published(
    "NAS-Bench-Macro: all 6,561 networks, three seeds",
    "nasbench_macro",
    {"main": Part("nas_bench_macro/nb_macro", ("arch",))},
    tasks=(Task("cifar10", "test accuracy, %", runs=("acc0", "acc1", "acc2")),),
    costs=(group("main", "params"), group("main", "flops", "macs")),
    definitions={"params": PARAMS, "macs": f"{MACS}, at 32 x 32"},
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the CIFAR-10 test accuracy of three seeds."""
    rows = [
        {
            "arch": name,
            **{f"acc{seed}": record["test_acc"][seed] for seed in range(3)},
            **{key: record[key] for key in ("mean_acc", "std", "params", "flops")},
        }
        for name, record in raw.json("nas-bench-macro_cifar10.json").items()
    ]
    return {"nb_macro": pd.DataFrame(rows)}


SET = DataSet(
    name="nas_bench_macro",
    title="NAS-Bench-Macro: all 6,561 networks on CIFAR-10, three seeds",
    licence="Apache-2.0",
    files=(File("nb_macro", 6_561, ("arch", "acc0", "acc1", "acc2")),),
    tables={"nas_bench_macro": TABLE},
    read=read,
    notes=(
        "Only 3,969 were trained: networks that differ in the place of identities within a "
        "stage share their figures. Group them before splitting."
    ),
)
