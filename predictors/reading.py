"""The samples that predictors read: the graph of each architecture and further data about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import nn

from ..basics import Array
from ..errors import InputError
from ..graphs import Graph, trace
from ..graphs.randomness import seeded

if TYPE_CHECKING:
    from ..data.spaces.contract import Space

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Sample:
    """One architecture as predictors read it.

    Attributes:
        graph: its computation graph.
        arch: its string, if it belongs to a search space.
        code: its vector in the space (``encode``).
        scores: the values of proxies by name; a missing proxy could not be computed.
        node_scores: the values (nodes,) of proxies at each node of the graph, NaN where a node has
            none.
        context: numbers on which the label depends besides the architecture: dataset, recipe,
            device.
        name: its name in messages, if it is not an architecture of a space.
    """

    graph: Graph
    arch: str | None = None
    code: npt.NDArray[np.float32] | None = None
    scores: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    node_scores: Mapping[str, Array] = field(default_factory=lambda: NOTHING)
    context: tuple[float, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Reader:
    """A maker of samples that checks the arguments of ``samples`` once.

    With ``exact``, an architecture is read as written, not as its canonical equivalent.
    """

    space: str | Space | None = None
    task: str | None = None
    inputs: Any = None
    proxies: tuple[str, ...] = ()
    seed: int = 0
    batch_size: int = 64
    exact: bool = False

    def read(self, given: Any, known: Mapping[str, Sample] = NOTHING) -> list[Sample]:
        """Return samples of graphs, models, architectures or samples, as ``samples`` does.

        ``known`` holds samples of canonical architectures that were read before.
        """
        read = dict(known)
        return [self._one(item, at, read) for at, item in enumerate(listed(given))]

    def parts(self, given: Sequence[Any], size: int) -> list[list[int]]:
        """Split all positions into parts to read in turn, with equal architectures in one part."""
        order = list(range(len(given)))
        if len(given) > size and all(isinstance(item, str) for item in given):
            keys = [self.space_of(arch).canonical(arch) for arch in map(str, given)]
            order.sort(key=keys.__getitem__)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _one(self, item: Any, at: int, known: dict[str, Sample]) -> Sample:
        if isinstance(item, Sample):
            if self.proxies and not item.scores and not item.node_scores:
                raise InputError(f"X: sample {at} brings no scores of {', '.join(self.proxies)}")
            return item
        if isinstance(item, str):
            # np.str_ is also a str, but JSON returns plain strings
            return self._of_space(str(item), known)
        if isinstance(item, Graph):
            if self.proxies:
                raise InputError(
                    f"X: item {at} is a graph, which proxies ({', '.join(self.proxies)}) cannot be "
                    "computed of; pass models or architectures, or samples that hold scores"
                )
            return Sample(item)
        if isinstance(item, nn.Module):
            if self.inputs is None:
                raise InputError(f"inputs: item {at} of X is a model; say the input it takes")
            return self._scored(Sample(trace(item, self.inputs)), item, self.inputs)
        raise InputError(
            f"X: item {at} is a {type(item).__name__}, expected a graph, a model, or a string"
        )

    def _of_space(self, arch: str, known: dict[str, Sample]) -> Sample:
        space = self.space_of(arch)
        # Architectures that are the same network are read once.
        key = space.normalise(arch) if self.exact else space.canonical(arch)
        if key not in known:
            sample = Sample(space.graph(key, self.task), key, space.encode(key))
            if self.proxies:
                with seeded(self.seed):  # every reading gives the same network
                    model = space.build(key, self.task)
                inputs = space.inputs(self.task, key) if self.inputs is None else self.inputs
                sample = self._scored(sample, model, inputs)
            known[key] = sample
        return replace(known[key], arch=arch, code=space.encode(arch))

    def space_of(self, arch: str) -> Space:
        """Return the space of architecture strings.

        Raises:
            InputError: no space is given.
        """
        if self.space is None:
            raise InputError(f"space: {arch!r} is an architecture string; say of which space")
        if isinstance(self.space, str):
            from ..data import space

            return space(self.space)
        return self.space

    def _scored(self, sample: Sample, model: nn.Module, inputs: Any) -> Sample:
        if not self.proxies:
            return sample
        from ..proxies import score

        scores = score(
            model,
            inputs,
            proxies=list(self.proxies),
            seed=self.seed,
            batch_size=self.batch_size,
            graph=sample.graph,
        )
        values = {name: r.value for name, r in scores.items() if r.value is not None}
        per_node = {}
        for name in values:
            with suppress(InputError):  # one number for the whole network
                per_node[name] = scores.nodes(name)
        return replace(sample, scores=values, node_scores=per_node)


def listed(given: Any) -> list[Any]:
    """Return the architectures as a list.

    Raises:
        InputError: ``given`` is a single architecture, or not a sequence of architectures.
    """
    if isinstance(given, (str, Graph, nn.Module, Sample)) or not isinstance(given, Iterable):
        raise InputError(
            f"X: got {type(given).__name__}, expected a sequence of graphs, of models, or of "
            "architectures of a space"
        )
    return list(given)


def samples(
    given: Any,
    *,
    space: str | Space | None = None,
    task: str | None = None,
    inputs: Any = None,
    proxies: Sequence[str] = (),
    seed: int = 0,
    batch_size: int = 64,
) -> list[Sample]:
    """Turn graphs, modules or architectures into the samples that predictors read.

    Predictors do this themselves. Call it to fit several predictors without repeated tracing and
    scoring, or to add scores and context to samples (``dataclasses.replace``).

    Args:
        given: a sequence of graphs, of modules (which need ``inputs``), of architecture strings
            (which need ``space``), or of samples, which stay as they are.
        space, task: the space and task of architecture strings.
        inputs: the inputs of modules, as ``archrank.trace`` takes them.
        proxies: the proxies to compute for each model at initialisation with ``seed``.
        seed, batch_size: the same as in ``archrank.score``.

    Raises:
        InputError: an item is of another type, or an argument that it needs is missing.

    Example:
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(3, seed=0)
        >>> [len(sample.graph) > 100 for sample in samples(cells, space="nasbench201")]
        [True, True, True]
    """
    return Reader(space, task, inputs, tuple(proxies), seed, batch_size).read(given)


def with_context(given: Sequence[Sample], context: npt.ArrayLike) -> list[Sample]:
    """Return the same samples with rows of numbers (samples, columns) as their context.

    Raises:
        InputError: ``context`` does not have one row of finite numbers for each sample.
    """
    rows = np.asarray(context, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(given) or not np.isfinite(rows).all():
        raise InputError(
            f"context: got an array of shape {rows.shape}, expected {len(given)} rows of finite "
            "numbers"
        )
    return [replace(s, context=tuple(row)) for s, row in zip(given, rows.tolist(), strict=True)]
