"""Estimates of how long scoring takes here, from a few graphs and a short calibration."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from ..errors import ArchrankError
from ..formats import duration
from ..graphs import Graph, trace
from ..proxies.given_data import first_input
from .candidate import Candidate
from .data import GivenData
from .rows import Plan
from .work import Work, score_work

_LOGGER = logging.getLogger("archrank")
LOOKED_AT = 3
"""How many candidates are traced for an estimate, or thrice as many."""
_WIDTHS, _SIDE = (8, 64), 32
_SLOW, _PASSES, _BESIDE = 5e9, 4.0, 0.2
"""Multiply-adds a second, passes over a batch, and seconds of a candidate beside them: a guess that
only says whether calibrating is worth it."""
_RUNS = 2  # of each network that is scored to calibrate
_WORTH = 10.0
"""The seconds below which no estimate is needed, and how much longer than itself work must be for
calibrating."""


def seconds_needed(
    candidates: Sequence[Candidate], plan: Plan, worth: float | None = None
) -> float:
    """Estimate the seconds that a plan takes; 0 if it is certainly short.

    Scoring a network of ``f`` multiply-adds per sample takes ``a + r f`` seconds. ``a`` and ``r``
    are found by scoring two small convolutional networks with the same proxies and batch size.

    Args:
        candidates: the candidates; a few are traced, none is scored.
        plan: how the candidates will be scored.
        worth: the seconds below which no estimate is needed; nothing is calibrated then. By default
            ten, or ten times what calibrating takes if that is more.

    Notes:
        The estimate is our choice. Networks of many small operators can take two or three times as
        long.
    """
    most = LOOKED_AT if plan.enough is None else 3 * LOOKED_AT  # then tracing is most of the work
    chosen = np.linspace(0, len(candidates) - 1, min(most, len(candidates))).astype(int)
    graphs, times = [], []
    for i in chosen:
        start = time.perf_counter()
        graph = _graph(candidates[i], plan)
        times.append(time.perf_counter() - start)
        graphs += [] if graph is None else [graph]
    tracing = float(np.median(times)) * len(candidates) if times else 0.0
    scored = [graph for graph in graphs if plan.enough is None or not plan.enough(graph)]
    if not scored or not plan.proxies:
        told = plan.enough is not None and tracing >= (_WORTH if worth is None else worth)
        return tracing / plan.jobs if told else 0.0
    size = float(np.mean([graph.flops for graph in scored]))
    runs = len(candidates) * len(plan.seeds) * len(scored) / len(graphs)
    batch = plan.data.batch
    if worth is None:
        calibrating = _RUNS * sum(_guessed(_flops(width), batch) for width in _WIDTHS)
        worth = _WORTH * max(1.0, calibrating)
    if runs * _guessed(size, batch) < worth:
        return 0.0
    short, long = (_calibration(width, plan) for width in _WIDTHS)
    rate = max(0.0, (long[1] - short[1]) / (long[0] - short[0]))
    beside = max(0.0, short[1] - rate * short[0])
    return runs * (beside + rate * size) / max(1.0, min(plan.jobs, runs))


def announce(candidates: Sequence[Candidate], plan: Plan) -> None:
    """Announce long work, and about how long it will take, if anybody listens."""
    if not _LOGGER.isEnabledFor(logging.INFO):
        return
    seconds = seconds_needed(candidates, plan)
    count, proxies = len(candidates), len(plan.proxies)
    if seconds and plan.enough is not None:
        _LOGGER.info("ranking %d candidates on %s: about %s", count, plan.device, duration(seconds))
    elif seconds:
        _LOGGER.info(
            "scoring %d candidates by %d proxies on %s: about %s",
            *(count, proxies, plan.device, duration(seconds)),
        )


def _guessed(flops: float, batch: int) -> float:
    """Return a guess of the seconds that scoring a network takes."""
    return _BESIDE + _PASSES * flops * batch / _SLOW


def _flops(width: int) -> float:
    """Return the multiply-adds of the convolutions of a network that is scored to calibrate."""
    return 9.0 * _SIDE**2 * width * (3 + 3 * width)


def _graph(candidate: Candidate, plan: Plan) -> Graph | None:
    """Return a candidate's graph; None if it cannot be traced."""
    try:
        graph = plan.data.graph(candidate)
        if graph is None:
            with torch.random.fork_rng(devices=[]):
                model = None if plan.enough is None else candidate.built_without_weights()
                model = candidate.built() if model is None else model
            given = plan.data.draw(candidate, plan.seeds[0], 1)
            graph = trace(model, first_input(model, candidate.inputs_for(model, given)))
    except ArchrankError:
        return None
    except Exception:  # the user's own builder may raise anything, which its row will say
        return None
    return graph


def _calibration(width: int, plan: Plan) -> tuple[float, float]:
    """Return the multiply-adds and scoring seconds of a small network, the faster of two runs."""
    layers: list[nn.Module] = []
    for source in (3, width, width, width):
        layers += [nn.Conv2d(source, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    candidate = Candidate("calibration", lambda: network, rebuilds=False)
    data = GivenData((3, _SIDE, _SIDE), batch=plan.data.batch)
    work = Work(candidate, ((plan.seeds[0], plan.proxies),), data, plan.device)
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        scored = score_work(replace(work, threads=plan.threads))
        times.append(time.perf_counter() - start)
    return 0.0 if scored.graph is None else float(scored.graph.flops), min(times)
