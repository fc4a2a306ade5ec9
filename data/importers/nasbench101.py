"""500 original NAS-Bench-101 cells; EC-NAS, cells of that kind trained with their energy."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from typing import Any

import pandas as pd

from .. import keys
from .raw import DamagedFileError, Raw

_PROXIES = "grasp fisher grad_norm l2_norm plain epe_nas jacov snip synflow".split()
_EC_NAS = ("5V", "4V", "4V_rtx3090", "4V_estimate", "4V_quadro", "4V_titanxp", "4V_rtx3060")


def small(raw: Raw) -> dict[str, pd.DataFrame]:
    """500 cells with zero-cost scores and one validation accuracy."""
    (tasks,) = raw.json("zc_nasbench101_500.json").values()
    rows = []
    for code, record in tasks["cifar10"].items():
        numbers = keys.numbers(code)
        size = numbers[49:].index(1) + 1
        rows.append(
            {
                "arch": code,
                **{name: record.get(name) for name in ("val_accuracy", "flops", "params")},
                **{name: record.get(name) for name in _PROXIES},
                "n": size,
                "adj": "".join(str(numbers[7 * i + j]) for i in range(size) for j in range(size)),
                "ops_raw": ",".join(map(str, numbers[49 : 49 + size])),
            }
        )
    found = pd.DataFrame(rows)
    floats = found.columns.drop(["arch", "n", "adj", "ops_raw"])
    return {"nb101_500_suitezero": found.astype(dict.fromkeys(floats, "float32"))}


def ec_nas(raw: Raw) -> dict[str, pd.DataFrame]:
    """Every training of the 5-vertex and 4-vertex cells, with energy (``f4``, ``f5``)."""
    rows = [
        row
        for space in _EC_NAS
        if raw.has(f"energy_{space}.tfrecord")
        for row in _trainings(space, raw)
    ]
    if not rows:
        raw.read(f"energy_{_EC_NAS[0]}.tfrecord")  # says what is missing
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
                f"{name}: holds a record that is no training ({type(error).__name__}: {error}); "
                "get the file again"
            ) from error


def _fields(message: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol-buffer message by number: doubles, integers and bytes."""
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
