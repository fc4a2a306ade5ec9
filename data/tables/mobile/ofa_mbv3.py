"""Once-for-All MobileNetV3: sub-networks that five searches evaluated."""

from __future__ import annotations

import pandas as pd

from .. import keys
from ..published import MACS, PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw

_RUNS = "evoga_acc evonsga2_acc_macs evounsga3_acc_macs_params linasga_acc linasnsga2_acc_macs"
TABLE = Published(
    "Once-for-All MobileNetV3: sub-networks that searches evaluated",
    "ofa_mobilenetv3",
    {"main": Part("ofa_mbv3/ofa_mbv3_w10_dynast", ("ks", "e", "d", "r"), keys.ofa_mobilenetv3)},
    tasks=(Task("imagenet", "top-1 accuracy, %", label="weight-shared", column="top1"),),
    costs=(group("main", "params|macs"),),
    definitions={"params": PARAMS, "macs": f"{MACS}, at the network's resolution"},
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read what the five searches evaluated."""
    names = [f"mbnv3w10_{run}.csv" for run in _RUNS.split()]
    parts = [(name, raw.csv(name)) for name in names if raw.has(name)]
    if not parts:
        raw.read(names[0])  # says what is missing
    rows = []
    for name, part in parts:
        for network, params, macs, top1 in zip(
            part["Sub-network"],
            part["Model Parameters"],
            part["MACs"],
            part["Top-1 Acc (%)"],
            strict=True,
        ):
            choices = keys.numbers(network)
            rows.append(
                {
                    **{key: str(choices[key]) for key in ("ks", "e", "d")},
                    "r": choices["r"][0],
                    "params": params,
                    "macs": macs,
                    "top1": top1,
                    "run": name,
                }
            )
    return {"ofa_mbv3_w10_dynast": pd.DataFrame(rows).astype({"top1": "float32"})}


SET = DataSet(
    name="ofa_mbv3",
    title="Once-for-All MobileNetV3: sub-networks that five searches evaluated",
    licence="Apache-2.0",
    files=(File("ofa_mbv3_w10_dynast", 2_373, ("ks", "e", "d", "r", "top1")),),
    tables={"ofa_mobilenetv3": TABLE},
    read=read,
    notes=(
        "Weights shared in a supernet, not trained alone. Found by searches, so biased toward "
        "good ones. Rows that differ only in inactive choices or repeat are averaged."
    ),
)
