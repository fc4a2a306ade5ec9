"""Proxies of the wiring alone: the graph whose vertices are channels."""

from __future__ import annotations

from ..graphs import Graph
from ..graphs.operators import PRODUCTS, UNKNOWN, WEIGHTED
from .registry import Measure, register

_REFERENCE = "after Huang et al., NASGraph, ICLR 2024; from the data flow our choice"


@register(
    "nasgraph",
    summary="Average degree of the graph of channels.",
    formula="2 E / V, an edge from each channel to each channel that is computed from it",
    reference=_REFERENCE,
    mode="any",
    cost="none",
)
def nasgraph(graph: Graph) -> Measure:
    """Layers join all channels of a group, everything else joins channel to channel. The paper
    finds the edges by forwards of one channel at a time through a narrowed network."""
    vertices, edges = _channel_graph(graph)
    return Measure(2 * edges / vertices)


@register(
    "nasgraph_density",
    summary="Density of the graph of channels.",
    formula="E / V^2",
    reference=_REFERENCE,
    mode="any",
    cost="none",
)
def nasgraph_density(graph: Graph) -> Measure:
    """Falls with depth, since layers join neighbours alone."""
    vertices, edges = _channel_graph(graph)
    return Measure(edges / vertices**2)


def _channel_graph(graph: Graph) -> tuple[int, int]:
    """Numbers of vertices and of edges."""
    nodes = list(graph.nodes)
    channels = [_channels(node.out_shape) for node in nodes]
    edges = 0
    for source, target in graph.edges.tolist():
        node = nodes[target]
        if node.operator in PRODUCTS and node.operator != UNKNOWN:
            groups = node.attributes.get("groups", 1) if node.operator in WEIGHTED else 1
            edges += channels[source] * channels[target] // max(1, groups)
        else:
            edges += min(channels[source], channels[target])
    return max(1, sum(channels)), edges


def _channels(shape: tuple[int, ...]) -> int:
    """Of images (N, C, ...) the second size, of vectors and tokens the last."""
    if len(shape) >= 4:
        return shape[1]
    return shape[-1] if len(shape) > 1 else 1
