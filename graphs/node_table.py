"""Nodes and edges while they are recorded, which become a graph's arrays."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .arrays import ATTRIBUTES
from .graph import Graph
from .operators import CANONICAL_ID

Shape = tuple[int, ...]


class NodeTable:
    """A growing table of nodes, column by column, and the edges between them.

    Attributes:
        constant: nodes computed from parameters alone.
    """

    def __init__(self) -> None:
        self.constant: set[int] = set()
        self._weights: set[tuple[int, int]] = set()  # (constant node, layer that it weighs)
        self._aten_names: dict[str, int] = {}
        self._module_names: dict[str, int] = {}
        self._operator: list[int] = []
        self._aten: list[int] = []
        self._module: list[int] = []
        self._attributes: list[tuple[int, ...]] = []
        self._signature: list[int] = []
        self._in_shapes: list[Shape] = []
        self._out_shapes: list[Shape] = []
        self._uses: list[tuple[int, ...]] = []
        self._flops: list[int] = []
        self._edges: list[tuple[int, int]] = []

    def add(
        self,
        operator: str,
        aten: str,
        module: str,
        makers: Iterable[int],
        parameters: Iterable[int],
        shapes: tuple[Shape, Shape],
        attributes: tuple[int, ...],
        flops: int,
        constants: str,
    ) -> int:
        """Append a node and return its index.

        Args:
            operator: its canonical name.
            aten, module: the names of the ATen call and of the module that made it.
            makers: the nodes that it reads.
            parameters: the positions of the parameters that it reads.
            shapes: of what it reads first and of what it makes.
            attributes: ``ATTRIBUTES``.
            flops: its multiply-adds.
            constants: what else tells it from others, in words.
        """
        node = len(self._operator)
        self._operator.append(CANONICAL_ID[operator])
        self._aten.append(_place_of(aten, self._aten_names))
        self._module.append(_place_of(module, self._module_names))
        self._attributes.append(attributes)
        self._signature.append(zlib.crc32(constants.encode()))
        self._in_shapes.append(shapes[0])
        self._out_shapes.append(shapes[1])
        self._uses.append(tuple(dict.fromkeys(parameters)))
        self._flops.append(flops)
        makers = list(makers)
        self._edges.extend((maker, node) for maker in makers)
        if operator != "input" and self.constant.issuperset(makers):
            self.constant.add(node)
        return node

    def weigh(self, maker: int, node: int) -> None:
        """Note that a layer takes the result of another node as its weight."""
        if maker in self.constant:
            self._weights.add((maker, node))

    def graph(self, parameters: Mapping[str, int], exact: bool) -> Graph:
        """Return the table as a graph.

        Args:
            parameters: name -> size of each parameter, in the order of their positions.
            exact: see ``Graph``.
        """
        self._fold_weights()
        in_shapes, in_offsets = _ragged(self._in_shapes)
        out_shapes, out_offsets = _ragged(self._out_shapes)
        uses, uses_offsets = _ragged(self._uses)
        n = len(self._operator)
        return Graph(
            operator=np.array(self._operator, dtype=np.int16),
            aten=np.array(self._aten, dtype=np.int32),
            module=np.array(self._module, dtype=np.int32),
            attributes=np.array(self._attributes, dtype=np.int32).reshape(n, len(ATTRIBUTES)),
            signature=np.array(self._signature, dtype=np.uint32),
            in_shapes=in_shapes,
            in_offsets=in_offsets,
            out_shapes=out_shapes,
            out_offsets=out_offsets,
            uses=uses.astype(np.int32),
            uses_offsets=uses_offsets,
            node_flops=np.array(self._flops, dtype=np.int64),
            edges=np.array(self._edges, dtype=np.int32).reshape(-1, 2),
            parameter_sizes=np.array([*parameters.values()], dtype=np.int64),
            aten_names=tuple(self._aten_names),
            module_names=tuple(self._module_names),
            parameter_names=tuple(parameters),
            exact=exact,
        )

    def _fold_weights(self) -> None:
        """Leave out what only makes weights: a layer has the parameters that its weight is of."""
        readers: dict[int, set[int]] = {}
        sources: dict[int, list[int]] = {}
        for maker, node in self._edges:
            readers.setdefault(maker, set()).add(node)
            sources.setdefault(node, []).append(maker)
        dropped: set[int] = set()
        for node in sorted(self.constant, reverse=True):
            read = readers.get(node, set())
            if read and all(r in dropped or (node, r) in self._weights for r in read):
                dropped.add(node)
        if not dropped:
            return
        for node in range(len(self._uses)):
            made = (m for m in sources.get(node, ()) if m in dropped)
            own = (*(p for maker in made for p in self._uses[maker]), *self._uses[node])
            self._uses[node] = tuple(dict.fromkeys(own))
        kept = [node for node in range(len(self._operator)) if node not in dropped]
        columns: tuple[list[Any], ...] = (
            *(self._operator, self._aten, self._module, self._attributes, self._signature),
            *(self._in_shapes, self._out_shapes, self._uses, self._flops),
        )
        for column in columns:
            column[:] = [column[node] for node in kept]
        place = {node: index for index, node in enumerate(kept)}
        self._edges = [(place[m], place[n]) for m, n in self._edges if m in place and n in place]


def _place_of(name: str, names: dict[str, int]) -> int:
    return names.setdefault(name, len(names))


def _ragged(rows: list[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of rows one after the other, and where each row begins."""
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.array([v for row in rows for v in row], dtype=np.int64), offsets
