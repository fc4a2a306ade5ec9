"""Sizes as proxies: the baselines that every other proxy must beat."""

from __future__ import annotations

from ...graphs import Graph
from ..registry import Measure, register


@register(
    "params",
    summary="Number of parameters.",
    formula="sum of numel over parameters, shared ones once",
    reference="baseline",
    mode="any",
    cost="none",
)
def params(graph: Graph) -> Measure:
    """Count all parameters of the model.

    Notes:
        The value of a node is the number of parameters that it is the first to use.
    """
    sizes = dict(zip(graph.parameter_names, graph.parameter_sizes.tolist(), strict=True))
    return Measure(float(graph.params), by_parameter={n: float(s) for n, s in sizes.items()})


@register(
    "flops",
    version=2,
    summary="Multiply-adds of one forward of one sample.",
    formula="sum over operators, one multiply-add = 1",
    reference="baseline",
    mode="any",
    cost="none",
)
def flops(graph: Graph) -> Measure:
    """Count the multiply-adds of all operators that the FLOP table knows.

    Notes:
        See ``archrank.graphs.flops``. ``archrank.trace`` says of which inputs one sample is traced.
    """
    return Measure(
        float(graph.flops), by_node={i: float(n) for i, n in enumerate(graph.node_flops.tolist())}
    )


@register(
    "activations",
    version=2,
    summary="Number of output elements of all convolutions and products.",
    formula="sum over convolutions and products of numel(output)",
    reference="Radosavovic et al., CVPR 2020; products added (our choice)",
    mode="any",
    cost="none",
)
def activations(graph: Graph) -> Measure:
    """Count the output elements of one sample."""
    parts = {int(i): float(n) for i, n in graph.product_outputs()}
    return Measure(float(sum(parts.values())), by_node=parts)
