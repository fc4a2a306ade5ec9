"""The time of a forward on this machine, with its spread and its memory."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from ..graphs.inputs.tensors import is_shape
from ..proxies.recording.batches import Batch, make_batches
from ..proxies.recording.meter import Meter
from ..proxies.recording.model_runner import pass_dtype

_WARM_UP = 3  # runs at least, before any is timed
_FEWEST = 5  # timed runs, however long one takes


def timed(
    model: nn.Module, inputs: Any, size: int, threads: int, seconds: float, seed: int
) -> dict[str, Any]:
    """Return the latency, spread, runs and memory of a model in evaluation mode on its device,
    as in ``Measurement``."""
    batch = batch_of(model, inputs, size, seed)
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            model(*batch.args, **batch.kwargs)
        with Meter(batch.tensors[0].device) as meter:
            model(*batch.args, **batch.kwargs)
        each, runs = times(model, batch, threads, seconds)
    low, middle, high = np.quantile(each, [0.25, 0.5, 0.75]) * 1e3
    held = sum(t.nbytes for t in (*model.parameters(), *model.buffers(), *batch.tensors))
    peak = float("nan") if meter.peak_memory is None else (held + meter.peak_memory) / 1e6
    return {
        "latency_ms": float(middle),
        "spread_ms": float(high - low),
        "runs": runs,
        "memory_mb": peak,
    }


def machine(device: str = "cpu") -> str:
    """Return the processor or the accelerator, by its own name."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def batch_of(model: nn.Module, inputs: Any, size: int, seed: int) -> Batch:
    """Return ``size`` samples that a model takes: random ones of a shape, or those given."""
    (batch,) = make_batches(model, inputs, None, seed, size, pass_dtype(model), 1)
    return batch if is_shape(inputs) else _resized(batch, size)


def times(module: nn.Module, batch: Batch, threads: int, seconds: float) -> tuple[list[float], int]:
    """Return the seconds of a forward, several times, and of how many runs each is the mean."""
    wait = torch.cuda.synchronize if batch.tensors[0].is_cuda else _nothing
    timer = Timer(
        "module(*args, **kwargs); wait()",
        globals={"module": module, "args": batch.args, "kwargs": batch.kwargs, "wait": wait},
        num_threads=threads,
    )
    found = timer.blocked_autorange(min_run_time=seconds)
    each = list(found.times)
    runs = len(each) * found.number_per_run
    while len(each) < _FEWEST:
        each += timer.timeit(1).times
        runs += 1
    return each, runs


def _resized(batch: Batch, size: int) -> Batch:
    """Return the same samples, repeated or cut to ``size``."""
    length = len(batch)
    rows = torch.arange(size) % length

    def taken(tensor: Tensor) -> Tensor:
        batched = tensor.dim() > 0 and tensor.shape[0] == length
        return tensor[rows.to(tensor.device)] if batched else tensor

    return batch.map(taken)


def _nothing() -> None:
    """Do nothing: on the CPU a forward is over when it returns."""
