"""The data that candidates run on: the caller's, or a batch of the candidate's own space."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ..errors import InputError
from ..graphs import Graph
from ..graphs.inputs.tensors import as_tensors, check_inputs, is_shape
from ..proxies.given_data import as_targets, drawn
from ..proxies.recording.objective import Loss
from .candidates import Candidate, FromSpace
from .named_data import DataSource, FileLoss, named_loss


class Data(Protocol):
    """The data that networks run on, the same for all candidates."""

    @property
    def batch(self) -> int: ...

    @property
    def targets(self) -> Any: ...

    def draw(self, candidate: Candidate, seed: int, count: int) -> Any:
        """Return a candidate's input; None if the network itself states it."""

    def loss(self, candidate: Candidate) -> Loss | None:
        """Return the loss of a candidate's outputs; None for cross-entropy."""

    def graph(self, candidate: Candidate) -> Graph | None:
        """Return a candidate's graph if it is known without the network."""

    def condition(self, candidate: Candidate) -> dict[str, Any] | None:
        """Return the conditions of a score besides network, proxy and seed; None if unknown."""


@dataclass(frozen=True)
class SpaceData:
    """Batches of a candidate's own search space, with its loss.

    Attributes:
        batch: the number of samples per batch.
        source: the source of images, a name that ``archrank.data.images`` takes.
        resolution: the size of images; None for that of the networks.
    """

    batch: int = 64
    source: str = "random"
    resolution: int | None = None
    targets = None

    def draw(self, candidate: Candidate, seed: int, count: int) -> list[Any]:
        space, build = _space_of(candidate)
        try:
            return [
                space.batch(
                    self.batch,
                    1000 * i + seed,
                    build.task,
                    build.arch,
                    self.source,
                    self.resolution,
                )
                for i in range(count)
            ]
        except (OSError, MemoryError, RuntimeError) as error:
            raise InputError(
                f"data: a batch of {self.batch} of {self.source!r} cannot be made "
                f"({type(error).__name__}: {error})"
            ) from error

    def loss(self, candidate: Candidate) -> Loss | None:
        space, build = _space_of(candidate)
        found: Loss | None = space.loss(build.task)
        return found

    def graph(self, candidate: Candidate) -> Graph | None:
        space, build = _space_of(candidate)
        if self.resolution is not None:
            return None
        found: Graph = space.graph(build.arch, build.task)
        return found

    def condition(self, candidate: Candidate) -> dict[str, Any] | None:
        space, build = _space_of(candidate)
        return {
            "task": next(iter(space.tasks)) if build.task is None else build.task,
            "batch": self.batch,
            "data": self.source,
            "resolution": self.resolution,
        }


def _space_of(candidate: Candidate) -> tuple[Any, FromSpace]:
    build = candidate.build
    assert isinstance(build, FromSpace)
    return build.home, build


@dataclass(frozen=True)
class GivenData:
    """Data of the caller; without them, candidates of a space use their space's data.

    Attributes:
        inputs: the same as in ``archrank.score``; None for the input of each candidate.
        targets, own_loss, batch: the same as in ``archrank.score``.
        of_spaces: whether candidates of a space use their space's data if none are given.
    """

    inputs: Any = None
    targets: Any = None
    own_loss: Loss | None = None
    batch: int = 64
    of_spaces: bool = True

    def draw(self, candidate: Candidate, seed: int, count: int) -> Any:
        if self._of_space(candidate):
            return SpaceData(self.batch).draw(candidate, seed, count)
        return candidate.inputs if self.inputs is None else self.inputs

    def loss(self, candidate: Candidate) -> Loss | None:
        return SpaceData().loss(candidate) if self._of_space(candidate) else self.own_loss

    def graph(self, candidate: Candidate) -> Graph | None:
        return SpaceData().graph(candidate) if self._of_space(candidate) else None

    def condition(self, candidate: Candidate) -> dict[str, Any] | None:
        if self._of_space(candidate):
            return SpaceData(self.batch).condition(candidate)
        parts = {
            "inputs": _digest(candidate.inputs if self.inputs is None else self.inputs),
            "targets": _digest(self.targets),
            "loss": _digest(self.own_loss),
        }
        return None if None in parts.values() else {"batch": self.batch, **parts}

    def _of_space(self, candidate: Candidate) -> bool:
        """Return whether the candidate runs on its space's data."""
        nothing_given = self.inputs is None and self.targets is None and self.own_loss is None
        return self.of_spaces and nothing_given and isinstance(candidate.build, FromSpace)


def given_data(
    candidates: Sequence[Candidate],
    inputs: Any,
    targets: Any,
    loss: Loss | str | None,
    batch_size: int,
    batches: int,
    seed: int,
) -> GivenData:
    """Return the data that candidates run on, drawn from files or loaders once for all of them.

    Raises:
        InputError: they cannot be drawn, or a candidate has no input at all.
    """
    if isinstance(inputs, str):
        inputs = DataSource(inputs)
    if isinstance(inputs, DataSource):
        inputs = inputs.batches([one.inputs for one in candidates], batch_size, batches, seed)
    inputs = drawn(inputs, batch_size, batches, seed)
    _check_inputs(candidates, inputs)
    own_loss = named_loss(loss) if isinstance(loss, str) else loss
    return GivenData(inputs, as_targets(targets), own_loss, batch_size)


def _check_inputs(candidates: Sequence[Candidate], inputs: Any) -> None:
    if not isinstance(inputs, list) or is_shape(inputs):  # a list of batches else
        check_inputs(inputs if inputs is None else as_tensors(inputs))
    for candidate in candidates:
        if isinstance(candidate.inputs, (int, float, str)):  # INPUT of a file may be anything
            check_inputs(candidate.inputs)
        if inputs is None and not candidate.says_its_input:
            raise InputError(
                f"inputs: candidate {candidate.name!r} brings no input of its own; pass a shape "
                "without batch dimension such as (3, 32, 32), in the shell --input 3,32,32, or set "
                "INPUT in its file"
            )


def _digest(value: Any) -> str | None:
    """Return a name that is equal for equal data; None if the data cannot be named."""
    if value is None or isinstance(value, (int, float, str, bool)):
        return repr(value)
    if isinstance(value, FileLoss):
        return repr(value.identity)
    if isinstance(value, np.ndarray):
        value = as_tensors(value)
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous()
        bits = raw.reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{raw.dtype} {tuple(raw.shape)} {hashlib.sha256(bits).hexdigest()[:24]}"
    if isinstance(value, Mapping):
        named = {str(key): _digest(item) for key, item in value.items()}
        return None if None in named.values() else repr(sorted(named.items()))
    if isinstance(value, (tuple, list)):
        parts = [_digest(item) for item in value]
        return None if None in parts else repr(parts)
    return _source_of(value) if callable(value) else None


def _source_of(function: Callable[..., Any]) -> str | None:
    """Name a function by where it is defined and by what it does."""
    name = getattr(function, "__qualname__", "<")
    if "<" in name:  # a lambda or a closure may be anything
        return None
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        return f"{getattr(function, '__module__', '')}.{name}"
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:24]}"
