"""Proxies of the wiring alone: the graph whose vertices are channels."""

from __future__ import annotations

from ...graphs import Graph
from ...graphs.operators import NORMS, PRODUCTS, UNKNOWN, WEIGHTED
from ..registry import Measure, register

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
    """Return the average degree of the graph of channels.

    Notes:
        Layers join all channels of a group; all other operators join channel to channel. The paper
        finds the edges by forward passes of one channel at a time through a narrowed network.
    """
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
    """Return the density of the graph of channels.

    Notes:
        It falls with depth, since layers join only neighbours.
    """
    vertices, edges = _channel_graph(graph)
    return Measure(edges / vertices**2)


def _channel_graph(graph: Graph) -> tuple[int, int]:
    """Return the numbers of vertices and of edges."""
    nodes, channels = list(graph.nodes), _channels(graph)
    edges = 0
    for source, target in graph.edges.tolist():
        node = nodes[target]
        if node.operator in PRODUCTS and node.operator != UNKNOWN:
            groups = node.attributes.get("groups", 1) if node.operator in WEIGHTED else 1
            edges += channels[source] * channels[target] // max(1, groups)
        else:
            edges += min(channels[source], channels[target])
    return max(1, sum(channels)), edges


def _channels(graph: Graph) -> list[int]:
    """Return the number of channels of each node.

    That is the second size of images (N, C, ...), and the last size of vectors, of tokens and of
    images that a linear layer or layer norm made (N, ..., C).
    """
    nodes = list(graph.nodes)
    sources: list[list[int]] = [[] for _ in nodes]
    for source, target in graph.edges.tolist():
        sources[target].append(source)
    channels: list[int] = []
    last: list[bool] = []
    for node, reads in zip(nodes, sources, strict=True):
        shape, alike = node.out_shape, [s for s in reads if nodes[s].out_shape == node.out_shape]
        if node.operator in ("linear", "layer_norm") or len(shape) < 4:
            last.append(True)
        else:  # what works on elements keeps the order of dimensions
            kept = node.operator not in WEIGHTED and node.operator not in NORMS
            last.append(kept and bool(alike) and all(last[s] for s in alike))
        if len(shape) < 2:
            channels.append(1)
        else:
            channels.append(shape[-1] if last[-1] else shape[1])
    return channels
