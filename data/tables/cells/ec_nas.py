"""EC-NAS: cells as of NAS-Bench-101, trained with their energy."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from typing import Any

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import DamagedFileError, Raw

_SPACES = ("5V", "4V", "4V_rtx3090", "4V_estimate", "4V_quadro", "4V_titanxp", "4V_rtx3060")


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
        costs=(group("@4", "params"),),
        hardware=tuple(
            group(part, column, f"{name}{part}", unit)
            for part in parts
            for column, name, unit in figures
        ),
        definitions={"params": PARAMS},
    )


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read every training of the 5-vertex and 4-vertex cells, with energy (``f4``, ``f5``)."""
    rows = [
        row
        for space in _SPACES
        if raw.has(f"energy_{space}.tfrecord")
        for row in _trainings(space, raw)
    ]
    if not rows:
        raw.read(f"energy_{_SPACES[0]}.tfrecord")  # says what is missing
    found = pd.DataFrame(rows)
    floats = found.columns.drop(["space", "hash", "epochs", "adj", "ops", "params"])
    return {"ec_nas": found.astype(dict.fromkeys(floats, "float32"))}


def _trainings(space: str, raw: Raw) -> Iterator[dict[str, Any]]:
    name = f"energy_{space}.tfrecord"
    for record in raw.tfrecords(name):
        try:
            hash_, epochs, adjacency, operations, encoded = json.loads(record)
            metrics = _fields(base64.decodebytes(encoded.encode()))
            _, half, final = (_fields(part) for part in metrics[1])
            yield {
                "space": space,
                "hash": hash_,
                "epochs": epochs,
                "adj": adjacency,
                "ops": operations,
                "train_time": final[2][0],
                "train_acc": final[3][0],
                "valid_acc": final[4][0],
                "test_acc": final[5][0],
                "half_valid_acc": half[4][0],
                "half_test_acc": half[5][0],
                "params": metrics[2][0],
                "total_time": metrics[3][0],
                "f4": metrics[4][0],
                "f5": metrics[5][0],
            }
        except (ValueError, KeyError, IndexError, struct.error, binascii.Error) as error:
            raise DamagedFileError(
                f"{name}: holds a record that is not a training ({type(error).__name__}: {error}); "
                "get the file again"
            ) from error


def _fields(message: bytes) -> dict[int, list[Any]]:
    """Return the fields of a protocol-buffer message by number: doubles, integers and bytes."""
    found: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: Any
        if tag & 7 == 0:
            value, at = _varint(message, at)
        elif tag & 7 == 1:
            (value,) = struct.unpack_from("<d", message, at)
            at += 8
        elif tag & 7 == 2:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"wire type {tag & 7}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return value, at


SET = DataSet(
    name="ec_nas",
    title="EC-NAS: NAS-Bench-101 cells retrained with their energy",
    licence="MIT",
    files=(File("ec_nas", 5_432, ("space", "epochs", "adj", "ops", "test_acc")),),
    tables={"ec_nas": _ec_nas()},
    read=read,
    notes="5-vertex cells have 4 epochs only; 4-vertex cells 4, 12, 36, 108; three seeds.",
)
