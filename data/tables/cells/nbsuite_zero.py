"""NAS-Bench-Suite-Zero: zero-cost scores of several spaces, one long table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Label, Part, Published, Task, group
from ..raw import Raw

HOOKED = (
    "1e6 operations as a layer-hook counter saw them: multiply-adds, and some for norms, "
    "activations and pools; not comparable with other sets"
)
ZERO_COST = "grasp|fisher|grad_norm|l2_norm|plain|nwot|epe_nas|jacov|snip|synflow|zen|flops|params"


def part_of(space: str, task: str, spell: Callable[..., str]) -> Part:
    """Take one task of one space out of the long table."""
    return Part(
        "nbsuite_zero/zc_scores_long",
        ("arch",),
        spell,
        (("space", "==", space), ("task", "==", task)),
    )


def _suite(
    title: str,
    space: str | None,
    source: str,
    spell: Callable[..., str],
    tasks: Mapping[str, tuple[str, Label]],
) -> Published:
    """Make a table of NAS-Bench-Suite-Zero alone: a part for each task."""
    return Published(
        title,
        space,
        {name: part_of(source, name, spell) for name in tasks},
        index=tuple(tasks),
        tasks=tuple(
            Task(name, metric, label=label, column="val_accuracy", part=name)
            for name, (metric, label) in tasks.items()
        ),
        costs=tuple(
            group(name, column, rf"\g<0>/{name}", scale=scale)
            for name in tasks
            for column, scale in (("params", 1e6), ("flops", 1.0))
        ),
        proxies=tuple(group(name, ZERO_COST, rf"{name}/\g<0>") for name in tasks),
        definitions={
            f"{column}/{name}": text
            for name in tasks
            for column, text in (("params", PARAMS), ("flops", HOOKED))
        },
    )


_NESTED = {  # {task: {architecture: {proxy: {"score", "time"}, "val_accuracy"}}}
    "zc_transbench101_micro_711.json": "transbench101_micro",
    "zc_transbench101_macro_725.json": "transbench101_macro",
    "zc_nasbench201_725.json": "nasbench201",
    "zc_nasbench301_725.json": "nasbench301",
}
_EARLY = {  # {space: {task: {architecture: {proxy: score, "val_accuracy"}}}}
    "zc_nasbench201_491.json": "nasbench201_early",
    "zc_nasbench301_500.json": "nasbench301_early",
    "zc_nasbench101_500.json": "nasbench101",
}
_MORE = "9x_svhn_scifar100_ninapro.zip"
_COLUMNS = (
    "flops params grasp fisher grad_norm l2_norm plain nwot epe_nas jacov snip synflow zen"
).split()


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the long table; files that are not there are left out, but one must be."""
    rows = [
        row
        for name, space in _NESTED.items()
        if raw.has(name)
        for row in _rows(space, raw.json(name))
    ]
    for name, space in _EARLY.items():
        if raw.has(name):
            (tasks,) = raw.json(name).values()
            rows += _rows(space, tasks)
    if raw.has(_MORE):
        rows += _zipped(raw)
    if not rows:
        raw.read(_MORE)  # says what is missing
    return {
        "zc_scores_long": pd.DataFrame(
            rows, columns=["space", "task", "arch", "val_accuracy", *_COLUMNS]
        )
    }


def _rows(space: str, tasks: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for task, networks in tasks.items():
        for architecture, record in networks.items():
            yield {"space": space, "task": task, "arch": architecture, **_scores(record)}


def _zipped(raw: Raw) -> list[dict[str, Any]]:
    """Merge the files, one per proxy, space and task, to one row per architecture."""
    merged: dict[tuple[str, str, str], dict[str, Any]] = {}
    for member, content in raw.zipped_json(_MORE):
        _, space, task, _ = member.split("--")
        for record in content:
            key = (space, task, record["arch"])
            merged.setdefault(key, {}).update(_scores(record))
    return [
        {"space": space, "task": task, "arch": architecture, **scores}
        for (space, task, architecture), scores in merged.items()
    ]


def _scores(record: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in ("val_accuracy", *_COLUMNS):
        if name in record:
            value = record[name]
            found[name] = value["score"] if isinstance(value, dict) else value
    return found


_TRAINED: dict[str, tuple[str, Label]] = dict.fromkeys(
    ("svhn", "scifar100", "ninapro"),
    ("validation accuracy of the best epoch, %", "trained"),
)
_TABLES = {
    "nasbench201_extra": _suite(
        "NAS-Bench-201 cells on SVHN, spherical CIFAR-100 and NinaPro",
        "nasbench201",
        "nasbench201",
        keys.nasbench201,
        _TRAINED,
    ),
    "nasbench301": _suite(
        "NAS-Bench-301: cells of the DARTS space",
        "nasbench301",
        "nasbench301",
        keys.nasbench301,
        {
            "cifar10": ("validation accuracy, %, as a surrogate predicts it", "surrogate"),
            **_TRAINED,
        },
    ),
    # Another code for cells, and networks of three modules instead of five, whose strides are not
    # known: no space builds them.
    "transnas101_micro_extra": _suite(
        "TransNAS-Bench-101 cells in smaller networks on SVHN, spherical CIFAR-100 and NinaPro",
        None,
        "transbench101_micro",
        keys.transnas_micro_study,
        _TRAINED,
    ),
}


SET = DataSet(
    name="nbsuite_zero",
    title="NAS-Bench-Suite-Zero: 13 zero-cost scores on several spaces",
    licence="Apache-2.0",
    files=(File("zc_scores_long", 17_068, ("space", "task", "arch", "val_accuracy")),),
    tables=_TABLES,
    read=read,
    notes="NAS-Bench-301's CIFAR-10 accuracy there is a surrogate's prediction.",
)
