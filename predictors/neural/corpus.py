"""Graphs for pretraining encoders, and pretraining into files, as ``archrank pretrain`` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...basics import Progress
from ...errors import InputError
from ...graphs import Graph, trace
from ...scoring.candidates import Candidate, collect
from ..loading import is_predictor
from .learning.run import digest
from .pretraining import Pretrained, Pretraining
from .wirings import RandomWiring


def graphs_to_learn_from(
    spaces: Sequence[str] = (),
    networks: int = 1000,
    candidates: Sequence[str] = (),
    inputs: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
    wirings: int = 0,
    folder: str | Path | None = None,
) -> list[Graph]:
    """Return graphs of random networks of spaces, of candidates, and of randomly wired networks.

    Args:
        spaces: names of spaces. A space with fewer networks than its part gives all of them.
        networks: the number of networks from all spaces together.
        candidates: the same as in ``archrank.rank``.
        inputs: the input shape of candidates that do not name one.
        seed: the seed of the choice of networks.
        progress: a function called with (done, total, name) after each graph.
        wirings: the number of randomly wired networks (``RandomWiring``) to add, which are always
            the same.
        folder: the folder that keeps the graphs of spaces and wirings, one file each. A call that
            was stopped continues from the graphs in it.

    Raises:
        InputError: there is nothing to learn from, or a name is unknown.

    Example:
        >>> len(graphs_to_learn_from(["nasbench201", "hiaml"], networks=5))
        5
    """
    from ...data import space

    if not spaces and not candidates and not wirings:
        raise InputError("spaces: got none, and no candidates either; name at least one")
    if networks < 1:
        raise InputError(f"networks: got {networks}, expected at least 1")
    making: list[tuple[str, Callable[[], Graph]]] = []
    for at, name in enumerate(spaces):
        one = space(name)
        part = (networks + at) // len(spaces)
        part = part if one.size is None else min(part, one.size)
        making += [(f"{name} {arch}", partial(one.graph, arch)) for arch in one.sample(part, seed)]
    making += [(f"wiring {number}", partial(_wired, number)) for number in range(wirings)]
    if folder is not None:
        making = [(name, partial(_kept, Path(folder), name, make)) for name, make in making]
    found = collect(list(candidates)) if candidates else []
    making += [(one.name, partial(_graph_of, one, inputs)) for one in found]
    graphs = []
    for name, make in making:
        graphs.append(make())
        if progress is not None:
            progress(len(graphs), len(making), name)
    return graphs


def pretrain(
    pretraining: Pretraining,
    graphs: Sequence[Graph],
    out: str | Path,
    progress: Progress | None = None,
) -> Pretrained:
    """Train an encoder without labels and save it; after a stop the same call continues.

    Args:
        pretraining: the settings of the training.
        graphs: the graphs to learn from.
        out: the folder to write. The checkpoint of the training is a file of that name with
            ``.checkpoint`` at its end; it is removed when the encoder is written.
        progress: a function called with (done, total, loss) after each epoch.

    Raises:
        InputError: the checkpoint belongs to another training, or the folder holds something else.
    """
    path = Path(out)
    if path.exists() and not is_predictor(str(path)):
        raise InputError(f"out: {str(path)!r} exists already and holds no encoder")
    checkpoint = checkpoint_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    report = None if progress is None else _told(progress)
    pretrained = pretraining.fit(graphs, checkpoint=checkpoint, progress=report)
    pretrained.save(path)
    checkpoint.unlink(missing_ok=True)
    return pretrained


def checkpoint_of(out: Path) -> Path:
    """Return the checkpoint file of the encoder that will be written to a folder."""
    return out.with_name(out.name + ".checkpoint")


def _told(progress: Progress) -> Callable[[Any], None]:
    return lambda epoch: progress(epoch.epoch, epoch.epochs, f"loss {epoch.loss:.4g}")


def _graph_of(candidate: Candidate, inputs: Any) -> Graph:
    model = candidate.build()
    return trace(model, candidate.inputs_for(model, inputs))


def _wired(seed: int) -> Graph:
    with torch.device("meta"):
        network = RandomWiring(seed)
    return trace(network, network.input_shape)


def _kept(folder: Path, name: str, make: Callable[[], Graph]) -> Graph:
    """Return the graph of that name from a folder's file; make and write it if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{digest(name)}.graph"
    if not file.exists():
        make().save(file)
    return Graph.load(file)
