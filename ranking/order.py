"""Candidates in, an ordered table out: rows, then columns, then an order."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..basics import SIZES, Callback, Progress
from ..costs.limits import Scales, checked_cost, checked_limits, latency_origin, on_device
from ..errors import ArchrankWarning, InputError, checked_calls, checked_choice, checked_count
from ..formats import duration, named
from ..graphs import Graph
from ..predictors.loading import is_predictor
from ..predictors.pretrained.training_recipes import PARTS, WORDS, context_of
from ..progress import shown
from ..proxies.planner import batches_needed, usable_device
from ..proxies.recording.objective import Loss
from ..scoring.candidates import Candidate, collect
from ..scoring.data import GivenData, given_data
from ..scoring.engine import EngineName, checked_engine
from ..scoring.estimates import announce, seconds_needed
from ..scoring.rows import Plan, Row, score_candidates
from .aggregation import COMBINATIONS, Combination
from .criteria import ByPredictor, Criterion, Level, criteria, proxies_needed
from .learning import Learnt, Measured, read_measured
from .table import Ranking, tabulate, within_limits

_LOGGER = logging.getLogger("archrank")


def rank(
    candidates: Any,
    inputs: Any = None,
    targets: Any = None,
    by: str | Iterable[str] = "auto",
    *,
    loss: Loss | str | None = None,
    combine: Combination = "mean_rank",
    seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 64,
    level: Level = "auto",
    budget: float | None = None,
    recipe: str | None = None,
    measured: Measured | None = None,
    limits: Mapping[str, float] | None = None,
    costs: Iterable[str] = (),
    latency: str | Path | None = None,
    speed: str | None = None,
    confidence: float = 0.5,
    store: str | Path | None = None,
    jobs: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
    progress: Progress | bool | None = None,
    callback: Callback | None = None,
) -> Ranking:
    """Rank candidates before training, the most promising first.

    Candidates are built, scored and discarded one at a time; only their graphs stay in memory.
    Candidates with identical graphs share the scores of the first of them: architectures are
    compared, not weights. Architectures of a search space use a batch and the loss of their space,
    unless inputs, targets or a loss are given.

    Args:
        candidates: a list or dict of modules, of callables that build them, or of names
            (``"timm:resnet18"``, ``"timm:mobilenetv3*"``, ``"torchvision:*"``, ``"models.py"``,
            ``"models.py:net"``).
        inputs: the same as in ``archrank.score``; by default each candidate's own.
        by: what to rank by: one proxy or several (also separated by commas), ``"a|b"`` for proxy a
            controlled for proxy b (the residual of its ranks), a score of whole populations
            (``"az_nas"``, ``"te_nas"``, ``"vote"``), the folder of a saved predictor, or ``"auto"``
            for the pretrained predictor (``TransferRank``).
        combine: how several criteria become one score: ``"mean_rank"`` (mean of relative ranks, in
            [0, 1]), ``"log_rank"`` (AZ-NAS: mean of log(rank / m), where the best has rank m) or
            ``"vote"`` (share of other candidates that a majority of criteria ranks lower).
        targets, loss, batch_size: the same as in ``archrank.score``.
        seeds: the number of initialisations to average over. Modules keep their weights, so for
            them only the random data vary.
        seed: the first seed.
        device: ``"auto"`` (CUDA if available, else CPU), or the name of a device.
        jobs: the number of processes. With more than one, candidates must be importable by name (no
            lambdas).
        level: what predictors may compute: ``"graphs"`` (graphs alone: no network is run, and
            models of timm and torchvision get no weights), ``"quick"`` (proxies of one forward
            pass), ``"full"`` (all proxies that they can use), or ``"auto"``: graphs alone for
            networks whose prediction does not depend on proxies (for the pretrained predictor,
            networks that take images of 96 pixels or more), and all proxies for the others.
        budget: the time in seconds. The level is then the first of ``"auto"``, ``"quick"`` and
            ``"graphs"`` whose estimated time fits; ``"graphs"`` if none does.
        recipe: the training recipe for the expected accuracy of real networks, as in the tags of
            timm's checkpoints (``"a1_in1k"``, ``"in21k_ft_in1k"``); by default the most common one.
        measured: labels of trained candidates (larger is better), by name, or a CSV file of names
            and labels. Scores are then expected labels (``Learnt``).
        limits: the highest cost that a candidate may have, by the names in ``COSTS``: ``params``,
            ``flops``, ``activations``, ``memory`` (MB), ``train_memory`` (MB, with ``batch_size``
            samples), ``latency`` (ms). Candidates beyond a limit are not scored; ``excluded`` lists
            them with the reason.
        costs: further costs to show in the table.
        latency: the folder of a saved ``CostPredictor`` that predicts the latency. By default the
            latency is measured on ``device``.
        speed: a device that you do not have, as ``"rtx4090"``, or ``"rtx4090@64"`` for a batch of
            64 (``SETTINGS``). Its latency is predicted from the graph, with an interval.
        confidence: the probability with which the predicted latency must be within its limit.
        store: a file that keeps scores, so that a ranking that was stopped can continue and can
            share scores with ``archrank.benchmark.run``. It keeps only candidates that have names
            of their own (from a file, a zoo or a space). Scores are then computed with one thread.
        engine: ``"local"``, or ``"ray"`` to use every core of a Ray cluster.
        address: the address of the Ray cluster; by default a cluster is started on this machine.
        progress: a function that is called with (done, total, name) after each candidate, True for
            a bar, or False for none. By default there is a bar in a terminal or a notebook.
        callback: a function that is called with the result of each candidate
            (``archrank.basics.Finished``) as soon as it is known.

    Returns:
        The ranking. A candidate that fails is a row of ``Ranking.failures``, not an error.

    Raises:
        InputError: an argument is wrong, or no candidate is within the limits (the message names
            the nearest one).

    Example:
        >>> import torch
        >>> import archrank
        >>> nets = {f"width {w}": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, w),
        ...                                           torch.nn.ReLU(), torch.nn.Linear(w, 10))
        ...         for w in (8, 32)}
        >>> archrank.rank(nets, (3, 4, 4), by="params").table["name"].tolist()
        ['width 32', 'width 8']
    """
    if _is_names(targets) and by == "auto":
        targets, by = None, targets  # as in rank(candidates, shape, "params")
    wanted = criteria(by, () if recipe is None else _context(recipe))
    checked_choice("combine", combine, COMBINATIONS)
    seeds, batch_size = checked_count("seeds", seeds), checked_count("batch_size", batch_size)
    seed = checked_count("seed", seed, 0)
    checked_calls(progress=progress, callback=callback, loss=loss)
    checked_engine(engine, address, jobs, device)
    found = collect(candidates)
    enough, proxies = proxies_needed(wanted, level)
    data = given_data(found, inputs, targets, loss, batch_size, batches_needed(proxies), seed)
    labels = None if measured is None else read_measured(measured, [one.name for one in found])
    where = "cpu" if engine == "ray" else usable_device(device)
    scales = _scales(limits, costs, latency, where, batch_size)
    if speed is not None:
        scales = _elsewhere(scales, speed, confidence)
    if scales.measures and (jobs > 1 or engine == "ray"):
        raise InputError("jobs: latency is measured, which needs jobs=1; or name a predictor of it")
    plan = Plan(
        proxies,
        data,
        tuple(range(seed, seed + seeds)),
        scales.device,
        scales,
        not scales.measures,
        engine,
        1 if len(found) == 1 else jobs,
        address,
        store,
        enough=enough,
    )
    if budget is not None:
        plan = affordable(found, plan, wanted, budget, level)
    else:
        announce(found, plan)
    with shown(progress) as report:
        rows, excluded = within_limits(score_candidates(found, plan, report, callback))
    _warn_of_classes(rows, data)
    columns = [criterion.column(rows, seeds) for criterion in wanted]
    if labels is not None:
        columns = [Learnt(labels).column(rows, columns, combine)]
    told = "latency" in scales.costs
    origin = latency_origin(scales.latency, scales.device, scales.speed) if told else ""
    return replace(tabulate(rows, columns, combine, scales.shown, origin), excluded=excluded)


def _is_names(value: Any) -> bool:
    """Whether these are names to rank by; targets never are."""
    several = isinstance(value, (list, tuple)) and len(value) > 0
    return isinstance(value, str) or (several and all(isinstance(one, str) for one in value))


def _scales(
    limits: Mapping[str, float] | None,
    costs: Iterable[str],
    latency: str | Path | None,
    device: str,
    batch_size: int,
) -> Scales:
    """Return the costs that are limited or shown, and how each is found."""
    allowed = checked_limits(limits)
    costs = (costs,) if isinstance(costs, str) else costs
    wanted = tuple(dict.fromkeys((*allowed, *(checked_cost(cost, "costs") for cost in costs))))
    folder = None if latency is None else str(latency)
    if folder is not None and not is_predictor(folder):
        raise InputError(f"latency: {folder!r} is not a folder of a saved predictor")
    return Scales(wanted, allowed, folder, device, batch_size=batch_size)


def _elsewhere(scales: Scales, speed: str, confidence: float) -> Scales:
    """Return the scales with the predicted latency of another device."""
    if scales.latency is not None:
        raise InputError("latency, speed: got both, expected a predictor or a device")
    if not 0 < confidence < 1:
        raise InputError(f"confidence: got {confidence!r}, expected a number between 0 and 1")
    on_device(speed)
    costs = tuple(dict.fromkeys((*scales.costs, "latency")))
    return replace(scales, costs=costs, speed=speed, confidence=confidence)


def affordable(
    candidates: Sequence[Candidate],
    plan: Plan,
    wanted: Sequence[Criterion],
    budget: float,
    level: Level = "auto",
) -> Plan:
    """Return the plan of the first level that a budget of seconds is enough for, by estimate.

    Raises:
        InputError: it is not a time, a level is given as well, or ``by`` leaves no choice.
    """
    if not isinstance(budget, Real) or not budget > 0:
        raise InputError(f"budget: got {budget!r}, expected seconds above 0")
    if level != "auto":
        raise InputError(
            f"budget: it chooses the level, and level={level!r} is given; leave one out"
        )
    fixed = {n for one in wanted if not isinstance(one, ByPredictor) for n in one.proxies}
    if fixed - set(SIZES) or not any(isinstance(one, ByPredictor) for one in wanted):
        raise InputError(
            "budget: by names proxies, and none of them can be left out; rank by 'auto' or another "
            "predictor, or leave budget out"
        )
    choices: tuple[Level, ...] = ("auto", "quick", "graphs")
    for choice in choices:
        enough, proxies = proxies_needed(wanted, choice)
        made = replace(plan, proxies=proxies, enough=enough)
        seconds = seconds_needed(candidates, made, worth=0.0)
        if seconds <= budget:
            break
    _LOGGER.info(
        "ranking %d candidates at level %r: about %s, budget %s",
        *(len(candidates), choice, duration(seconds), duration(budget)),
    )
    return made


def _context(recipe: str) -> tuple[float, ...]:
    """Return what a recipe's tag says, and warn if that is nothing."""
    context, usual = context_of(recipe), context_of("in1k")
    flags = len(WORDS) + len(PARTS)
    if not any(context[:flags]) and context[flags:] == usual[flags:]:
        warnings.warn(
            f"recipe: no part of {recipe!r} is known, so it says nothing of the training; give a "
            "name as timm tags checkpoints, such as 'a1_in1k' or 'fb_in22k_ft_in1k'",
            ArchrankWarning,
            stacklevel=3,
        )
    return context


def _warn_of_classes(rows: Sequence[Row], data: GivenData) -> None:
    """Warn of classes that proxies cannot make use of; a loss of one's own may read any targets.

    Proxies that read targets have no value for networks with fewer outputs than there are classes,
    so the others alone make the order. Samples of one class are most often the beginning of a data
    set that is sorted by class.
    """
    if data.own_loss is not None:
        return
    batches = data.inputs if isinstance(data.inputs, list) else []
    given = [data.targets, *(b[-1] for b in batches if isinstance(b, (tuple, list)) and b)]
    classes = [y for y in given if isinstance(y, Tensor) and _are_classes(y)]
    seen = torch.cat(classes).unique() if classes else torch.empty(0)
    if len(seen) == 1 and sum(map(len, classes)) > 4:
        warnings.warn(
            f"targets: all samples are of class {int(seen)}; if the data set is sorted by class, "
            "shuffle it, so that proxies see several classes",
            ArchrankWarning,
            stacklevel=3,
        )
    count = int(seen.max()) + 1 if len(seen) else 0
    few = [row for row in rows if row.scores and row.graph and _outputs(row.graph) < count]
    if few:
        names = named([row.name for row in few])
        warnings.warn(
            f"targets: the data have {count} classes, but {len(few)} of {len(rows)} candidates "
            f"have fewer outputs ({names}), so proxies that read targets have no value there; "
            f"give them {count} outputs",
            ArchrankWarning,
            stacklevel=3,
        )


def _are_classes(targets: Tensor) -> bool:
    return targets.dim() == 1 and targets.numel() > 0 and targets.dtype == torch.long


def _outputs(graph: Graph) -> int:
    shape = graph.nodes[-1].out_shape
    return shape[-1] if len(shape) == 2 else sys.maxsize
