"""Measurements on this machine: latency, its spread and memory, one row per batch size."""

from __future__ import annotations

import copy
import csv
import datetime
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..basics import Progress
from ..errors import ArchrankError, InputError, checked_count
from ..graphs import Graph, trace
from ..graphs.inputs.tensors import is_shape
from ..graphs.randomness import seeded
from ..progress import tell_of_kept
from ..proxies.planner import usable_device
from ..proxies.recording.batches import Batch
from ..scoring.candidates import Candidate, collect
from ..scoring.work import threads_set
from .timing import batch_of, machine, timed, times

if TYPE_CHECKING:
    from _csv import Writer


@dataclass(frozen=True)
class Measurement:
    """A measurement of one network with one batch size.

    Attributes:
        name: of the candidate.
        device, batch_size, threads, input, machine, torch: what it was measured under; rows that
            agree in all of these and in the name are of the same measurement.
        latency_ms: median time of one forward, in milliseconds.
        spread_ms: from the first to the third quartile of these times.
        runs: how many were timed.
        memory_mb: weights, buffers, inputs and the most that a forward held beside them, in MB.
        params, flops: of the traced network, one sample; missing where it cannot be traced.
        status: ``"ok"``, ``"error"`` or ``"out of memory"``.
        reason: of a failure.
        date: when, UTC.
    """

    name: str
    device: str
    batch_size: int
    threads: int
    input: str
    machine: str
    torch: str
    latency_ms: float = float("nan")
    spread_ms: float = float("nan")
    runs: int = 0
    memory_mb: float = float("nan")
    params: float = float("nan")
    flops: float = float("nan")
    status: str = "ok"
    reason: str = ""
    date: str = ""


COLUMNS = tuple(field.name for field in fields(Measurement))
_SETTING = COLUMNS[:7]


def measure(
    candidates: Any,
    inputs: Any = None,
    *,
    seed: int = 0,
    device: str = "auto",
    batch_sizes: Sequence[int] = (1,),
    threads: int | None = None,
    seconds: float = 1.0,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure the forward pass of every candidate with every batch size, in inference mode.

    After a warm-up, forward passes are timed for ``seconds``, and at least five times. On CUDA
    each pass waits for the device, so that the time is what a caller would see. A candidate that
    raises an error is a row with a reason. No other work should run on the machine meanwhile.

    Args:
        candidates, inputs: the same as in ``archrank.rank``.
        device: ``"auto"`` (CUDA if available, else CPU), or the name of a device.
        batch_sizes: the numbers of samples in a forward pass; given tensors are repeated or cut.
        threads: the number of CPU threads inside one operator; by default that of torch.
        seconds: how long to time each candidate with each batch size.
        seed: the seed of weights and random inputs.
        out: a CSV file to which rows are appended as soon as they are measured. Rows with status
            ``"ok"`` and the same name and setting are not measured again.
        progress: a function that is called with (done, total, name and batch size) after each.

    Returns:
        The rows of these candidates and this setting, with the columns of ``Measurement``.

    Raises:
        InputError: an argument is invalid, or ``out`` holds something else.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> table = measure({"net": net}, (3, 16, 16), device="cpu", seconds=0.01)
        >>> table.loc[0, "params"], table.loc[0, "status"], bool(table.loc[0, "latency_ms"] > 0)
        (np.float64(224.0), 'ok', True)
    """
    sizes = _checked_sizes(batch_sizes)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise InputError(f"seconds: got {seconds!r}, expected a number larger than 0")
    if threads is not None:
        checked_count("threads", threads)
    place = usable_device(device)
    found = collect(candidates)
    path = None if out is None else Path(out)
    known = {} if path is None else {_setting(row): row for row in _rows_of(path)}
    rows: list[Measurement] = []
    total, kept = len(found) * len(sizes), 0
    with threads_set(threads) as count:
        for candidate in found:
            for row in _measured(candidate, inputs, place, sizes, count, seconds, seed, known):
                if _setting(row) in known:
                    kept += 1
                elif path is not None:
                    if len(rows) == kept:  # it is the first new one
                        tell_of_kept(path, kept, total, "measurements")
                    _append(path, row)
                rows.append(row)
                if progress is not None:
                    progress(len(rows), total, f"{candidate.name}, batch {row.batch_size}")
    if kept == total:
        tell_of_kept(path, kept, total, "measurements")
    return pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))


def operator_costs(
    candidates: Any,
    inputs: Any = None,
    *,
    device: str = "auto",
    batch_size: int = 1,
    threads: int | None = None,
    seconds: float = 0.1,
    seed: int = 0,
) -> dict[str, float]:
    """Time every operator of the candidates alone, on what it is given there; return milliseconds.

    Operators are those modules that are one operator of the graph; each of one size is timed once.
    What networks compute by functions (sums of branches, ...) has no entry. The entries are what
    ``archrank.costs.OperatorTable.of`` takes.

    Args:
        candidates, inputs, device, threads, seconds, seed: the same as in ``measure``.
        batch_size: samples per forward.

    Raises:
        InputError: an argument is invalid.
        UnsupportedModelError: a candidate cannot be traced.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> sorted(operator_costs({"net": net}, (3, 16, 16), device="cpu", seconds=0.01))
        ['conv2d 3x3 3x16x16 to 8x14x14', 'relu 8x14x14 to 8x14x14']
    """
    from .operators.inventory import operator_names

    place = usable_device(device)
    costs: dict[str, float] = {}
    with threads_set(threads) as count:
        for candidate in collect(candidates):
            model, given = _built(candidate, inputs, place, seed)
            graph = trace(model, given)
            at: dict[str, list[str]] = {}
            for node, name in zip(graph.nodes, operator_names(graph), strict=True):
                if name:
                    at.setdefault(node.module, []).append(name)
            leaves = {path for path, module in model.named_modules() if not [*module.children()]}
            wanted = {
                path: names[0]
                for path, names in at.items()
                if path in leaves and len(names) == 1 and names[0] not in costs
            }
            with torch.inference_mode():
                taken = _taken_by(model, batch_of(model, given, batch_size, seed), set(wanted))
                for path, batch in taken.items():
                    if wanted[path] not in costs:
                        each, _ = times(model.get_submodule(path), batch, count, seconds)
                        costs[wanted[path]] = float(np.median(each)) * 1e3
    return costs


def read_measurements(path: str | Path) -> pd.DataFrame:
    """Return the rows of a file of ``measure``, of each measurement the last.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"path: there is no file {str(path)!r}")
    rows = {_setting(row): row for row in _rows_of(Path(path), failed_too=True)}
    return pd.DataFrame([asdict(row) for row in rows.values()], columns=list(COLUMNS))


# --- one candidate --------------------------------------------------------------------------------


def _measured(
    candidate: Candidate,
    inputs: Any,
    device: str,
    sizes: Sequence[int],
    threads: int,
    seconds: float,
    seed: int,
    known: dict[tuple[str, ...], Measurement],
) -> Iterator[Measurement]:
    """Return a candidate's rows, one per batch size; it is built only if one of them is not
    known."""
    facts: dict[str, Any] = {
        "name": candidate.name,
        "device": device,
        "threads": threads,
        "machine": machine(device),
        "torch": torch.__version__,
    }
    model: nn.Module | None = None
    given: Any = candidate.inputs if inputs is None else inputs
    broken: dict[str, Any] = {}
    for size in sizes:
        row = Measurement(batch_size=size, input=_described(given), **facts)
        if _setting(row) in known:
            yield known[_setting(row)]
            continue
        if model is None and not broken:
            try:
                model, given = _built(candidate, inputs, device, seed)
                facts |= _sizes_of(model, given)
            except Exception as error:  # the user's own builder may raise anything
                broken = _failure(error)
        row = Measurement(batch_size=size, input=_described(given), **facts)
        if _setting(row) in known:  # the model itself said its input
            yield known[_setting(row)]
            continue
        figures = broken
        if model is not None and not broken:
            try:
                figures = timed(model, given, size, threads, seconds, seed)
            except Exception as error:  # and so may its forward
                figures = _failure(error)
        row = Measurement(**{**asdict(row), **figures, "date": _now()})
        yield row
    del model
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _built(candidate: Candidate, inputs: Any, device: str, seed: int) -> tuple[nn.Module, Any]:
    with seeded(seed):
        model = candidate.built()
    if not candidate.rebuilds:  # the user's own: its mode and device stay as they are
        model = copy.deepcopy(model)
    return model.eval().to(device), candidate.inputs_for(model, inputs)


def _sizes_of(model: nn.Module, inputs: Any) -> dict[str, Any]:
    """Return parameters and FLOPs; of what cannot be traced, parameters alone."""
    params = sum(p.numel() for p in model.parameters())
    try:
        graph: Graph | None = trace(model, inputs)
    except ArchrankError:
        graph = None
    return {"params": float(params), "flops": float(graph.flops) if graph else float("nan")}


def _taken_by(model: nn.Module, batch: Batch, paths: set[str]) -> dict[str, Batch]:
    """Return what modules are called with in one forward; only those that are called once."""
    calls: dict[str, list[Batch]] = {path: [] for path in paths}

    def keep(path: str) -> Callable[..., None]:
        return lambda module, args, kwargs: calls[path].append(Batch(args, kwargs))

    hooks = [
        module.register_forward_pre_hook(keep(path), with_kwargs=True)
        for path, module in model.named_modules()
        if path in paths
    ]
    try:
        model(*batch.args, **batch.kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: found[0] for path, found in calls.items() if len(found) == 1}


def _failure(error: Exception) -> dict[str, Any]:
    memory = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return {"status": "out of memory" if memory else "error", "reason": text[:500]}


def _checked_sizes(batch_sizes: Sequence[int]) -> list[int]:
    sizes = list(dict.fromkeys(batch_sizes)) if isinstance(batch_sizes, Iterable) else []
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InputError(
            f"batch_sizes: got {batch_sizes!r}, expected whole numbers of at least 1, as (1, 16)"
        )
    return sizes


def _described(inputs: Any) -> str:
    """Return an input as text: its shape, without batch dimension, or the shapes of tensors."""
    if inputs is None:
        return ""
    if is_shape(inputs):
        return "x".join(map(str, inputs))
    if isinstance(inputs, Tensor):
        return "x".join(map(str, inputs.shape[1:]))
    if isinstance(inputs, dict):
        return " ".join(f"{name}:{_described(value)}" for name, value in inputs.items())
    if isinstance(inputs, (tuple, list)):
        return " ".join(map(_described, inputs))
    return type(inputs).__name__


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


# --- the file -------------------------------------------------------------------------------------


def _setting(row: Measurement) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in _SETTING)


def _rows_of(path: Path, failed_too: bool = False) -> list[Measurement]:
    """Return what a file holds; lines that were cut off are none."""
    if not path.exists() or not path.stat().st_size:
        return []
    try:
        whole, _, _ = path.read_bytes().decode().rpartition("\n")  # without a line cut off
        header, *lines = list(csv.reader(whole.splitlines())) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"out: cannot read {str(path)!r} as measurements ({error})") from None
    if tuple(header) != COLUMNS:
        raise InputError(f"out: {str(path)!r} holds no measurements; name another file")
    rows = []
    for line in lines:
        try:
            row = _read(line)
        except ValueError:  # a line that was cut off once and has others behind it
            continue
        if failed_too or row.status == "ok":
            rows.append(row)
    return rows


_KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}


def _read(line: Sequence[str]) -> Measurement:
    kinds = {field.name: _KINDS[str(field.type)] for field in fields(Measurement)}
    return Measurement(**{n: kinds[n](text) for n, text in zip(COLUMNS, line, strict=True)})


def _append(path: Path, row: Measurement) -> None:
    """Add a line, behind one that was cut off too, and the header to an empty file."""
    new = not path.exists() or not path.stat().st_size
    whole = new or path.read_bytes()[-1:] == b"\n"
    try:
        with path.open("a", newline="") as file:
            if not whole:
                file.write("\n")
            writer: Writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS] if new else [])
            writer.writerow(asdict(row).values())
    except OSError as error:
        raise InputError(f"out: {str(path)!r} cannot be written ({error})") from error
