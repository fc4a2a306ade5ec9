"""Sets published as one file, or as several of one form: one function each."""

from __future__ import annotations

import json

import pandas as pd

from .. import keys
from .raw import DamagedFileError, Raw

OFA_RUNS = "evoga_acc evonsga2_acc_macs evounsga3_acc_macs_params linasga_acc linasnsga2_acc_macs"
_HAT_TASKS = (
    "iwslt14deen_gpu_titanxp wmt14ende_cpu_raspberrypi wmt14ende_cpu_xeon wmt14ende_gpu_titanxp "
    "wmt14enfr_cpu_raspberrypi wmt14enfr_cpu_xeon wmt14enfr_gpu_titanxp wmt19ende_gpu_titanxp"
)


def nats_sss(raw: Raw) -> dict[str, pd.DataFrame]:
    """NATS-Bench, size space: CIFAR-10 test accuracy after 90 epochs."""
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


def nas_bench_macro(raw: Raw) -> dict[str, pd.DataFrame]:
    """NAS-Bench-Macro: CIFAR-10 test accuracy of three seeds."""
    rows = [
        {
            "arch": name,
            **{f"acc{seed}": record["test_acc"][seed] for seed in range(3)},
            **{key: record[key] for key in ("mean_acc", "std", "params", "flops")},
        }
        for name, record in raw.json("nas-bench-macro_cifar10.json").items()
    ]
    return {"nb_macro": pd.DataFrame(rows)}


def accel_nasbench(raw: Raw) -> dict[str, pd.DataFrame]:
    """Accel-NASBench: ImageNet accuracy; one JSON file per network.

    Left out for want of a small public raw source: params, macs and the accelerators' figures.
    """
    rows = []
    for member, record in raw.tarred_json("anb_dataset_jsons.tar.gz"):
        number = int(member.rsplit("_", 1)[1].removesuffix(".json"))
        rows.append({"id": number, **record["architecture"], **record["metrics"]})
    found = pd.DataFrame(rows).sort_values("id", ignore_index=True)
    floats = [name for name in found if not (name == "id" or str(name).startswith("block"))]
    return {"accel_nasbench": found.astype(dict.fromkeys(floats, "float32"))}


def ofa_mbv3(raw: Raw) -> dict[str, pd.DataFrame]:
    """Sub-networks of the Once-for-All MobileNetV3 that five searches evaluated."""
    names = [f"mbnv3w10_{run}.csv" for run in OFA_RUNS.split()]
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


def enas(raw: Raw) -> dict[str, pd.DataFrame]:
    """ENAS networks of the D-VAE study: weight-sharing accuracy."""
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


def flexibert(raw: Raw) -> dict[str, pd.DataFrame]:
    """FlexiBERT-like encoders with GLUE scores."""
    rows = []
    for record in raw.json("BERT_benchmark.json"):
        rows.append(
            {
                "id": record["id"],
                "time_to_train": record["time_to_train"],
                **record["scores"],
                "nas_config": json.dumps(record["hparams"]["model_hparam_overrides"]),
            }
        )
    found = pd.DataFrame(rows)
    floats = found.columns.drop(["id", "nas_config"])
    return {"flexibert": found.astype(dict.fromkeys(floats, "float32"))}


def hat_latency(raw: Raw) -> dict[str, pd.DataFrame]:
    """Latency of translation transformers, 2,000 networks per task and device."""
    parts = [
        raw.csv(f"{source}_all.csv").assign(source=source)
        for source in _HAT_TASKS.split()
        if raw.has(f"{source}_all.csv")
    ]
    if not parts:
        raw.read(f"{_HAT_TASKS.split()[0]}_all.csv")  # says what is missing
    found = pd.concat(parts, ignore_index=True)
    floats = found.select_dtypes("float64").columns
    return {"hat_latency": found.astype(dict.fromkeys(floats, "float32"))}
