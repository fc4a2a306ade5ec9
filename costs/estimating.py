"""Predicted costs on devices that you do not have: one row per network, device and batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..basics import Progress
from ..errors import InputError
from ..graphs import Graph
from ..scoring.candidates import collect
from .calibrating import DeviceSpeed, speed_on
from .memory import inference_memory, largest_batch, training_memory
from .speed import SpeedPredictor
from .tracing import graph_of

COLUMNS = (
    *("name", "device", "batch_size", "ms", "low_ms", "high_ms", "images_per_second"),
    *("memory_mb", "train_memory_mb", "largest_batch"),
    *("bound_by", "beyond", "params", "flops", "status", "reason"),
)
_BATCH = 64
BOUNDS = ("work", "bytes", "starts")
"""What most of the time goes into: multiply-adds, moving tensors, starting operators."""


def estimate(
    candidates: Any,
    inputs: Any = None,
    *,
    on: Sequence[str] = ("rtx4090",),
    batch_sizes: Sequence[int] | None = None,
    level: float = 0.9,
    fits_in: float | None = None,
    optimiser: str = "adamw",
    checkpoints: bool = False,
    progress: Progress | None = None,
    **how: Any,
) -> pd.DataFrame:
    """Predict latency and memory of candidates on devices, from their graphs alone.

    Args:
        candidates, inputs: the same as in ``archrank.rank``.
        on: devices or settings (``SETTINGS``), or folders of a saved ``DeviceSpeed``; or one.
        batch_sizes: the number of samples in a step; by default 64, or the largest batch that was
            measured there.
        level: the probability that the measured time is in [``low_ms``, ``high_ms``].
        fits_in: bytes of memory; ``largest_batch`` is the largest that fits, of a forward or, where
            the device was measured in training, of a step.
        optimiser, checkpoints: the same as in ``training_memory``.
        progress: called with (done, total, name) after each candidate.
        how: the same as in ``setting``.

    Returns:
        Columns ``COLUMNS``. ``beyond`` says that no network so quick or so slow was measured
        there, so the interval may not hold. A candidate that cannot be traced is a row with a
        reason.

    Raises:
        InputError: an argument is invalid.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU())
        >>> table = estimate({"net": net}, (3, 224, 224), on=("rtx4090",), batch_sizes=(256,))
        >>> table.loc[0, "device"], bool(table.loc[0, "low_ms"] < table.loc[0, "high_ms"])
        ('rtx4090', True)
    """
    there: list[SpeedPredictor | DeviceSpeed] = []
    for device in (on,) if isinstance(on, str) else on:
        most = speed_on(device, **how).batches[1]
        sizes = batch_sizes or (min(_BATCH, most),)
        there += [speed_on(device, size, **how) for size in sizes]
    if not there:
        raise InputError("on: got no device, expected at least one, as rtx4090")
    found = collect(candidates)
    rows: list[dict[str, Any]] = []
    for done, candidate in enumerate(found, 1):
        try:
            graph = graph_of(candidate, inputs)
        except InputError:
            raise
        except Exception as error:  # the user's own builder may raise anything
            text = " ".join(f"{type(error).__name__}: {error}".split())
            rows.append({"name": candidate.name, "status": "error", "reason": text[:500]})
        else:
            for one in there:
                row = _speed_of(candidate.name, graph, one, level)
                rows.append(row | _memory_of(graph, one, fits_in, optimiser, checkpoints))
        if progress is not None:
            progress(done, len(found), candidate.name)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _memory_of(
    graph: Graph,
    there: SpeedPredictor | DeviceSpeed,
    fits_in: float | None,
    optimiser: str,
    checkpoints: bool,
) -> dict[str, Any]:
    precision, training = there.precision, there.training
    step = training_memory(graph, there.batch_size, precision, optimiser, checkpoints)
    largest = None
    if fits_in is not None:
        largest = largest_batch(graph, fits_in, training, precision, optimiser, checkpoints)
    return {
        "memory_mb": inference_memory(graph, there.batch_size, precision).peak / 1e6,
        "train_memory_mb": step.peak / 1e6,
        "largest_batch": largest,
    }


def _speed_of(
    name: str, graph: Graph, there: SpeedPredictor | DeviceSpeed, level: float
) -> dict[str, Any]:
    said = there.speed([graph], level)
    batch = there.batch_size
    return {
        "name": name,
        "device": there.device,
        "batch_size": batch,
        "ms": float(said.milliseconds[0]),
        "low_ms": float(said.low[0]),
        "high_ms": float(said.high[0]),
        "images_per_second": 1e3 * batch / float(said.milliseconds[0]),
        "bound_by": BOUNDS[int(said.parts[0].argmax())],
        "beyond": bool(said.beyond[0]),
        "params": graph.params,
        "flops": graph.flops,
        "status": "ok",
        "reason": "",
    }
