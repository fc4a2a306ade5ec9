"""``score``: which passes the asked-for proxies need, run them, hand out the results."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import InputError, ScoreError
from ..graphs import Graph, trace
from ..graphs.tracing import is_shape, unwrap
from .recording.attempts import attempt
from .recording.batches import Batch, make_batches
from .recording.meter import Meter
from .recording.model_runner import Loss, ModelRunner, pass_dtype
from .recording.passes import PASSES, Pass
from .recording.signals import OF_SEVERAL_BATCHES
from .registry import Measure, Proxy, all_proxies, get, names_in

_SEVERAL = 2


@dataclass(frozen=True)
class Result:
    """One proxy's score of one model.

    Attributes:
        name, version: of the proxy.
        value: the score, None if there is none.
        status: ``"ok"``, ``"unsupported"``, ``"non-finite"``, ``"out of memory"`` or ``"error"``.
        reason: why there is no value; None if there is one.
        seconds: its share of the passes that it needed (a pass's time is split evenly over the
            proxies that use it) and its own function's time.
        peak_memory: bytes above the start, the largest of its passes; None where unknown.
    """

    name: str
    version: int
    value: float | None
    status: str
    reason: str | None
    seconds: float
    peak_memory: int | None


class Scores(Mapping[str, Result]):
    """Proxy name -> :class:`Result`, and the values per node of the graph."""

    def __init__(
        self,
        graph: Graph,
        results: dict[str, Result],
        nodes: dict[str, npt.NDArray[np.float64]],
    ):
        self.graph = graph
        self._results = results
        self._nodes = nodes

    def __getitem__(self, name: str) -> Result:
        if name not in self._results:
            raise KeyError(f"{name!r} was not scored; scored were {', '.join(self._results)}")
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def nodes(self, name: str) -> npt.NDArray[np.float64]:
        """Values of one proxy aligned with ``graph.nodes``: float64 (n,), NaN where it has none.

        A weight used by several nodes counts at the first. For proxies made of parts, the parts
        sum to the value; a part whose weight no node uses is left out.

        Raises:
            InputError: the proxy has no values per node, or no value at all.
        """
        result = self[name]
        if name not in self._nodes:
            why = result.reason or "its value is one number for the whole network"
            raise InputError(f"name: {name!r} has no values per node: {why}")
        return self._nodes[name]

    def __repr__(self) -> str:
        rows = [
            f"  {r.name:16} {r.value:.6g}"
            if r.value is not None
            else f"  {r.name:16} {r.status}: {r.reason}"
            for r in self.values()
        ]
        return "\n".join(["Scores(", *rows, ")"])


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
) -> Scores:
    """Score a model at initialisation by zero-cost proxies, in the fewest passes they need.

    The model comes back bit-identical, whatever happened: parameters, buffers, modes, hooks,
    ``requires_grad``, ``.grad``, random state, global flags (with ``device``, also its place).
    Dropout is off. A proxy that cannot be computed has a status and a reason; the others still
    get their values. A batch is never split, except where samples are independent (GradSign).

    Args:
        model: any module that runs a forward; half precision is scored in float32.
        inputs: a shape without batch dimension (then deterministic normal random batches are
            used), a tensor with one, the tuple or dict of tensors that ``forward`` takes, or any
            other iterable of batches, each inputs or ``(inputs, targets)``.
        targets: of a single batch; default random classes.
        proxies: names, one or several, or ``"all"``; default all.
        loss: ``loss(output, targets)`` -> scalar, given the raw output; default cross-entropy on
            the main output of shape (N, classes).
        seed: of random data and of proxies that draw.
        device: where to run; default where the model is.
        batch_size: of random data.
        batches: how many batches proxies of several batches (ZiCo) read or draw, at least 2.
        graph: the model's graph if it was traced already.

    Raises:
        InputError: an argument is not as above.
        UnsupportedModelError: the model cannot be traced.

    Example:
        >>> import torch
        >>> import archrank
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))
        >>> scores = archrank.score(net, (3, 4, 4), proxies=["params", "gradsign", "naswot"])
        >>> scores["params"].value, scores["naswot"].status, scores["naswot"].reason
        (490.0, 'unsupported', 'the model has no rectifier (ReLU, GELU, SiLU, ...)')
    """
    wanted = chosen(proxies)
    for name, number, least in (("batch_size", batch_size, 1), ("batches", batches, _SEVERAL)):
        if not isinstance(number, int) or number < least:
            raise InputError(f"{name}: got {number!r}, expected a whole number of at least {least}")
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got {type(model).__name__}, expected a torch.nn.Module")
    model = unwrap(model)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device is None or torch.device(device) == home or home.type == "meta":
        return _score(model, inputs, targets, wanted, loss, seed, batch_size, batches, graph)
    try:
        model.to(device)
        return _score(model, inputs, targets, wanted, loss, seed, batch_size, batches, graph)
    finally:
        model.to(home)


def chosen(proxies: str | Iterable[str] | None) -> list[Proxy]:
    """The proxies that names, or ``"all"``, stand for."""
    if proxies is None or proxies == "all":
        return all_proxies()
    names = names_in(proxies) if isinstance(proxies, str) else [*proxies]
    if not names:
        raise InputError("proxies: got none, expected at least one name or 'all'")
    return [get(name) for name in dict.fromkeys(names)]


def batches_needed(proxies: Iterable[str | Proxy]) -> int:
    """Return the least number of batches that the proxies read: 2 if one compares batches, else 1.

    Example:
        >>> batches_needed(["snip"]), batches_needed(["snip", "zico"])
        (1, 2)
    """
    found = (proxy if isinstance(proxy, Proxy) else get(proxy) for proxy in proxies)
    return _SEVERAL if any(OF_SEVERAL_BATCHES.intersection(p.needs) for p in found) else 1


def _score(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    wanted: list[Proxy],
    loss: Loss | None,
    seed: int,
    batch_size: int,
    count: int,
    graph: Graph | None,
) -> Scores:
    needs = frozenset(need for proxy in wanted for need in proxy.needs)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    dtype = pass_dtype(model)
    batches: list[Batch] = []
    is_one_input = is_shape(inputs) or isinstance(inputs, (torch.Tensor, Mapping, tuple))
    if not is_one_input or (needs - {"graph"} and device.type != "meta"):
        count = count if batches_needed(wanted) > 1 else 1
        batches = make_batches(model, inputs, targets, seed, batch_size, dtype, count)
    if graph is None:
        graph = trace(model, _traceable(inputs, batches))
    recorded: dict[str, dict[str, Any]] = {}
    seconds = dict.fromkeys((proxy.name for proxy in wanted), 0.0)
    peaks: dict[str, list[int]] = {proxy.name: [] for proxy in wanted}
    for mode in ("train", "as given", "eval"):
        group = [proxy for proxy in wanted if _run_mode(proxy) == mode]
        runner = ModelRunner(model, graph, batches, loss, seed, dtype, mode)
        signals: dict[str, Any] = {}
        for one in PASSES:
            asked = one.provides.intersection(need for proxy in group for need in proxy.needs)
            users = [p.name for p in group if asked.intersection(p.needs)]
            if not users:
                continue
            with Meter(device) as meter:
                signals.update(_record(one, runner, asked, device))
            for name in users:
                seconds[name] += meter.seconds / len(users)
                if meter.peak_memory is not None:
                    peaks[name].append(meter.peak_memory)
        recorded.update(dict.fromkeys((proxy.name for proxy in group), signals))
    results: dict[str, Result] = {}
    nodes: dict[str, npt.NDArray[np.float64]] = {}
    for proxy in wanted:
        start = time.perf_counter()
        measure, status, reason = _evaluate(proxy, recorded[proxy.name], model)
        results[proxy.name] = Result(
            proxy.name,
            proxy.version,
            None if measure is None else measure.total,
            status,
            reason,
            seconds[proxy.name] + time.perf_counter() - start,
            max(peaks[proxy.name], default=None),
        )
        if measure is not None:
            values = _on_nodes(measure, graph)
            if values is not None:
                nodes[proxy.name] = values
    return Scores(graph, results, nodes)


def usable_device(device: str) -> str:
    """The device asked for, ``"auto"`` meaning CUDA where there is one.

    Raises:
        InputError: it cannot be used here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: {device!r} cannot be used here ({error})") from None
    return device


def _run_mode(proxy: Proxy) -> str:
    return "train" if proxy.mode == "any" else proxy.mode


def _record(
    one: Pass, runner: ModelRunner, asked: frozenset[str], device: torch.device
) -> dict[str, Any]:
    if device.type == "meta" and asked != {"graph"}:
        error = ScoreError("the model is on the meta device: it has shapes but no weights")
        return {"graph": runner.graph, **dict.fromkeys(asked - {"graph"}, error)}
    return one.record(runner, asked)


def _evaluate(
    proxy: Proxy, recorded: Mapping[str, Any], model: nn.Module
) -> tuple[Measure | None, str, str | None]:
    """The proxy's measure, or a status and the reason why there is none."""
    found: dict[str, Any] = {}
    for need in proxy.needs:
        if isinstance(recorded[need], ScoreError):
            found["measure"] = recorded[need]
    if not found:
        with attempt(found, "measure"):
            found["measure"] = proxy.function(**{need: recorded[need] for need in proxy.needs})
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


def _on_nodes(measure: Measure, graph: Graph) -> npt.NDArray[np.float64] | None:
    if measure.by_parameter is None and measure.by_node is None:
        return None
    values = np.full(len(graph), np.nan)
    for node, value in (measure.by_node or {}).items():
        values[node] = value
    for name, value in (measure.by_parameter or {}).items():
        owner = graph.parameter_node.get(name)
        if owner is not None:
            values[owner] = np.nan_to_num(values[owner]) + value
    return values


def _traceable(inputs: Any, batches: list[Batch]) -> Any:
    """What ``trace`` takes: the user's own input, or the first of the user's batches."""
    if not batches or is_shape(inputs):
        return inputs
    first = batches[0]
    if first.kwargs:
        return first.kwargs
    single = len(first.args) == 1 and isinstance(first.args[0], torch.Tensor)
    return first.args[0] if single else first.args
