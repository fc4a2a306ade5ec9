"""A piece of a graph: its nodes without input and output nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import ATTRIBUTES
from ..graph import Graph
from ..operators import CANONICAL_ID

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fragment:
    """A graph without its input and output nodes; inputs are the sources -1, -2, ... of edges."""

    inputs: tuple[Shape, ...]
    output: int
    output_shape: Shape
    operator: np.ndarray
    aten: np.ndarray
    module: np.ndarray
    attributes: np.ndarray
    signature: np.ndarray
    in_shapes: np.ndarray
    in_lengths: np.ndarray
    out_shapes: np.ndarray
    out_lengths: np.ndarray
    uses: np.ndarray
    uses_lengths: np.ndarray
    node_flops: np.ndarray
    edges: np.ndarray
    parameter_sizes: np.ndarray
    aten_names: tuple[str, ...]
    module_names: tuple[str, ...]
    parameter_names: tuple[str, ...]

    @classmethod
    def of(cls, graph: Graph, inputs: tuple[Shape, ...]) -> Fragment:
        """Return what is left of a traced graph without its input and output nodes."""
        first, last = len(inputs), len(graph) - 1
        outputs = np.flatnonzero(graph.operator == CANONICAL_ID["output"])
        if outputs.tolist() != [last] or (graph.operator[:first] != CANONICAL_ID["input"]).any():
            raise TypeError("a piece takes tensors and returns one that depends on them")
        body = slice(first, last)

        def moved(nodes: np.ndarray) -> np.ndarray:
            return np.where(nodes < first, -1 - nodes, nodes - first)

        aten, aten_names = _compact(graph.aten[body], graph.aten_names)
        module, module_names = _compact(graph.module[body], graph.module_names)
        edges = graph.edges[graph.edges[:, 1] < last]
        in_lengths, out_lengths, uses_lengths = (
            np.diff(offsets)[body]
            for offsets in (graph.in_offsets, graph.out_offsets, graph.uses_offsets)
        )
        return cls(
            inputs=inputs,
            output=int(moved(graph.edges[-1:, 0])[0]),
            output_shape=tuple(graph.out_shapes[graph.out_offsets[last] :].tolist()),
            operator=graph.operator[body],
            aten=aten,
            module=module,
            attributes=graph.attributes[body],
            signature=graph.signature[body],
            in_shapes=graph.in_shapes[graph.in_offsets[first] : graph.in_offsets[last]],
            in_lengths=in_lengths,
            out_shapes=graph.out_shapes[graph.out_offsets[first] : graph.out_offsets[last]],
            out_lengths=out_lengths,
            uses=graph.uses,
            uses_lengths=uses_lengths,
            node_flops=graph.node_flops[body],
            edges=np.stack([moved(edges[:, 0]), edges[:, 1] - first], 1),
            parameter_sizes=graph.parameter_sizes,
            aten_names=aten_names,
            module_names=module_names,
            parameter_names=graph.parameter_names,
        )

    def graph(self) -> Graph:
        """Return the fragment as a graph, with input and output nodes again."""
        first, n = len(self.inputs), len(self.operator)
        last = first + n

        def padded(body: np.ndarray, before: int, after: int) -> np.ndarray:
            return np.concatenate([[before] * first, body, [after]]).astype(body.dtype)

        def ragged(
            before: Sequence[Shape], flat: np.ndarray, lengths: np.ndarray, after: Shape
        ) -> tuple[np.ndarray, np.ndarray]:
            values = np.concatenate([*map(_integers, before), flat, _integers(after)])
            sizes = [0, *map(len, before), *lengths.tolist(), len(after)]
            return values.astype(np.int64), np.cumsum(sizes).astype(np.int64)

        aten, aten_names = _first_used([0] * first, ("input",), self.aten, self.aten_names)
        module, module_names = _first_used([0] * first, ("",), self.module, self.module_names)
        output_aten = {name: i for i, name in enumerate(aten_names)}.get("output", len(aten_names))
        if output_aten == len(aten_names):
            aten_names = (*aten_names, "output")
        blank = np.zeros((1, len(ATTRIBUTES)), self.attributes.dtype)
        in_shapes, in_offsets = ragged(
            self.inputs, self.in_shapes, self.in_lengths, self.output_shape
        )
        out_shapes, out_offsets = ragged(
            self.inputs, self.out_shapes, self.out_lengths, self.output_shape
        )
        uses, uses_offsets = ragged([()] * first, self.uses, self.uses_lengths, ())

        def moved(nodes: np.ndarray) -> np.ndarray:
            return np.where(nodes < 0, -1 - nodes, nodes + first)

        edges = np.stack([moved(self.edges[:, 0]), self.edges[:, 1] + first], 1)
        final = np.array([[moved(np.array([self.output]))[0], last]])
        return Graph(
            operator=padded(self.operator, CANONICAL_ID["input"], CANONICAL_ID["output"]),
            aten=np.append(aten, output_aten).astype(np.int32),
            module=np.append(module, 0).astype(np.int32),
            attributes=np.concatenate([*[blank] * first, self.attributes, blank]),
            signature=padded(self.signature, 0, 0),
            in_shapes=in_shapes,
            in_offsets=in_offsets,
            out_shapes=out_shapes,
            out_offsets=out_offsets,
            uses=uses.astype(np.int32),
            uses_offsets=uses_offsets,
            node_flops=padded(self.node_flops, 0, 0),
            edges=np.concatenate([edges, final]).astype(np.int32),
            parameter_sizes=self.parameter_sizes,
            aten_names=aten_names,
            module_names=module_names,
            parameter_names=self.parameter_names,
        )


def _integers(shape: Shape) -> np.ndarray:
    return np.array(shape, dtype=np.int64)


def _compact(codes: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the same codes over a table of only the names in use, in the order of first use."""
    used = {code: i for i, code in enumerate(dict.fromkeys(codes.tolist()))}
    renumbered = np.array([used[code] for code in codes.tolist()], np.int64)
    return renumbered, tuple(names[code] for code in used)


def _first_used(
    start: list[int], names: tuple[str, ...], codes: np.ndarray, code_names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the codes of ``code_names`` behind ``start``'s, renumbered into one table with
    ``names``."""
    table = {name: i for i, name in enumerate(names)}
    translate = np.array([table.setdefault(name, len(table)) for name in code_names], np.int64)
    moved = translate[codes] if len(codes) else codes
    return np.concatenate([start, moved]).astype(np.int64), tuple(table)
