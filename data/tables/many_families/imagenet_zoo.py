"""Checkpoints of timm: measured ImageNet accuracy with recipes, and speed on several devices.

The families of timm that are not listed here are kept to judge with, and no row of them is read.
"""

from __future__ import annotations

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import Raw

_FAMILIES = {
    **{name: (name,) for name in "byobnet cait coat davit edgenext focalnet hgnet hiera".split()},
    **{name: (name,) for name in "hrnet mambaout maxxvit metaformer mobilevit mvitv2".split()},
    **{name: (name,) for name in "nest nfnet pit rdnet regnet repvit rexnet tiny_vit".split()},
    **{name: (name,) for name in "tnt twins visformer".split()},
    "effnetish": ("efficientnet", "mobilenetv3", "hardcorenas"),
    "eformer": ("efficientformer", "efficientformer_v2", "swiftformer"),
    "evit": ("efficientvit_mit", "efficientvit_msra"),
    "resnetish": (
        *("byoanet", "resnet", "senet", "res2net", "resnest", "resnetv2", "sknet", "selecsls"),
        "tresnet",
    ),
    "swin": ("swin_transformer", "swin_transformer_v2", "swin_transformer_v2_cr"),
    "vit": (
        *("vision_transformer", "beit", "deit", "naflexvit", "vision_transformer_hybrid"),
        "vision_transformer_relpos",
    ),
}
"""Near relatives, by the modules of timm that hold them: our choice."""

_AGAIN = {
    "real": ("top1_real", "top-1 accuracy by the reassessed labels (ReaL), %"),
    "v2": ("top1_v2", "top-1 accuracy on ImageNetV2, matched frequency, %"),
}
_HARDER = {
    "a": ("top1_a", "top-1 accuracy on ImageNet-A, 200 classes, %"),
    "r": ("top1_r", "top-1 accuracy on ImageNet-R, 200 classes, %"),
    "sketch": ("top1_sketch", "top-1 accuracy on ImageNet-Sketch, %"),
}
_OTHERS = {
    "top1_real": "results-imagenet-real.csv",
    "top1_v2": "results-imagenetv2-matched-frequency.csv",
    "top1_a": "results-imagenet-a.csv",
    "top1_r": "results-imagenet-r.csv",
    "top1_sketch": "results-sketch.csv",
}
_SPEED = {
    "rtx3090": "benchmark-infer-amp-nchw-pt240-cu124-rtx3090",
    "rtx3090-nhwc": "benchmark-infer-amp-nhwc-pt240-cu124-rtx3090",
    "rtx4090": "benchmark-infer-amp-nchw-pt291-cu128-4090",
    "rtx4090-compiled": "benchmark-infer-amp-nchw-pt291-cu128-4090-dynamo",
    "i9-10940x-compiled": "benchmark-infer-fp32-nchw-pt240-cpu-i9_10940x-dynamo",
    "rtx3090-train": "benchmark-train-amp-nchw-pt112-cu113-rtx3090",
}
_MILLIONS = f"{PARAMS}, to the nearest 10,000"

_ACCURACY_TABLE = Published(
    "ImageNet accuracy of 1,182 checkpoints of timm, with their recipes",
    "imagenet_zoo",
    {"main": Part("imagenet_zoo/accuracy", ("model", "img_size"), keys.imagenet_zoo)},
    tasks=(
        Task(
            *("imagenet", "top-1 accuracy, %"),
            column="top1",
            again=tuple(f"imagenet-{name}" for name in _AGAIN),
        ),
        Task("imagenet-top5", "top-5 accuracy, %", column="top5"),
        *(
            Task(f"imagenet-{name}", metric, column=column)
            for name, (column, metric) in {**_AGAIN, **_HARDER}.items()
        ),
    ),
    costs=(group("main", "params_M", "params", scale=1e6),),
    context=(
        group("main", "architecture", "model"),
        group("main", "family|module|tag|img_size|crop_pct|interpolation"),
    ),
    definitions={"params": _MILLIONS},
)
_INFERENCE = tuple(device for device in _SPEED if device != "rtx3090-train")
_SPEED_TABLE = Published(
    "Speed of models of timm on five devices, and of their training on one",
    "imagenet_zoo",
    {
        device: Part(
            *("imagenet_zoo/speed", ("architecture", "img_size"), keys.imagenet_zoo),
            where=(("device", "==", device),),
        )
        for device in _SPEED
    },
    index=_INFERENCE,  # what was trained years before has names that timm no longer knows
    costs=(
        group("rtx4090", "params_M", "params", scale=1e6),
        group("rtx4090", "gmacs", "macs", scale=1e9),
        group("rtx4090", "macts", "activations", scale=1e6),
    ),
    hardware=(
        *(
            group(device, "samples_per_sec", f"throughput/{device}", "images per second")
            for device in _SPEED
        ),
        *(group(device, "batch_size", f"batch/{device}", "images") for device in _SPEED),
    ),
    definitions={
        "params": _MILLIONS,
        "macs": "multiply-adds of one image, to the nearest 10 million",
        "activations": "outputs of convolutions, linear layers and attention's products, to the "
        "nearest 10,000",
    },
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read accuracy and speed; needs timm, which knows in which module each model is.

    Left out: the families of the speed table.

    Raises:
        InputError: the file of accuracies is not there.
        MissingExtraError: timm cannot be imported.
    """
    found = {"accuracy": _accuracy(raw)}
    speed = [
        _speed(raw.csv(f"{file}.csv", thousands=","), device, file)
        for device, file in _SPEED.items()
        if raw.has(f"{file}.csv")
    ]
    if speed:
        found["speed"] = pd.concat(speed, ignore_index=True)
    return found


def _accuracy(raw: Raw) -> pd.DataFrame:
    from ...spaces.imagenet_zoo import models  # late, since it loads torch

    rows = raw.csv("results-imagenet.csv", thousands=",")
    found = rows[["model"]].copy()
    name = rows["model"].str.partition(".")
    found["architecture"], found["tag"] = name[0], name[2]
    found["module"] = found["architecture"].map(models())
    families = {module: family for family, several in _FAMILIES.items() for module in several}
    found["family"] = found["module"].map(families)
    found = found.assign(**{name: rows[name] for name in ("img_size", "crop_pct", "interpolation")})
    found["params_M"] = rows["param_count"]
    found = found.assign(top1=rows["top1"], top5=rows["top5"])
    for column, file in _OTHERS.items():
        if raw.has(file):
            other = raw.csv(file, thousands=",").drop_duplicates("model").set_index("model")
            found[column] = found["model"].map(other["top1"])
    kept = found.dropna(subset=["family"])
    return kept.sort_values(["family", "model"], kind="stable", ignore_index=True)


def _speed(rows: pd.DataFrame, device: str, file: str) -> pd.DataFrame:
    rows = rows.rename(columns=lambda name: name.removeprefix("infer_").removeprefix("train_"))
    architecture = rows["model"].str.partition(".")[0]
    found = pd.DataFrame({"device": device, "model": architecture, "architecture": architecture})
    for name in ("img_size", "batch_size", "samples_per_sec", "step_time", "gmacs", "macts"):
        if name in rows:
            found[name] = rows[name]
    return found.assign(params_M=rows["param_count"], source=file)


SET = DataSet(
    name="imagenet_zoo",
    title="Checkpoints of timm: ImageNet accuracy with recipes, and speed",
    licence="Apache-2.0",
    files=(
        File("accuracy", 1_182, ("model", "architecture", "tag", "img_size", "top1")),
        File("speed", 6_484, ("device", "architecture", "img_size", "samples_per_sec")),
    ),
    tables={"imagenet_zoo": _ACCURACY_TABLE, "imagenet_zoo_speed": _SPEED_TABLE},
    read=read,
    notes=(
        "Recipe and pretraining data (tag) move top-1 by several points: stratify by them, or use "
        "them as context. Where a checkpoint was evaluated at two sizes, the figures on other test "
        "sets are those of one of them. Some families are left out, to judge with. In the table of "
        "speed, figures of RepVGG, MobileOne and RepViT are of networks with fused branches."
    ),
)
