"""What the sets of published figures are: titles, licences, files, and what to know of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ..errors import InputError


@dataclass(frozen=True)
class File:
    """One compact table: its name without ``.parquet``, its rows, and columns it always has."""

    name: str
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """One set: a folder of compact tables, made from public files or part of this package."""

    name: str
    title: str
    licence: str
    files: tuple[File, ...]
    notes: str = ""
    embedded: bool = False

    def home(self, folder: Path) -> Path:
        """Where its tables are: below the data folder, or in this package."""
        return (Path(__file__).parent if self.embedded else folder) / self.name


@dataclass(frozen=True)
class Source:
    """One public file: where it is, and the SHA-256 and size of what is published there.

    `repository`, `commit` and `path` are None where no public place is known; then the file cannot
    be fetched, but it can be imported. `read` is false for what no importer reads, pickles among
    them: such files are never fetched.
    """

    set: str
    file: str
    repository: str | None
    commit: str | None
    path: str | None
    sha256: str | None
    bytes: int | None
    read: bool = True

    @property
    def fetchable(self) -> bool:
        """Whether its public place and its hash are known."""
        return None not in (self.repository, self.commit, self.path, self.sha256)

    def url(self, base: str) -> str:
        """Its address below `base`."""
        return f"{base.rstrip('/')}/{self.repository}/{self.commit}/{self.path}"


_NOISY = "Seeds that repeat another to the last digit are stored once."
SETS = {
    found.name: found
    for found in (
        DataSet(
            "digits",
            "900 small networks of ten families on distorted digits, three seeds",
            "Apache-2.0 (our own labels)",
            (File("digits", 900, ("arch", "accuracy_seed0", "accuracy_seed1", "accuracy_seed2")),),
            "Comes with the package. Trained by archrank.data.digits.label on one CPU core each; "
            "digits.json beside the table holds protocol and machine.",
            embedded=True,
        ),
        DataSet(
            "nasbench201",
            "NAS-Bench-201: all 15,625 cells on three data sets",
            "MIT, Apache-2.0; robustness figures MIT, made with GPL-3 code",
            (
                File("nb201_main", 15_625, ("arch_str", "cifar10_test_200", "cifar100_test_200")),
                File("nb201_hardware", 15_625, ("index", "edgegpu_latency_cifar10")),
                File("nb201_robustness_cifar10", 15_625, ("index", "pgd@Linf_eps-1.0")),
            ),
            "The label is the published mean of up to three seeds. " + _NOISY + " 6,466 cells are "
            "distinct up to isomorphism: group them before splitting.",
        ),
        DataSet(
            "nats_sss",
            "NATS-Bench, size space: all 32,768 networks on CIFAR-10",
            "none stated by the source; the original is MIT",
            (File("nats_sss_cifar10", 32_768, ("channels", "cifar10_test_90ep")),),
        ),
        DataSet(
            "nasbench101_small",
            "NAS-Bench-101: 500 of the 423,624 cells",
            "Apache-2.0",
            (File("nb101_500_suitezero", 500, ("arch", "val_accuracy", "adj")),),
            "One validation accuracy per cell, and zero-cost scores.",
        ),
        DataSet(
            "ec_nas",
            "EC-NAS: NAS-Bench-101 cells retrained with their energy",
            "MIT",
            (File("ec_nas", 5_432, ("space", "epochs", "adj", "ops", "test_acc")),),
            "5-vertex cells have 4 epochs only; 4-vertex cells 4, 12, 36, 108; three seeds.",
        ),
        DataSet(
            "nbsuite_zero",
            "NAS-Bench-Suite-Zero: 13 zero-cost scores on several spaces",
            "Apache-2.0",
            (File("zc_scores_long", 17_068, ("space", "task", "arch", "val_accuracy")),),
            "NAS-Bench-301's CIFAR-10 accuracy there is a surrogate's prediction.",
        ),
        DataSet(
            "transnas101",
            "TransNAS-Bench-101: 4,096 micro and 3,256 macro networks on seven tasks",
            "Apache-2.0, MIT",
            (
                File("tnb101_micro", 4_096, ("arch", "val_class_scene")),
                File("tnb101_macro", 3_256, ("arch", "val_class_scene")),
            ),
            "Validation metric of the last epoch; room_layout is a negative loss, autoencoder and "
            "normal are structural similarity.",
        ),
        DataSet(
            "nas_bench_macro",
            "NAS-Bench-Macro: all 6,561 networks on CIFAR-10, three seeds",
            "Apache-2.0",
            (File("nb_macro", 6_561, ("arch", "acc0", "acc1", "acc2")),),
            "Only 3,969 were trained: networks that differ in the place of identities within a "
            "stage share their figures. Group them before splitting.",
        ),
        DataSet(
            "accel_nasbench",
            "Accel-NASBench: 5,138 MnasNet-like networks on ImageNet, with accelerators",
            "Apache-2.0",
            (File("accel_nasbench", 5_138, ("block0_e", "block6_se", "val_top1")),),
            "Shortened training. 13 networks were trained twice: two seeds.",
        ),
        DataSet(
            "ofa_mbv3",
            "Once-for-All MobileNetV3: sub-networks that five searches evaluated",
            "Apache-2.0",
            (File("ofa_mbv3_w10_dynast", 2_373, ("ks", "e", "d", "r", "top1")),),
            "Weights shared in a supernet, not trained alone. Found by searches, so biased toward "
            "good ones. Rows that differ only in inactive choices or repeat are averaged.",
        ),
        DataSet(
            "enas_dvae",
            "ENAS macro networks of the D-VAE study",
            "MIT",
            (File("enas", 20_020, ("arch", "ws_acc")),),
            "Accuracy with weights shared in a supernet. Five rows repeat.",
        ),
        DataSet(
            "hw_gpt_bench",
            "HW-GPT-Bench, small: 10,000 GPT-2-like language models with latency and energy",
            "Apache-2.0",
            (File("gpt_s", 10_000, ("embed_dim", "n_head", "mlp_ratio", "bias", "perplexity")),),
            "Perplexity with weights shared in a supernet, not trained alone. A few CPU latencies "
            "(lat_cpu_meta) are hundreds of times the others.",
        ),
        DataSet(
            "flexibert",
            "NAS-Bench-BERT: 500 FlexiBERT-like encoders with GLUE scores",
            "CC-BY-4.0",
            (File("flexibert", 500, ("nas_config", "glue")),),
            "In the code that made the labels the operation types had no effect: every network "
            "used plain attention. One RTE score of zero is a failed evaluation, and its GLUE "
            "mean with it: both are missing here. Nine configurations repeat: seeds.",
        ),
        DataSet(
            "nas_bench_graph",
            "NAS-Bench-Graph: 26,206 graph networks on eight data sets, 2,021 on proteins",
            "Apache-2.0",
            (File("nas_bench_graph_light", 211_669, ("hash", "dataset", "perf", "para")),),
        ),
        DataSet(
            "help_latency",
            "HELP: latency of FBNet and Once-for-All networks on many devices",
            "MIT",
            (
                File("fbnet_5000", 5_000, ("arch_str",)),
                File("ofa_5000", 5_000, ("ks", "e", "d", "r")),
            ),
            "Latency only: nothing says how accurate the networks are.",
        ),
        DataSet(
            "hat_latency",
            "HAT: latency of translation transformers",
            "MIT",
            (File("hat_latency", 16_000, ("encoder_embed_dim", "source")),),
            "Latency only, for averages over layers, from which no network can be rebuilt.",
        ),
    )
}
"""All sets by name; the name is the name of the folder."""


def data_set(name: str) -> DataSet:
    """One set by its name.

    Raises:
        InputError: there is none of that name.

    Example:
        >>> data_set("nats_sss").files[0].rows
        32768
    """
    if name not in SETS:
        raise InputError(f"name: got {name!r}, expected a set: {', '.join(SETS)}")
    return SETS[name]


@cache
def sources() -> tuple[Source, ...]:
    """All public files that the sets are made from.

    Example:
        >>> len([source for source in sources() if source.set == "nasbench201"])
        15
    """
    text = files(__package__).joinpath("sources.json").read_text(encoding="utf-8")
    return tuple(Source(**entry) for entry in json.loads(text))
