"""``score``: plan the passes that proxies need, run them, and collect the results."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ..basics import Progress
from ..errors import InputError, ScoreError, checked_count
from ..formats import named
from ..graphs import Graph, trace
from ..graphs.inputs.models import checked_module, unwrap
from ..progress import begin, shown
from .given_data import drawn, first_input
from .passes import PASSES, Pass
from .recording.attempts import BackwardError, Recorded, attempt
from .recording.backward_site import failing_backward
from .recording.batches import Batch, device_of, make_batches, samples_first
from .recording.meter import Meter
from .recording.model_runner import ModelRunner, pass_dtype
from .recording.objective import Loss
from .recording.signals import OF_SEVERAL_BATCHES
from .registry import Measure, Proxy, all_proxies, get, names_in
from .scores import Result, Scores, on_nodes

_MODES = ("train", "as given", "eval")
_SEVERAL = 2


@dataclass
class _Cost:
    """What the passes that a proxy needs took."""

    seconds: float = 0.0
    peaks: list[int] = field(default_factory=list)


@torch.inference_mode(False)
def score(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    proxies: str | Iterable[str] | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    batches: int = 2,
    graph: Graph | None = None,
    progress: Progress | bool = False,
) -> Scores:
    """Score a model at initialisation with zero-cost proxies, in as few passes as possible.

    The model comes back bit-identical, even after errors: parameters, buffers, modes, hooks,
    ``requires_grad``, ``.grad``, random state and global flags (with ``device``, also its device).
    Dropout is off. A proxy that cannot be computed has a status and a reason; the others still
    have values. A batch is never split, except where samples are independent (GradSign).

    Args:
        model: any module that runs a forward; half precision is scored in float32.
        inputs: a shape without batch dimension (then deterministic normal random batches are
            used), a tensor or array with one, the tuple or dict of tensors that ``forward`` takes,
            a dataset, a DataLoader or another iterable of batches. A batch is inputs, ``(x, y)``,
            ``(x1, x2, y)`` or a dict; the signature of ``forward`` says which of them are inputs.
        targets: the targets of a single batch; by default random classes.
        proxies: one name or several, or ``"all"``, the default.
        loss: a function ``loss(output, targets)`` of the raw output that returns a scalar; by
            default cross-entropy on the main output of shape (N, classes).
        seed: the seed of random data and of random proxies.
        device: the device to run on; by default that of the model.
        batch_size: the number of samples in random batches and in batches drawn from a dataset.
        batches: the number of batches for proxies that need several (ZiCo), at least 2.
        graph: the graph of the model, if it was traced before.
        progress: a function that is called with (done, total, names of proxies) after each pass,
            or True for a bar.

    Raises:
        InputError: an argument is invalid.
        UnsupportedModelError: the model cannot be traced.

    Example:
        >>> import torch
        >>> import archrank
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))
        >>> scores = archrank.score(net, (3, 4, 4), proxies=["params", "gradsign", "naswot"])
        >>> scores["params"].value, scores["naswot"].status, scores["naswot"].reason[:26]
        (490.0, 'not applicable', 'the model has no rectifier')
    """
    wanted = chosen(proxies)
    counts = {"batch_size": (batch_size, 1), "batches": (batches, _SEVERAL), "seed": (seed, 0)}
    for name, (number, least) in counts.items():
        checked_count(name, number, least)
    model = unwrap(checked_module(model))
    device = None if device is None else usable_device(str(device))
    with (
        _placed(model, device),
        torch.autocast("cpu", enabled=False),  # around the call; what the model does is its own
        torch.autocast("cuda", enabled=False),
    ):
        given: list[Batch] = []
        count = batches if batches_needed(wanted) > 1 else 1
        inputs = drawn(inputs, batch_size, count, seed)
        if _reads_data(wanted, device_of(model)):
            dtype = pass_dtype(model)
            given = make_batches(model, inputs, targets, seed, batch_size, dtype, count)
        if graph is None:
            graph = trace(model, first_input(model, inputs))
        given = samples_first(given, model, graph, inputs)
        runner = ModelRunner(model, graph, given, loss, seed, pass_dtype(model))
        with shown(progress) as report:
            return _scored(runner, wanted, report)


def chosen(proxies: str | Iterable[str] | None) -> list[Proxy]:
    """Return the proxies with the given names, or all of them for ``"all"``."""
    if proxies is None or proxies == "all":
        return all_proxies()
    several = [*proxies] if isinstance(proxies, Iterable) else []
    names = names_in(proxies) if isinstance(proxies, str) else several
    if not names:
        raise InputError(f"proxies: got {proxies!r}, expected at least one name or 'all'")
    return [get(name) for name in dict.fromkeys(names)]


def batches_needed(proxies: Iterable[str | Proxy]) -> int:
    """Return the number of batches that the proxies need: 2 if one compares batches, else 1.

    Example:
        >>> batches_needed(["snip"]), batches_needed(["snip", "zico"])
        (1, 2)
    """
    found = (proxy if isinstance(proxy, Proxy) else get(proxy) for proxy in proxies)
    return _SEVERAL if any(OF_SEVERAL_BATCHES.intersection(p.needs) for p in found) else 1


@contextmanager
def _placed(model: nn.Module, device: str | torch.device | None) -> Iterator[None]:
    """Keep the model on the device; one on the meta device stays where it is."""
    home = device_of(model)
    if device is None or torch.device(device) == home or home.type == "meta":
        yield
        return
    try:
        model.to(device)
        yield
    finally:
        model.to(home)


def _reads_data(wanted: list[Proxy], device: torch.device) -> bool:
    return device.type != "meta" and any(need != "graph" for p in wanted for need in p.needs)


def _scored(runner: ModelRunner, wanted: list[Proxy], progress: Progress | None) -> Scores:
    """Run the passes in each mode that proxies ask for, and then the proxies on the signals."""
    costs = {proxy.name: _Cost() for proxy in wanted}
    results, parts = {}, {}
    recorded: dict[str, Recorded] = {mode: {} for mode in _MODES}
    runners = {mode: replace(runner, mode=mode) for mode in _MODES}
    uses = [use for mode in _MODES for use in _uses(wanted, mode)]
    for done, use in enumerate(uses, 1):
        begin(progress, named(use.proxies, 1))
        recorded[use.mode].update(_recorded(use, runners[use.mode], costs))
        if progress is not None:
            progress(done, len(uses), named(use.proxies, 1))
    for proxy in wanted:
        start, cost = time.perf_counter(), costs[proxy.name]
        measure, status, reason = _evaluate(proxy, recorded[_run_mode(proxy)], runner.model)
        results[proxy.name] = Result(
            proxy.name,
            proxy.version,
            None if measure is None else measure.total,
            status,
            reason,
            cost.seconds + time.perf_counter() - start,
            max(cost.peaks, default=None),
        )
        values = None if measure is None else on_nodes(measure, runner.graph)
        if values is not None:
            parts[proxy.name] = values
    return Scores(runner.graph, results, parts)


@dataclass(frozen=True)
class _Use:
    """A pass in a mode, the signals asked of it, and the proxies that read them."""

    one: Pass
    mode: str
    asked: frozenset[str]
    proxies: tuple[str, ...]


def _uses(wanted: list[Proxy], mode: str) -> Iterator[_Use]:
    """Yield the passes that the proxies of a mode need."""
    group = [proxy for proxy in wanted if _run_mode(proxy) == mode]
    for one in PASSES:
        asked = one.provides.intersection(need for proxy in group for need in proxy.needs)
        users = tuple(p.name for p in group if asked.intersection(p.needs))
        if users:
            yield _Use(one, mode, asked, users)


def _recorded(use: _Use, runner: ModelRunner, costs: dict[str, _Cost]) -> Recorded:
    """Record the signals of a pass, and what they cost each proxy that reads them."""
    device = device_of(runner.model)
    with Meter(device) as meter:
        signals = _record(use.one, runner, use.asked, device)
    for name in use.proxies:
        costs[name].seconds += meter.seconds / len(use.proxies)
        if meter.peak_memory is not None:
            costs[name].peaks.append(meter.peak_memory)
    return signals


def _run_mode(proxy: Proxy) -> str:
    return "train" if proxy.mode == "any" else proxy.mode


def _record(
    one: Pass, runner: ModelRunner, asked: frozenset[str], device: torch.device
) -> Recorded:
    if device.type == "meta" and asked != {"graph"}:
        error = ScoreError("the model is on the meta device: it has shapes but no weights")
        return {"graph": runner.graph, **dict.fromkeys(asked - {"graph"}, error)}
    recorded = one.record(runner, asked)
    if runner.drew and runner.hush():
        recorded = one.record(runner, asked)
    failed = {name: e for name, e in recorded.items() if isinstance(e, BackwardError)}
    if failed:
        found: Recorded = {}
        with attempt(found, "error"):  # it may fail before, and has its reason then
            found["path"] = failing_backward(runner)
        recorded.update({name: e.located(found.get("path")) for name, e in failed.items()})
    return recorded


def _evaluate(
    proxy: Proxy, recorded: Mapping[str, Any], model: nn.Module
) -> tuple[Measure | None, str, str | None]:
    """Return the proxy's measure, or a status and the reason why there is none."""
    found: dict[str, Any] = {}
    for need in proxy.needs:
        if isinstance(recorded[need], ScoreError):
            found["measure"] = recorded[need]
    if not found:
        with attempt(found, "measure"):
            taken = {name: recorded[signal] for name, signal in proxy.signals.items()}
            found["measure"] = proxy.function(**taken)
    measure = found["measure"]
    if isinstance(measure, ScoreError):
        where = _bad_parameter(model) if measure.status == "non-finite" else ""
        return None, measure.status, f"{measure}{where}"
    assert isinstance(measure, Measure), f"{proxy.name} returned {type(measure).__name__}"
    if not math.isfinite(measure.total):
        return None, "non-finite", f"the value is {measure.total}{_bad_parameter(model)}"
    return measure, "ok", None


def _bad_parameter(model: nn.Module) -> str:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f": {name!r} of the model holds values that are not finite"
    return ": the weights are finite, so it overflowed or is undefined for this network"


def usable_device(device: str) -> str:
    """Return the device asked for; ``"auto"`` selects CUDA if it is available.

    Raises:
        InputError: the device cannot be used here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split(" device type at ")[0].split(". ")[0]
        raise InputError(
            f"device: {device!r} cannot be used here ({reason}); 'auto' takes CUDA where there is "
            "one, and else the CPU"
        ) from None
    return device
