"""Which columns of the compact tables are labels, seeds, costs, hardware figures and proxies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import keys
from .tables import Label, Task

Columns = Mapping[str, tuple[str, str, float]]
"""By name: the part that holds a column, its name there, and a factor."""


@dataclass(frozen=True)
class Part:
    """Rows of one compact table, and how their architecture is spelt.

    `key` are the columns that `spell` makes a string of; without it the one column is that string.
    `named_by` is another file whose rows with the same key hold the string as ``arch_str``.
    """

    file: str
    key: tuple[str, ...]
    spell: Callable[..., str] | None = None
    where: tuple[tuple[str, str, Any], ...] = ()
    named_by: str | None = None
    repeats_are_seeds: bool = False


@dataclass(frozen=True)
class Group:
    """The columns of a part whose name fits a pattern, and what to call them."""

    part: str
    pattern: re.Pattern[str]
    name: str = r"\g<0>"
    unit: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Published:
    """One table: where everything is."""

    title: str
    space: str | None
    parts: dict[str, Part]
    index: tuple[str, ...] = ("main",)
    tasks: tuple[Task, ...] = ()
    costs: tuple[Group, ...] = ()
    hardware: tuple[Group, ...] = ()
    proxies: tuple[Group, ...] = ()
    definitions: dict[str, str] = field(default_factory=dict)


def _group(
    part: str, pattern: str, name: str = r"\g<0>", unit: str = "", scale: float = 1.0
) -> Group:
    return Group(part, re.compile(pattern), name, unit, scale)


PARAMS = "all learnable parameters, classifier included"
MACS = "multiply-adds of convolutions and linear layers, without biases, batch of one"
_HOOKED = (
    "1e6 operations as a layer-hook counter saw them: multiply-adds, and some for norms, "
    "activations and pools; not comparable with other sets"
)
_ZERO_COST = "grasp|fisher|grad_norm|l2_norm|plain|nwot|epe_nas|jacov|snip|synflow|zen|flops|params"
_LONG = "nbsuite_zero/zc_scores_long"


def _long(space: str, task: str, spell: Callable[..., str]) -> Part:
    return Part(_LONG, ("arch",), spell, (("space", "==", space), ("task", "==", task)))


def _nasbench201() -> Published:
    names = ("cifar10", "cifar100", "ImageNet16-120")
    main = "nasbench201/nb201_main"
    tasks = [
        Task(
            name,
            "test accuracy, %",
            epochs=200,
            column=f"{name}_test_200",
            runs=tuple(f"cifar10_test_200_run{i}" for i in range(3)) if name == "cifar10" else (),
        )
        for name in names
    ]
    for epochs, suffix in ((200, ""), (12, "@12")):
        for name in names:
            if epochs == 12:
                column = f"{name}_test_12"
                tasks.append(Task(name + suffix, "test accuracy, %", epochs=12, column=column))
            valid = f"{name}_valid_{epochs}"
            metric = "validation accuracy, %"
            tasks.append(Task(f"{name}-valid{suffix}", metric, epochs=epochs, column=valid))
    small = ("0.1", "0.5", "1.0", "2.0", "3.0", "4.0", "8.0")
    fgsm = ("0.1", "0.5", *(f"{i}.0" for i in range(1, 9)), "255.0")
    attacks = {"aa_apgd-ce": small, "aa_square": small, "fgsm": fgsm, "pgd": small}
    tasks += [
        Task(
            f"{attack}@Linf_eps-{strength}",
            "CIFAR-10 accuracy under attack, %",
            epochs=200,
            column=f"{attack}@Linf_eps-{strength}",
            part="robustness",
        )
        for attack, strengths in attacks.items()
        for strength in strengths
    ]
    some, rest = "|".join(names), "|".join(names[1:])
    definitions = {"params": f"{PARAMS}, for CIFAR-10", "macs": f"{MACS}, at 32 x 32, to 7 digits"}
    for name in names[1:]:
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
        tasks=tuple(tasks),
        costs=(
            _group("main", "params_M_cifar10", "params", scale=1e6),
            _group("main", "flops_M_cifar10", "macs", scale=1e6),
            _group("main", f"params_M_({rest})", r"params/\1", scale=1e6),
            _group("main", f"flops_M_({rest})", r"macs/\1", scale=1e6),
        ),
        hardware=(
            _group("hardware", rf"(.+_latency)_({some})", r"\1/\2", "ms"),
            _group("hardware", rf"(.+_energy)_({some})", r"\1/\2", "mJ"),
            _group("hardware", rf"(.+_intensity)_({some})", r"\1/\2", "operations per byte"),
            _group("hardware", "help_.+", unit="ms"),
            _group("hardware", "brpnas_.+", unit="s"),
        ),
        proxies=(
            _group("main", f"zen_({some})", r"\1/zen"),
            _group("main", rf"zc_({some})_(.+)", r"\1/\2"),
        ),
        definitions=definitions,
    )


def _suite(
    title: str,
    space: str | None,
    source: str,
    spell: Callable[..., str],
    tasks: Mapping[str, tuple[str, Label]],
) -> Published:
    """A table of NAS-Bench-Suite-Zero alone: a part for each task."""
    return Published(
        title,
        space,
        {name: _long(source, name, spell) for name in tasks},
        index=tuple(tasks),
        tasks=tuple(
            Task(name, metric, label=label, column="val_accuracy", part=name)
            for name, (metric, label) in tasks.items()
        ),
        costs=tuple(
            _group(name, column, rf"\g<0>/{name}", scale=scale)
            for name in tasks
            for column, scale in (("params", 1e6), ("flops", 1.0))
        ),
        proxies=tuple(_group(name, _ZERO_COST, rf"{name}/\g<0>") for name in tasks),
        definitions={
            f"{column}/{name}": text
            for name in tasks
            for column, text in (("params", PARAMS), ("flops", _HOOKED))
        },
    )


_SUITE_METRIC = "validation accuracy of the best epoch, %"


def _ec_nas() -> Published:
    spell = keys.nasbench101
    file, key = "ec_nas/ec_nas", ("adj", "ops")
    epochs = (4, 12, 36, 108)
    devices = ("estimate", "quadro", "rtx3060", "rtx3090", "titanxp")
    own = ("space", "in", ("5V", "4V"))
    parts = {
        f"@{n}": Part(file, key, spell, (own, ("epochs", "==", n)), repeats_are_seeds=True)
        for n in epochs
    }
    parts |= {
        f"@{n}/{device}": Part(
            file, key, spell, (("space", "==", f"4V_{device}"), ("epochs", "==", n))
        )
        for n in epochs
        for device in devices
    }
    tasks = [
        Task(
            f"cifar10{split}@{n}",
            f"{metric} accuracy, fraction",
            epochs=n,
            column=column,
            part=f"@{n}",
        )
        for split, metric, column in (
            ("", "test", "test_acc"),
            ("-valid", "validation", "valid_acc"),
        )
        for n in epochs
    ]
    figures = (
        ("train_time", "train_time", "s"),
        ("f4", "energy", "kWh of the whole training, as the values suggest"),
        ("f5", "emissions", "g of carbon dioxide of the whole training, as the values suggest"),
    )
    return Published(
        "EC-NAS: NAS-Bench-101 cells retrained with their energy",
        "nasbench101",
        parts,
        index=("@4",),
        tasks=tuple(tasks),
        costs=(_group("@4", "params"),),
        hardware=tuple(
            _group(part, column, f"{name}{part}", unit)
            for part in parts
            for column, name, unit in figures
        ),
        definitions={"params": PARAMS},
    )


def _nasbench101() -> Published:
    return Published(
        "NAS-Bench-101: 500 cells",
        "nasbench101",
        {"main": Part("nasbench101_small/nb101_500_suitezero", ("arch",), keys.nasbench101_tuple)},
        tasks=(Task("cifar10", "validation accuracy, %", epochs=108, column="val_accuracy"),),
        costs=(_group("main", "params", scale=1e6), _group("main", "flops")),
        proxies=(_group("main", _ZERO_COST, r"cifar10/\g<0>"),),
        definitions={"params": f"{PARAMS}, to 7 digits", "flops": _HOOKED},
    )


def _transnas(space: str, spell: Callable[..., str], size: str) -> Published:
    metrics = {
        "class_scene": "accuracy, %",
        "class_object": "accuracy, %",
        "room_layout": "negative loss",
        "jigsaw": "accuracy, %",
        "segmentsemantic": "accuracy, %",
        "autoencoder": "structural similarity",
        "normal": "structural similarity",
    }
    source = f"transbench101_{space}"
    parts = {"main": Part(f"transnas101/tnb101_{space}", ("arch",), spell)}
    parts |= {name: _long(source, name, spell) for name in metrics}
    tasks = [
        Task(name, f"validation {metric}, last epoch", column=f"val_{name}")
        for name, metric in metrics.items()
    ]
    tasks += [
        Task(f"{name}@best", f"validation {metric}, best epoch", column="val_accuracy", part=name)
        for name, metric in metrics.items()
    ]
    known = "|".join(metrics)
    costs = [
        (name, column, scale)
        for name in metrics
        for column, scale in (("params", 1e6), ("flops", 1.0))
    ]
    return Published(
        f"TransNAS-Bench-101: all {size} networks of the {space} space",
        f"transnas101_{space}",
        parts,
        tasks=tuple(tasks),
        costs=tuple(_group(name, column, rf"\g<0>/{name}", scale=s) for name, column, s in costs),
        proxies=(
            _group("main", rf"(zen|synflow|epe_nas|fisher)_({known})", r"\2/\1"),
            *(_group(name, _ZERO_COST, rf"{name}/\g<0>") for name in metrics),
        ),
        definitions={
            f"{column}/{name}": PARAMS if column == "params" else _HOOKED
            for name, column, _ in costs
        },
    )


def _nasbench_graph() -> Published:
    names = "cora citeseer pubmed cs physics photo computers arxiv proteins".split()
    metric = dict.fromkeys(names, "accuracy") | {"proteins": "area under the ROC curve"}
    return Published(
        "NAS-Bench-Graph: graph networks on nine data sets",
        "nasbench_graph",
        {
            name: Part(
                "nas_bench_graph/nas_bench_graph_light",
                ("hash",),
                keys.nasbench_graph,
                (("dataset", "==", name),),
            )
            for name in names
        },
        index=("cora", "proteins"),
        tasks=(
            *(
                Task(name, f"test {metric[name]}, fraction", column="perf", part=name)
                for name in names
            ),
            *(
                Task(
                    f"{name}-valid",
                    f"validation {metric[name]}, fraction",
                    column="valid_perf",
                    part=name,
                )
                for name in names
            ),
        ),
        costs=tuple(_group(name, "para", f"params/{name}", scale=1e6) for name in names),
        hardware=tuple(_group(name, "latency", f"latency/{name}", "s") for name in names),
        definitions={f"params/{name}": f"{PARAMS}, to 7 digits" for name in names},
    )


def _flexibert() -> Published:
    file, key = "flexibert/flexibert", ("nas_config",)
    scores = "glue cola mnli mrpc qnli qqp rte sst sts".split()
    return Published(
        "NAS-Bench-BERT: 500 FlexiBERT-like encoders",
        "flexibert",
        {
            "main": Part(file, key, keys.flexibert, repeats_are_seeds=True),
            # an RTE of zero is an evaluation that failed, and it spoilt the GLUE mean
            "whole": Part(file, key, keys.flexibert, (("rte", "!=", 0.0),), repeats_are_seeds=True),
        },
        tasks=tuple(
            Task(
                name,
                "mean GLUE score" if name == "glue" else "GLUE score of this task",
                column=name,
                part="whole" if name in ("glue", "rte") else "main",
            )
            for name in scores
        ),
        hardware=(_group("main", "time_to_train", unit="s"),),
    )


def _accel() -> Published:
    key = tuple(f"block{i}_{choice}" for i in range(7) for choice in ("e", "k", "l", "se"))
    return Published(
        "Accel-NASBench: MnasNet-like networks on ImageNet",
        "mnasnet",
        {"main": Part("accel_nasbench/accel_nasbench", key, keys.mnasnet, repeats_are_seeds=True)},
        tasks=(
            Task("imagenet", "validation top-1 accuracy, %, shortened training", column="val_top1"),
            Task(
                "imagenet-top5",
                "validation top-5 accuracy, %, shortened training",
                column="val_top5",
            ),
        ),
        costs=(_group("main", "params|macs", scale=1e6),),
        hardware=(
            _group("main", "latency_.+", unit="ms"),
            _group("main", "throughput_.+", unit="images per second"),
            _group("main", "train_time", unit="s"),
        ),
        definitions={
            "params": f"{PARAMS}, to 7 digits",
            "macs": "multiply-adds at 224 x 224, and some for norms, squeezes and the last pool: "
            "6 to 12 % above the true count",
        },
    )


def _gpt() -> Published:
    gpu, cpu = r"(?!cpu_|helix_cpu)", "(cpu_(?!p100$).+|helix_cpu)"
    return Published(
        "HW-GPT-Bench, small: GPT-2-like language models",
        "gpt",
        {
            "main": Part(
                "hw_gpt_bench/gpt_s", ("embed_dim", "n_head", "mlp_ratio", "bias"), keys.gpt
            )
        },
        tasks=(
            Task("perplexity", "perplexity", -1, "weight-shared", column="perplexity"),
            Task(
                "accuracy", "next-token accuracy, fraction", 1, "weight-shared", column="accuracy"
            ),
        ),
        costs=(_group("main", "params|macs|flops"),),
        hardware=(
            _group("main", f"lat_{gpu}.+", unit="ms"),
            _group("main", "lat_(cpu_.+|helix_cpu)", unit="s, as the values suggest"),
            _group("main", f"energy_({gpu}.+|{cpu})", unit="kWh"),  # the CPU of p100 is all zero
            _group("main", "mem_.+", unit="MB, as the values suggest"),
        ),
        definitions={
            "params": "embedding and output head counted apart, three-matrix gated MLP",
            "macs": "multiply-adds of all linear layers, batch of 8, 1,024 tokens; attention "
            "products are not counted",
            "flops": "about twice macs: norms and activations are added; batch of 8, 1,024 tokens",
        },
    )


_HAT_KEY = tuple(
    (
        "encoder_embed_dim encoder_layer_num encoder_ffn_embed_dim_avg "
        "encoder_self_attention_heads_avg decoder_embed_dim decoder_layer_num "
        "decoder_ffn_embed_dim_avg decoder_self_attention_heads_avg "
        "decoder_ende_attention_heads_avg decoder_arbitrary_ende_attn_avg"
    ).split()
)
_HAT_DEVICES = (
    "iwslt14deen_gpu_titanxp wmt14ende_cpu_raspberrypi wmt14ende_cpu_xeon wmt14ende_gpu_titanxp "
    "wmt14enfr_cpu_raspberrypi wmt14enfr_cpu_xeon wmt14enfr_gpu_titanxp wmt19ende_gpu_titanxp"
).split()


def _hat_key(*numbers: float) -> str:
    return ":".join(f"{number:.6g}" for number in numbers)


def _hat() -> Published:
    return Published(
        "HAT: latency of translation transformers",
        None,
        {
            name: Part("hat_latency/hat_latency", _HAT_KEY, _hat_key, (("source", "==", name),))
            for name in _HAT_DEVICES
        },
        index=tuple(_HAT_DEVICES),
        hardware=tuple(
            _group(name, r"latency_(mean|std)_(encoder|decoder)", rf"\g<0>/{name}", "ms")
            for name in _HAT_DEVICES
        ),
    )


_OFA_KEY = ("ks", "e", "d", "r")

TABLES: dict[str, Published] = {
    "digits": Published(
        "Embedded: 900 small networks of ten families on digits, three seeds",
        "digits",
        {"main": Part("digits/digits", ("arch",))},
        tasks=(
            Task(
                "digits",
                "test accuracy, %",
                epochs=20,
                runs=("accuracy_seed0", "accuracy_seed1", "accuracy_seed2"),
            ),
        ),
        costs=(
            _group("main", "params|activations|train_seconds"),
            _group("main", "flops", "macs"),
        ),
        definitions={
            "params": PARAMS,
            "macs": f"{MACS}, at 8 x 8",
            "activations": "outputs of convolutions and products",
            "train_seconds": "CPU seconds of one training on one core, mean of the seeds",
        },
    ),
    "nasbench201": _nasbench201(),
    "nasbench201_extra": _suite(
        "NAS-Bench-201 cells on SVHN, spherical CIFAR-100 and NinaPro",
        "nasbench201",
        "nasbench201",
        keys.nasbench201,
        dict.fromkeys(("svhn", "scifar100", "ninapro"), (_SUITE_METRIC, "trained")),
    ),
    "nats_sss": Published(
        "NATS-Bench, size space: all 32,768 networks",
        "nats_sss",
        {"main": Part("nats_sss/nats_sss_cifar10", ("channels",))},
        tasks=(Task("cifar10@90", "test accuracy, %", epochs=90, column="cifar10_test_90ep"),),
    ),
    "nasbench101": _nasbench101(),
    "ec_nas": _ec_nas(),
    "nasbench301": _suite(
        "NAS-Bench-301: cells of the DARTS space",
        "nasbench301",
        "nasbench301",
        keys.nasbench301,
        {
            "cifar10": ("validation accuracy, %, as a surrogate predicts it", "surrogate"),
            **dict.fromkeys(("svhn", "scifar100", "ninapro"), (_SUITE_METRIC, "trained")),
        },
    ),
    "transnas101_micro": _transnas("micro", keys.transnas_micro, "4,096"),
    # Another code for cells, and networks of three modules instead of five, whose strides are not
    # known: no space builds them.
    "transnas101_micro_extra": _suite(
        "TransNAS-Bench-101 cells in smaller networks on SVHN, spherical CIFAR-100 and NinaPro",
        None,
        "transbench101_micro",
        keys.transnas_micro_study,
        dict.fromkeys(("svhn", "scifar100", "ninapro"), (_SUITE_METRIC, "trained")),
    ),
    "transnas101_macro": _transnas("macro", keys.transnas_macro, "3,256"),
    "nas_bench_macro": Published(
        "NAS-Bench-Macro: all 6,561 networks, three seeds",
        "nasbench_macro",
        {"main": Part("nas_bench_macro/nb_macro", ("arch",))},
        tasks=(Task("cifar10", "test accuracy, %", runs=("acc0", "acc1", "acc2")),),
        costs=(_group("main", "params"), _group("main", "flops", "macs")),
        definitions={"params": PARAMS, "macs": f"{MACS}, at 32 x 32"},
    ),
    "accel_nasbench": _accel(),
    "ofa_mobilenetv3": Published(
        "Once-for-All MobileNetV3: sub-networks that searches evaluated",
        "ofa_mobilenetv3",
        {"main": Part("ofa_mbv3/ofa_mbv3_w10_dynast", _OFA_KEY, keys.ofa_mobilenetv3)},
        tasks=(Task("imagenet", "top-1 accuracy, %", label="weight-shared", column="top1"),),
        costs=(_group("main", "params|macs"),),
        definitions={"params": PARAMS, "macs": f"{MACS}, at the network's resolution"},
    ),
    "enas": Published(
        "ENAS macro networks of the D-VAE study",
        "enas",
        {"main": Part("enas_dvae/enas", ("arch",), keys.enas)},
        tasks=(Task("cifar10", "accuracy, fraction", label="weight-shared", column="ws_acc"),),
    ),
    "gpt": _gpt(),
    "flexibert": _flexibert(),
    "nasbench_graph": _nasbench_graph(),
    "help_fbnet": Published(
        "HELP: latency of 5,000 FBNet networks",
        "fbnet",
        {"main": Part("help_latency/fbnet_5000", ("arch_str",))},
        costs=(_group("main", "zc_params", "params"), _group("main", "zc_flops", "flops")),
        hardware=(_group("main", "lat_.+", unit="ms"),),
        proxies=(_group("main", r"zc_(.+)", r"fbnet/\1"),),
        definitions={"params": PARAMS, "flops": "as a layer-hook counter saw them"},
    ),
    "help_ofa": Published(
        "HELP: latency of 5,000 Once-for-All networks",
        "ofa_mobilenetv3",
        {"main": Part("help_latency/ofa_5000", _OFA_KEY, keys.ofa_mobilenetv3)},
        hardware=(_group("main", "lat_.+", unit="ms"),),
    ),
    "hat": _hat(),
}
"""All tables by name."""
