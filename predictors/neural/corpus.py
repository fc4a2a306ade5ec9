"""Graphs to pretrain encoders on, and encoders into files: what ``archrank pretrain`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...basics import Progress
from ...errors import InputError
from ...graphs import Graph, trace
from ...scoring.candidates import Candidate, collect
from ..loading import is_predictor
from .pretraining import Pretrained, Pretraining


def graphs_to_learn_from(
    spaces: Sequence[str] = (),
    networks: int = 1000,
    candidates: Sequence[str] = (),
    inputs: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Graph]:
    """Graphs of random networks of spaces, in equal parts, and of candidates.

    Args:
        spaces: names; one with fewer networks than its part gives all that it has.
        networks: how many of all spaces together.
        candidates: as ``archrank.rank`` takes.
        inputs: shape that candidates take where they bring none.
        seed: which networks.
        progress: called after each graph with how many are made, of how many, and its name.

    Raises:
        InputError: nothing to learn from, or a name of nothing.

    Example:
        >>> len(graphs_to_learn_from(["nasbench201", "hiaml"], networks=5))
        5
    """
    from ...data import space

    if not spaces and not candidates:
        raise InputError("spaces: got none, and no candidates either; name at least one")
    if networks < 1:
        raise InputError(f"networks: got {networks}, expected at least 1")
    drawn = []
    for at, name in enumerate(spaces):
        one = space(name)
        part = (networks + at) // len(spaces)
        part = part if one.size is None else min(part, one.size)
        drawn += [(one, arch) for arch in one.sample(part, seed)]
    found = collect(list(candidates)) if candidates else []
    total, graphs = len(drawn) + len(found), []
    for one, arch in drawn:
        graphs.append(one.graph(arch))
        if progress is not None:
            progress(len(graphs), total, f"{one.name} {arch}")
    for candidate in found:
        graphs.append(_graph_of(candidate, inputs))
        if progress is not None:
            progress(len(graphs), total, candidate.name)
    return graphs


def pretrain(
    pretraining: Pretraining,
    graphs: Sequence[Graph],
    out: str | Path,
    progress: Progress | None = None,
) -> Pretrained:
    """Train an encoder without labels and save it; if stopped, the same call goes on.

    Args:
        pretraining: how.
        graphs: to learn from.
        out: folder to write; how far the training is stands in a file of that name with
            ``.checkpoint`` at its end, which is removed when the encoder is written.
        progress: called after each epoch with how many are over, of how many, and the loss.

    Raises:
        InputError: the checkpoint is of another training, or the folder holds something else.
    """
    path = Path(out)
    if path.exists() and not is_predictor(str(path)):
        raise InputError(f"out: {str(path)!r} is there already and holds no encoder")
    checkpoint = path.with_name(path.name + ".checkpoint")
    path.parent.mkdir(parents=True, exist_ok=True)
    report = None if progress is None else _told(progress)
    pretrained = pretraining.fit(graphs, checkpoint=checkpoint, progress=report)
    pretrained.save(path)
    checkpoint.unlink(missing_ok=True)
    return pretrained


def _told(progress: Progress) -> Callable[[Any], None]:
    return lambda epoch: progress(epoch.epoch, epoch.epochs, f"loss {epoch.loss:.4g}")


def _graph_of(candidate: Candidate, inputs: Any) -> Graph:
    model = candidate.build()
    return trace(model, candidate.inputs_for(model, inputs))
