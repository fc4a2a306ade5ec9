"""Limits on the costs of candidates."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import InputError, checked_choice
from ..formats import number
from ..graphs import Graph
from ..predictors import Predictor
from ..predictors.loading import load_predictor
from ..scoring.candidates import Candidate, FromSpace
from ..scoring.work import Weighed
from .calibrating import DeviceSpeed, speed_on
from .memory import inference_memory, training_memory
from .speed import SpeedPredictor

COSTS = {
    "params": "params",
    "flops": "flops",
    "activations": "activations",
    "memory": "memory_mb",
    "train_memory": "train_memory_mb",
    "latency": "latency_ms",
}
"""Cost -> its column in a ranking's table. Memory: the peak of a forward of one sample in single
precision (``inference_memory``), in MB. Train memory: the peak of a step of AdamW
(``training_memory``), in MB. Latency: of one sample, in ms."""
_INTERVAL = ("latency_low", "latency_high", "chance")
COLUMNS = {
    **COSTS,
    "latency_low": "latency_low_ms",
    "latency_high": "latency_high_ms",
    "chance": "chance_within",
}
"""The same, and what is known beside a predicted latency: the ends of its 90 % interval, and the
chance that it is within its limit."""
_SECONDS = 0.2  # of timing a candidate


@dataclass(frozen=True)
class Excluded:
    """A candidate that exceeds a limit.

    Attributes:
        name: of the candidate.
        cost: one of ``COSTS``.
        value: its cost; NaN if unknown.
        limit: the highest cost allowed.
        reason: in words.
    """

    name: str
    cost: str
    value: float
    limit: float
    reason: str

    @property
    def times(self) -> float:
        """Its cost as a multiple of the limit."""
        return math.inf if math.isnan(self.value) else self.value / self.limit


@dataclass(frozen=True)
class Scales:
    """Scales that measure or predict the costs of candidates; latency comes last, and only if all
    other costs are within the limits.

    Attributes:
        costs: the costs to find.
        limits: the highest value of each.
        latency: the folder of a saved predictor of latency; None to measure it on this machine.
        device: the device on which latency is measured.
        speed: a device that you do not have, as ``"rtx4090"`` or, of a batch, ``"rtx4090@64"``;
            latency is then predicted by the shipped ``SpeedPredictor``.
        confidence: the probability with which a predicted latency must be within its limit.
        batch_size: the number of samples in the training step of ``train_memory``.
    """

    costs: tuple[str, ...]
    limits: Mapping[str, float]
    latency: str | None
    device: str
    speed: str | None = None
    confidence: float = 0.5
    batch_size: int = 1

    @property
    def measures(self) -> bool:
        """Whether networks must be built and run."""
        return "latency" in self.costs and self.latency is None and self.speed is None

    @property
    def shown(self) -> tuple[str, ...]:
        """The costs in a table, of ``COLUMNS``."""
        known = self.speed is not None and "latency" in self.costs
        return (*self.costs, *(_INTERVAL if known else ()))

    def __call__(
        self, candidate: Candidate, model: nn.Module | None, inputs: Any, graph: Graph
    ) -> Weighed:
        name = candidate.name
        costs = {
            cost: size(graph, cost, self.batch_size) for cost in self.costs if cost != "latency"
        }
        others = {cost: limit for cost, limit in self.limits.items() if cost != "latency"}
        excluded = violations(name, costs, others)
        if excluded or "latency" not in self.costs:
            return Weighed(costs, tuple(excluded))
        if self.speed is not None:
            return self._predicted(name, graph, costs)
        why = ""
        failures: tuple[tuple[str, str, str], ...] = ()
        try:
            costs["latency"] = self._latency(candidate, model, inputs, graph)
        except InputError as error:
            why, failures = str(error), (("latency", "unsupported", str(error)),)
        return Weighed(costs, tuple(violations(name, costs, self.limits, why)), failures)

    def _predicted(self, name: str, graph: Graph, costs: dict[str, float]) -> Weighed:
        """Add the predicted latency on another device, with its interval."""
        assert self.speed is not None
        there = on_device(self.speed)
        said = there.speed([graph])
        costs["latency"] = float(said.milliseconds[0])
        costs["latency_low"], costs["latency_high"] = float(said.low[0]), float(said.high[0])
        limit = self.limits.get("latency")
        if limit is None:
            return Weighed(costs)
        chance = costs["chance"] = float(there.chance_within([graph], limit)[0])
        if chance >= self.confidence:
            return Weighed(costs)
        reason = f"{COSTS['latency']} {costs['latency']:.6g} is within {limit:.6g} with a chance of"
        reason += f" {chance:.2f}, less than {self.confidence:.2f}"
        return Weighed(costs, (Excluded(name, "latency", costs["latency"], limit, reason),))

    def _latency(
        self, candidate: Candidate, model: nn.Module | None, inputs: Any, graph: Graph
    ) -> float:
        if self.latency is None:
            assert model is not None
            return measured_latency(model, inputs, self.device)
        predictor = _loaded(self.latency)
        build = candidate.build
        if isinstance(build, FromSpace) and build.space == predictor.space:
            # Of an architecture of its space a predictor may know more than the graph says.
            return predicted_latency(predictor, build.arch)
        return predicted_latency(predictor, graph)


@lru_cache(maxsize=8)
def on_device(device: str) -> SpeedPredictor | DeviceSpeed:
    """Return what predicts speed on a device, as ``"rtx4090"`` or, of a batch, ``"rtx4090@64"``.

    Raises:
        InputError: no such device is known, or the batch is not a whole number.

    Example:
        >>> there = on_device("rtx4090@64")
        >>> there.device, there.batch_size
        ('rtx4090', 64)
    """
    name, _, batch = device.partition("@")
    if batch and not batch.isdecimal():
        raise InputError(f"speed: got {device!r}, expected a device and a batch, as rtx4090@64")
    return speed_on(name, int(batch) if batch else 1)


@lru_cache(maxsize=8)
def _loaded(folder: str) -> Predictor:
    return load_predictor(folder)


def checked_limits(limits: Mapping[str, float] | None) -> dict[str, float]:
    """Return the limits if they are valid."""
    found: dict[str, float] = {}
    if limits is not None and not isinstance(limits, Mapping):
        raise InputError(f"limits: got {limits!r}, expected a dict such as {{'params': 5e6}}")
    for cost, limit in (limits or {}).items():
        checked_cost(cost, "limits")
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
            raise InputError(f"limits: got {limit!r} for {cost}, expected a number larger than 0")
        found[cost] = float(limit)
    return found


def checked_cost(cost: str, argument: str) -> str:
    """Return the cost if there is one of that name."""
    checked_choice(argument, cost, COSTS)
    return cost


def size(graph: Graph, cost: str, batch_size: int = 1) -> float:
    """Return a cost other than latency from the graph, with so many samples in training."""
    if cost == "train_memory":
        return training_memory(graph, batch_size).peak / 1e6
    if cost == "memory":
        return inference_memory(graph).peak / 1e6
    return float(getattr(graph, cost))


def violations(
    name: str, values: Mapping[str, float], limits: Mapping[str, float], why: str = ""
) -> list[Excluded]:
    """Return the limits that one candidate exceeds; ``why`` says why a value is unknown."""
    found = []
    for cost, limit in limits.items():
        value = values.get(cost, math.nan)
        if not value <= limit:
            column = COSTS[cost]
            reason = (
                f"{column} is not known{f' ({why})' if why else ''}"
                if math.isnan(value)
                else f"{column} {value:.6g} is more than {limit:.6g}"
            )
            found.append(Excluded(name, cost, value, limit, reason))
    return found


def all_excluded(excluded: list[Excluded], candidates: int) -> InputError:
    """Return the error that no candidate is within all limits; it names the nearest one."""
    by_name: dict[str, list[Excluded]] = {}
    for one in excluded:
        by_name.setdefault(one.name, []).append(one)
    name, nearest = min(by_name.items(), key=lambda item: max(one.times for one in item[1]))
    most = max(nearest, key=lambda one: one.times)
    far = "" if math.isinf(most.times) else f", {number(most.times, 3)} times the limit"
    said = "; ".join(one.reason for one in nearest)
    return InputError(
        f"limits: none of {candidates} candidates is within them; the nearest is {name!r} "
        f"({said}{far}); allow more"
    )


def measured_latency(model: nn.Module, inputs: Any, device: str) -> float:
    """Measure the median milliseconds of a forward pass of one sample on this machine."""
    from .timing import timed

    twin = copy.deepcopy(model).eval().to(device)  # the model itself stays as it is
    threads = torch.get_num_threads()
    return float(timed(twin, inputs, 1, threads, _SECONDS, seed=0)["latency_ms"])


def predicted_latency(predictor: Predictor, given: Any) -> float:
    """Return what a predictor says of one architecture or graph."""
    value = float(np.asarray(predictor.predict([given]))[0])
    if not math.isfinite(value):
        raise InputError(f"latency: the predictor says {value}, expected a number")
    return value


def latency_origin(folder: str | Path | None, device: str, speed: str | None = None) -> str:
    """Return where latencies come from, in words."""
    if speed is not None:
        there = on_device(speed)
        samples = "one sample" if there.batch_size == 1 else f"{there.batch_size} samples"
        return f"predicted for {there.described}, {samples}, in ms"
    if folder is not None:
        return f"predicted by {folder}"
    from .timing import machine

    threads = "" if device.startswith("cuda") else f", {torch.get_num_threads()} threads"
    return f"measured on {machine(device)}{threads}, one sample, in ms"
