"""The arrays of a graph, and the figures that are read directly from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..basics import IntArray
from .operators import CANONICAL, PRODUCTS

ATTRIBUTES = (
    *(f"{name}{axis}" for name in ("kernel", "stride", "padding", "dilation") for axis in range(3)),
    "groups",
    "heads",
    "bias",
)
"""Columns of ``Graph.attributes``; what an operator does not have is 0."""


@dataclass(frozen=True)
class Node:
    """One operator of a graph, read from its arrays.

    Shapes include the batch dimension; ``attributes`` holds only those that the operator has.
    """

    index: int
    operator: str
    aten: str
    module: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    attributes: dict[str, int]
    parameters: tuple[str, ...]
    flops: int


class Nodes(Sequence[Node]):
    """The nodes of a graph in execution order, each created on access."""

    def __init__(self, graph: Arrays):
        self._graph = graph

    def __len__(self) -> int:
        return len(self._graph.operator)

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> list[Node]: ...
    def __getitem__(self, index: int | slice) -> Node | list[Node]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        graph, i = self._graph, range(len(self))[index]
        return Node(
            index=i,
            operator=CANONICAL[graph.operator[i]],
            aten=graph.aten_names[graph.aten[i]],
            module=graph.module_names[graph.module[i]],
            in_shape=row_of(graph.in_shapes, graph.in_offsets, i),
            out_shape=row_of(graph.out_shapes, graph.out_offsets, i),
            attributes={
                name: int(value)
                for name, value in zip(ATTRIBUTES, graph.attributes[i], strict=True)
                if value
            },
            parameters=tuple(
                graph.parameter_names[p] for p in row_of(graph.uses, graph.uses_offsets, i)
            ),
            flops=int(graph.node_flops[i]),
        )


def row_of(flat: npt.NDArray[Any], offsets: IntArray, i: int) -> tuple[int, ...]:
    """Return row ``i`` of ragged rows that are stored one after another."""
    return tuple(flat[offsets[i] : offsets[i + 1]].tolist())


@dataclass(frozen=True, eq=False, repr=False)
class Arrays:
    """The arrays of a computation graph; ``Graph`` adds everything else."""

    operator: npt.NDArray[np.int16]
    aten: npt.NDArray[np.int32]
    module: npt.NDArray[np.int32]
    attributes: npt.NDArray[np.int32]
    signature: npt.NDArray[np.uint32]
    in_shapes: npt.NDArray[np.int64]
    in_offsets: IntArray
    out_shapes: npt.NDArray[np.int64]
    out_offsets: IntArray
    uses: npt.NDArray[np.int32]
    uses_offsets: IntArray
    node_flops: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int32]
    parameter_sizes: npt.NDArray[np.int64]
    aten_names: tuple[str, ...]
    module_names: tuple[str, ...]
    parameter_names: tuple[str, ...]
    exact: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    # --- inputs and outputs -------------------------------------------------------------------

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the inputs, with the batch dimension."""
        inputs = np.flatnonzero(self.operator == CANONICAL.index("input")).tolist()
        return tuple(row_of(self.out_shapes, self.out_offsets, i) for i in inputs)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the outputs, with the batch dimension."""
        outputs = np.flatnonzero(self.operator == CANONICAL.index("output")).tolist()
        return tuple(row_of(self.in_shapes, self.in_offsets, i) for i in outputs)

    # --- size ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.operator)

    @property
    def nodes(self) -> Nodes:
        """The nodes as objects, in execution order."""
        return Nodes(self)

    @property
    def operators(self) -> list[str]:
        """The canonical operator of each node."""
        return [CANONICAL[i] for i in self.operator]

    @property
    def params(self) -> int:
        """Number of parameters of the model; shared ones count once, and unused ones count too."""
        return int(self.parameter_sizes.sum())

    @property
    def flops(self) -> int:
        """Multiply-adds of one forward pass of the traced input (see ``graphs/flops.py``)."""
        return int(self.node_flops.sum())

    @property
    def product_flops(self) -> int:
        """Multiply-adds of convolutions and matrix products only, as usually published."""
        return int(self.node_flops[self._is_product].sum())

    @property
    def activations(self) -> int:
        """Number of output elements of all convolutions and products.

        Source: Radosavovic et al., "Designing network design spaces", 2020.

        Notes:
            The source counts convolutions only; products of transformers and recurrent layers are
            added (our choice).
        """
        return sum(size for _, size in self.product_outputs())

    def product_outputs(self) -> Iterator[tuple[int, int]]:
        """Yield (node, number of output elements) of each convolution and product."""
        for i in np.flatnonzero(self._is_product).tolist():
            yield i, math.prod(row_of(self.out_shapes, self.out_offsets, i))

    @cached_property
    def depth(self) -> int:
        """The largest number of convolutions and products on any path (ResNet-50 has 50)."""
        longest = self._is_product.astype(np.int64)
        weight = longest.copy()
        for source, target in self.edges.tolist():  # sorted by target, sources come first
            candidate = longest[source] + weight[target]
            if candidate > longest[target]:
                longest[target] = candidate
        return int(longest.max(initial=0))

    @cached_property
    def _is_product(self) -> npt.NDArray[np.bool_]:
        wanted = [CANONICAL.index(name) for name in sorted(PRODUCTS)]
        return np.isin(self.operator, wanted)

    @cached_property
    def unknown_operators(self) -> dict[str, int]:
        """ATen or custom operators outside the vocabulary, and how often each occurs."""
        unknown = self.aten[self.operator == 0]
        return dict(Counter(self.aten_names[i] for i in unknown.tolist()))

    @cached_property
    def parameter_node(self) -> dict[str, int]:
        """Parameter name -> the first node that uses it; unused parameters are left out."""
        first: dict[str, int] = {}
        for i in range(len(self)):
            for p in row_of(self.uses, self.uses_offsets, i):
                first.setdefault(self.parameter_names[p], i)
        return first

    def check(self) -> None:
        """Raise ValueError unless all arrays fit together."""
        n = len(self.operator)
        for name in ("aten", "module", "attributes", "signature", "node_flops"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows for {n} nodes")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and value.dtype.kind not in "iu":
                raise ValueError(f"{field.name} holds {value.dtype}, not integers")
        for flat, offsets in (
            (self.in_shapes, self.in_offsets),
            (self.out_shapes, self.out_offsets),
            (self.uses, self.uses_offsets),
        ):
            if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != len(flat):
                raise ValueError("offsets do not fit")
            if (np.diff(offsets) < 0).any():
                raise ValueError("offsets decrease")
        if self.attributes.shape != (n, len(ATTRIBUTES)) or self.edges.shape[1:] != (2,):
            raise ValueError("attributes or edges have the wrong width")
        for index, bound in (
            (self.edges, n),
            (self.aten, len(self.aten_names)),
            (self.module, len(self.module_names)),
            (self.uses, len(self.parameter_names)),
        ):
            if index.size and (index.min() < 0 or index.max() >= bound):
                raise ValueError("an index points outside its table")
        if len(self.parameter_sizes) != len(self.parameter_names):
            raise ValueError("parameter sizes do not fit the names")
        if self.edges.size and (self.edges[:, 0] >= self.edges[:, 1]).any():
            raise ValueError("an edge points backwards")
        if (np.diff(self.edges[:, 1]) < 0).any():
            raise ValueError("edges are not sorted by target")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)
