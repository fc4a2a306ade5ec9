"""The contract of search spaces: architecture strings, and everything that is made from them."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...errors import InputError
from ...graphs import Graph, assemble, trace
from ..image_batches import images
from .additive_sizes import DeferredGraph, SizeTable

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Signature:
    """The input shape and the number of outputs of networks for a task."""

    inputs: tuple[int, ...]
    outputs: int


class Space(ABC):
    """A search space: architecture strings and their networks.

    Architectures are strings in the benchmark's own grammar if it has one. Every method that takes
    an architecture raises ``InputError`` with the position of the first mistake and the valid
    options there.

    Attributes:
        name: the name, as in ``archrank.data.space(name)``.
        title, reference: a description.
        tasks: the tasks that networks are built for, by name; the first is the default.
        size: the number of architecture strings; None if it is infinite or unknown.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    tasks: ClassVar[Mapping[str, Signature]]
    size: ClassVar[int | None] = None

    # --- strings ------------------------------------------------------------------------------

    @abstractmethod
    def normalise(self, arch: str) -> str:
        """Check an architecture and return its standard spelling."""

    @abstractmethod
    def draw(self, rng: random.Random) -> str:
        """Draw one random architecture."""

    @abstractmethod
    def neighbours(self, arch: str) -> list[str]:
        """Return every architecture that differs in one choice, without duplicates."""

    @abstractmethod
    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return a vector of fixed length; choices that have no effect are zero."""

    def canonical(self, arch: str) -> str:
        """Return one architecture for all architectures that are the same network."""
        return self.normalise(arch)

    def sample(self, n: int, seed: int, distinct_networks: bool = False) -> list[str]:
        """Draw ``n`` random architectures without duplicates.

        Args:
            n: the number of architectures, at most ``size``.
            seed: the same seed gives the same sample.
            distinct_networks: keep only the first of architectures that are the same network
                (``canonical``).

        Raises:
            InputError: the space has fewer architectures.
        """
        if n < 0:
            raise InputError(f"n: got {n}, expected a whole number of at least 0")
        if self.size is not None and n > self.size:
            raise InputError(f"n: got {n}, but {self.name} has {self.size:,} architectures")
        rng = random.Random(seed)
        found: dict[str, str] = {}
        repeated = 0
        while len(found) < n:
            arch = self.draw(rng)
            key = self.canonical(arch) if distinct_networks else arch
            repeated = repeated + 1 if key in found else 0
            if repeated > 1000 + 100 * len(found):  # only few are left, so list them instead
                return self._rest(n, rng, found, distinct_networks)
            found.setdefault(key, arch)
        return list(found.values())

    def _rest(
        self, n: int, rng: random.Random, found: dict[str, str], distinct_networks: bool
    ) -> list[str]:
        everything = list(self)
        rng.shuffle(everything)
        for arch in everything:
            found.setdefault(self.canonical(arch) if distinct_networks else arch, arch)
        if len(found) < n:
            raise InputError(f"n: got {n}, but {self.name} has {len(found):,} distinct networks")
        return list(found.values())[:n]

    def __len__(self) -> int:
        if self.size is None:
            raise TypeError(f"{self.name} has no known number of architectures")
        return self.size

    def __iter__(self) -> Iterator[str]:
        """List every architecture, if that is possible."""
        raise TypeError(f"{self.name} is too large to list: use sample(n, seed)")

    def __contains__(self, arch: object) -> bool:
        try:
            return isinstance(arch, str) and bool(self.normalise(arch))
        except InputError:
            return False

    def __repr__(self) -> str:
        size = "?" if self.size is None else f"{self.size:,}"
        return f"<Space {self.name}: {size} architectures>"

    # --- networks -----------------------------------------------------------------------------

    @abstractmethod
    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        """Build the network of a checked ``arch`` for a task and its name; see ``build``."""

    def task(self, name: str | None = None) -> Signature:
        """Return a task, by default the first one of the space."""
        if name is None:
            name = next(iter(self.tasks))
        if name not in self.tasks:
            raise InputError(
                f"task: got {name!r}, but {self.name} is built for {', '.join(self.tasks)}"
            )
        return self.tasks[name]

    def build(self, arch: str, task: str | None = None) -> nn.Module:
        """Build the published network as an ordinary module, with PyTorch's initialisation."""
        facts = self.task(task)
        return self.network(self.normalise(arch), facts, task or next(iter(self.tasks)))

    def candidates(
        self, archs: Iterable[str], task: str | None = None
    ) -> dict[str, Callable[[], nn.Module]]:
        """Return candidates for ``archrank.rank``: a builder for each architecture, by name."""
        return {arch: partial(self.build, arch, task) for arch in archs}

    def inputs(self, task: str | None = None, arch: str | None = None) -> Any:
        """Return the ``inputs`` of these networks for ``archrank.trace``, ``score`` and ``rank``.

        If architectures contain their resolution, the inputs have that of ``arch``.
        """
        return self.task(task).inputs

    def batch(
        self,
        n: int,
        seed: int,
        task: str | None = None,
        arch: str | None = None,
        source: str | tuple[Tensor, Tensor] = "random",
        resolution: int | None = None,
    ) -> tuple[Any, Any]:
        """Make ``n`` samples and targets to score or train a network of this space on.

        Args:
            n: the number of samples.
            seed: the seed of their choice.
            task, arch: the same as in ``build``; ``arch`` matters if it contains its resolution.
            source: the source of images, as in ``archrank.data.images``. Spaces with other inputs
                make up their own and accept only ``"random"``.
            resolution: the height and width of images; by default the network's own.

        Raises:
            InputError: an argument is invalid.
        """
        shape = self.inputs(task, arch)
        if resolution is not None:
            shape = (*shape[:-2], resolution, resolution)
        return images(source, n, seed, shape, self.task(task).outputs)

    def loss(self, task: str | None = None) -> Callable[[Any, Any], Tensor] | None:
        """Return a task's ``loss(output, targets)``; None is the cross-entropy of classes."""
        self.task(task)
        return None

    def graph(self, arch: str, task: str | None = None) -> Graph:
        """Make the graph of ``build(arch, task)`` without building; it equals the traced graph."""
        return assemble(partial(self.build, arch, task), self.inputs(task, arch))


@dataclass(frozen=True)
class Choice:
    """One choice of an architecture: its name and its options."""

    name: str
    options: tuple[Any, ...]


class ChoiceSpace(Space):
    """A space whose architectures are fixed lists of choices; some may have no effect.

    A value is None if the choice has no effect, such as that of a block past its stage's depth.
    Subclasses define the choices (``choices``), which of them have an effect (``active``), and how
    values are written and read (``format``, ``parse``).

    Attributes:
        choices: the choices.
        additive: whether each choice adds the same parameters, FLOPs and activations, regardless of
            the others. Then sizes are added up, and a graph is made only if its nodes are needed.
    """

    choices: ClassVar[tuple[Choice, ...]]
    additive: ClassVar[bool] = False

    @abstractmethod
    def parse(self, arch: str) -> Values:
        """Return the values of all choices; those without effect may have any value."""

    @abstractmethod
    def format(self, values: Values) -> str:
        """Return the string of values whose choices without effect are None."""

    def active(self, values: Values) -> Sequence[bool]:
        """Say which choices have an effect, given the values of all."""
        return [True] * len(self.choices)

    def masked(self, values: Values) -> Values:
        """Return the values, with None for choices without effect."""
        active = self.active(values)
        return tuple(v if a else None for v, a in zip(values, active, strict=True))

    def values(self, arch: str) -> Values:
        """Return the choices of an architecture, with None for choices without effect."""
        return self.masked(self.parse(arch))

    def normalise(self, arch: str) -> str:
        return self.format(self.values(arch))

    def draw(self, rng: random.Random) -> str:
        """Draw every choice uniformly and independently of the others."""
        return self.format(self.masked(tuple(rng.choice(c.options) for c in self.choices)))

    def neighbours(self, arch: str) -> list[str]:
        """Return every architecture that differs in one choice, without duplicates.

        Choices that come into effect thereby, such as when a stage grows, take the nearest earlier
        value of the same kind of choice, or else the first option.
        """
        values = self.values(arch)
        full = self._filled(values)
        found: dict[str, None] = {}
        for i, choice in enumerate(self.choices):
            if values[i] is None:
                continue
            for option in choice.options:
                if option != values[i]:
                    changed = (*full[:i], option, *full[i + 1 :])
                    found[self.format(self.masked(changed))] = None
        found.pop(self.format(values), None)
        return list(found)

    def _filled(self, values: Values) -> Values:
        latest: dict[tuple[Any, ...], Any] = {}
        full = []
        for choice, value in zip(self.choices, values, strict=True):
            if value is None:
                value = latest.get(choice.options, choice.options[0])
            latest[choice.options] = value
            full.append(value)
        return tuple(full)

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return the one-hot vectors of all choices; choices without effect are zeros."""
        parts = [
            [float(option == value) for option in choice.options]
            for choice, value in zip(self.choices, self.values(arch), strict=True)
        ]
        return np.array([x for part in parts for x in part], dtype=np.float32)

    def graph(self, arch: str, task: str | None = None) -> Graph:
        if not self.additive:
            return super().graph(arch, task)
        values, inputs = self.values(arch), self.task(task).inputs
        task = task or next(iter(self.tasks))
        make, sizes = partial(super().graph, arch, task), partial(self._sizes, values, task)
        return DeferredGraph(make, sizes, ((1, *inputs),))

    def _sizes(self, values: Values, task: str) -> dict[str, int]:
        if task not in self._size_tables:
            options = [choice.options for choice in self.choices]
            graph = super().graph
            self._size_tables[task] = SizeTable.of(options, lambda v: graph(self.format(v), task))
        return self._size_tables[task].sizes(values)

    @cached_property
    def _size_tables(self) -> dict[str, SizeTable]:
        return {}

    @property
    def encoding_names(self) -> list[str]:
        """The meaning of each entry of ``encode``."""
        return [f"{choice.name}={option}" for choice in self.choices for option in choice.options]


class MadeUpSpace(ChoiceSpace):
    """A space whose networks take no images; its batches are made up, and its graphs are traced."""

    @abstractmethod
    def made_up(
        self, n: int, generator: torch.Generator, task: str | None, arch: str | None
    ) -> tuple[Any, Any]:
        """Make samples and targets, ``n`` of them if networks take any number."""

    def batch(
        self,
        n: int,
        seed: int,
        task: str | None = None,
        arch: str | None = None,
        source: str | tuple[Tensor, Tensor] = "random",
        resolution: int | None = None,
    ) -> tuple[Any, Any]:
        if source != "random":
            raise InputError(
                f"source: got {source!r}, but {self.name} takes no images; use 'random'"
            )
        return self.made_up(n, torch.Generator().manual_seed(seed), task, arch)

    def graph(self, arch: str, task: str | None = None) -> Graph:
        with torch.device("meta"):
            network = self.build(arch, task)
        return trace(network, self.inputs(task, arch))


def product_size(choices: Sequence[Choice]) -> int:
    """Count the combinations of independent choices."""
    return math.prod(len(choice.options) for choice in choices)
