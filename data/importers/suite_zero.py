"""NAS-Bench-Suite-Zero: zero-cost scores of several spaces, one long table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from .raw import Raw

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
PROXIES = (
    "flops params grasp fisher grad_norm l2_norm plain nwot epe_nas jacov snip synflow zen"
).split()
COLUMNS = ["space", "task", "arch", "val_accuracy", *PROXIES]


def frames(raw: Raw) -> dict[str, pd.DataFrame]:
    """The long table; files that are not there are left out, but one must be."""
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
    return {"zc_scores_long": pd.DataFrame(rows, columns=COLUMNS)}


def _rows(space: str, tasks: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for task, networks in tasks.items():
        for architecture, record in networks.items():
            yield {"space": space, "task": task, "arch": architecture, **_scores(record)}


def _zipped(raw: Raw) -> list[dict[str, Any]]:
    """One file per proxy, space and task; merged to one row per architecture."""
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
    for name in ("val_accuracy", *PROXIES):
        if name in record:
            value = record[name]
            found[name] = value["score"] if isinstance(value, dict) else value
    return found
