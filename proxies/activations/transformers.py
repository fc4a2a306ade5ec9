"""Proxies of attention and of confidence in transformers."""

from __future__ import annotations

import torch
from torch import Tensor

from ...graphs import Graph
from ...graphs.operators import WEIGHTED
from ..recording.attention import attention_maps
from ..recording.signals import SynapticFlow
from ..registry import Measure, register

_SERIANNI = "Serianni and Kalita, ACL 2023"


@register(
    "attention_confidence",
    summary="How sharply attention heads look at single tokens.",
    formula="mean over maps and heads of mean_queries max_keys A",
    reference=f"Behnke and Heafield, EMNLP 2020; as a proxy {_SERIANNI}",
    cost="1 forward",
)
def attention_confidence(attention_confidences: list[Tensor]) -> Measure:
    """Return the mean of the largest attention weight.

    Notes:
        A lies in [0, 1]. At initialisation it is near 1 / (number of keys), since queries and keys
        are small.
    """
    return Measure(float(torch.cat(attention_confidences).double().mean()))


@register(
    "attention_importance",
    summary="How much the loss feels attention heads.",
    formula="mean over maps and heads of mean_n |sum A * dL/dA|",
    reference=f"Michel et al., NeurIPS 2019; as a proxy {_SERIANNI}",
    cost="1 forward + 1 backward",
    labels=True,
)
def attention_importance(attention_importances: list[Tensor]) -> Measure:
    """Return the mean sensitivity of the loss to an attention head.

    Notes:
        The gradient of a mask on a head is the sum of A * dL/dA over the head's map.
    """
    return Measure(float(torch.cat(attention_importances).double().mean()))


@register(
    "softmax_confidence",
    summary="How sure the untrained network is of its classes.",
    formula="mean_n max_c softmax(outputs)",
    reference=_SERIANNI,
    cost="1 forward",
)
def softmax_confidence(output_confidence: Tensor) -> Measure:
    """Return the mean of the largest probability.

    Notes:
        The mean is over samples, and also over positions if each has its own output.
    """
    return Measure(float(output_confidence.double().mean()))


@register(
    "dss",
    version=4,
    summary="Diversity of attention's synapses and saliency of all others.",
    formula="sum over attention weights of ||dR/dW||_* ||W||_* + sum over others of |W * dR/dW|",
    reference="Zhou et al., TF-TAS, CVPR 2022",
    initialisation="as given, absolute",
    dtype="float64",
    cost="1 forward + 1 backward of one sample in double precision",
)
def dss(graph: Graph, flow: dict[str, SynapticFlow]) -> Measure:
    """Sum the diversities of attention weights and the saliencies of all other weights.

    Notes:
        R is that of synflow, and ||.||_* is the nuclear norm. Attention weights are those next to
        an attention map in the graph: the projections of queries, keys, values and of the output.
        For a network without attention weights, the value is that of synflow.
    """
    near = _attention_weights(graph)
    parts = {}
    for name, one in flow.items():
        if name in near and not one.power:
            parts[name] = _nuclear(one.gradient) * _nuclear(one.magnitude)
        else:
            parts[name] = one.total
    return Measure(sum(parts.values()), by_parameter=parts)


def _nuclear(matrix: Tensor) -> float:
    return float(torch.linalg.svdvals(matrix.flatten(1)).sum())


def _attention_weights(graph: Graph) -> set[str]:
    """Return the weights from or to which no other weight lies before an attention map."""
    nodes = list(graph.nodes)
    weighted = [node.operator in WEIGHTED for node in nodes]
    maps = attention_maps(graph)
    found: set[int] = set()
    for forward in (True, False):
        neighbours: dict[int, list[int]] = {}
        for source, target in graph.edges.tolist():
            start, stop = (source, target) if forward else (target, source)
            neighbours.setdefault(start, []).append(stop)
        waiting, seen = [*maps], set(maps)
        while waiting:
            for node in neighbours.get(waiting.pop(), ()):
                if node not in seen:
                    if forward and nodes[node].operator == "matmul":
                        maps.add(node)  # of the map with the values, on its other side
                    seen.add(node)
                    found.add(node) if weighted[node] else waiting.append(node)
    return {name for index in found for name in nodes[index].parameters}
