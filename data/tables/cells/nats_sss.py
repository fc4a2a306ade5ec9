"""NATS-Bench, size space: CIFAR-10 accuracy of all 32,768 networks."""

from __future__ import annotations

import pandas as pd

from ..published import DataSet, File, Part, Published, Task
from ..raw import Raw

TABLE = Published(
    "NATS-Bench, size space: all 32,768 networks",
    "nats_sss",
    {"main": Part("nats_sss/nats_sss_cifar10", ("channels",))},
    tasks=(Task("cifar10@90", "test accuracy, %", epochs=90, column="cifar10_test_90ep"),),
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the CIFAR-10 test accuracy after 90 epochs."""
    rows: dict[str, float] = raw.yaml("nats_cifar10_acc_rank.yml")
    order = sorted(rows, key=lambda name: [int(part) for part in name.split(":")])
    return {
        "nats_sss_cifar10": pd.DataFrame(
            {
                "channels": order,
                "cifar10_test_90ep": pd.Series([rows[name] for name in order], dtype="float32"),
            }
        )
    }


SET = DataSet(
    name="nats_sss",
    title="NATS-Bench, size space: all 32,768 networks on CIFAR-10",
    licence="none stated by the source; the original is MIT",
    files=(File("nats_sss_cifar10", 32_768, ("channels", "cifar10_test_90ep")),),
    tables={"nats_sss": TABLE},
    read=read,
)
