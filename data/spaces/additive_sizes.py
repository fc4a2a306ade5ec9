"""Sizes that are added up choice by choice, and graphs that are made only when needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ...basics import SIZES
from ...graphs import Graph

ADDED = (*SIZES, "product_flops")
"""The sizes that are added up."""


@dataclass(frozen=True)
class SizeTable:
    """The sizes of architectures in which each choice adds the same, regardless of the others.

        size(a) = size(a_0) + sum_i (size(a_0 with choice i as in a) - size(a_0))

    Attributes:
        first: the sizes of the architecture a_0 that has the first option of each choice.
        steps: for each choice, option -> the sizes that it adds to those of the first option.

    Example:
        >>> import archrank
        >>> from archrank.data import space
        >>> nb201 = space("nasbench201")
        >>> options = [choice.options for choice in nb201.choices]
        >>> table = SizeTable.of(options, lambda values: nb201.graph(nb201.format(values)))
        >>> arch = nb201.sample(1, seed=0)[0]
        >>> graph = archrank.trace(nb201.build(arch), nb201.inputs())
        >>> table.sizes(nb201.values(arch))["params"] == graph.params
        True
    """

    first: Mapping[str, int]
    steps: tuple[Mapping[Any, Mapping[str, int]], ...]

    @classmethod
    def of(
        cls, options: Sequence[Sequence[Any]], graph: Callable[[tuple[Any, ...]], Graph]
    ) -> SizeTable:
        """Read the sizes of one graph for each option of each choice."""
        start = tuple(some[0] for some in options)
        first = _sizes(graph(start))
        steps = []
        for i, some in enumerate(options):
            known = {some[0]: dict.fromkeys(ADDED, 0)}
            for option in some[1:]:
                own = _sizes(graph((*start[:i], option, *start[i + 1 :])))
                known[option] = {name: own[name] - first[name] for name in ADDED}
            steps.append(known)
        return cls(first, tuple(steps))

    def sizes(self, values: Sequence[Any]) -> dict[str, int]:
        """Return the sizes of the architecture with these values of its choices."""
        added = [step[value] for step, value in zip(self.steps, values, strict=True)]
        return {name: self.first[name] + sum(one[name] for one in added) for name in ADDED}


def _sizes(graph: Graph) -> dict[str, int]:
    return {name: getattr(graph, name) for name in ADDED}


_ARRAYS = frozenset(field.name for field in fields(Graph))


class DeferredGraph(Graph):
    """A graph with known sizes and inputs, whose nodes are made when they are needed.

    Access to anything else turns it into an ordinary ``Graph``.

    Args:
        make: a function that returns the graph.
        sizes: a function that returns the sizes (``ADDED``) without making the graph.
        inputs: the shapes of its inputs, with the batch dimension.

    Example:
        >>> from archrank.data import space
        >>> graph = space("nasbench201").graph(space("nasbench201").sample(1, seed=0)[0])
        >>> graph.params, type(graph).__name__
        (830426, 'DeferredGraph')
        >>> len(graph), type(graph).__name__
        (281, 'Graph')
    """

    make: Callable[[], Graph]
    sizes: Callable[[], Mapping[str, int]]
    inputs: tuple[tuple[int, ...], ...]

    def __init__(
        self,
        make: Callable[[], Graph],
        sizes: Callable[[], Mapping[str, int]],
        inputs: tuple[tuple[int, ...], ...],
    ):
        vars(self).update(make=make, sizes=sizes, inputs=inputs)

    def __getattr__(self, name: str) -> Any:
        if name not in _ARRAYS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        make = vars(self).get("make")
        if make is not None:  # otherwise another thread has made it meanwhile
            vars(self).update(vars(make()))
            object.__setattr__(self, "__class__", Graph)
            for known in ("make", "sizes", "inputs"):
                vars(self).pop(known, None)
        return getattr(self, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        len(self)  # this makes it an ordinary graph
        return self.__reduce_ex__(protocol)

    @property
    def params(self) -> int:
        return self.sizes()["params"]

    @property
    def flops(self) -> int:
        return self.sizes()["flops"]

    @property
    def product_flops(self) -> int:
        return self.sizes()["product_flops"]

    @property
    def activations(self) -> int:
        return self.sizes()["activations"]

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.inputs
