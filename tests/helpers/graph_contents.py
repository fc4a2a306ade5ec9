"""What a graph holds, to compare graphs that were made in different ways."""

from __future__ import annotations

from typing import Any

from archrank.graphs import Graph


def contents(graph: Graph) -> list[Any]:
    """Everything that a graph knows, independent of how names are numbered."""
    return [
        [
            (n.operator, n.aten, n.module, n.in_shape, n.out_shape, n.attributes, n.parameters)
            for n in graph.nodes
        ],
        graph.node_flops.tolist(),
        graph.signature.tolist(),
        graph.edges.tolist(),
        graph.parameter_names,
        graph.parameter_sizes.tolist(),
    ]
