"""Synaptic flow: how much of a network of absolute weights lies on paths from input to output."""

from __future__ import annotations

import math

import numpy as np

from ...errors import NotApplicable
from ..recording.signals import SynapticFlow
from ..registry import Measure, register, total_of


@register(
    "synflow",
    version=4,
    summary="Flow through the network of absolute weights; spans many orders of magnitude.",
    formula="sum |W * dR/dW|, R = sum of outputs for an all-ones input",
    reference="Tanaka et al., NeurIPS 2020; as a proxy Abdelfattah et al., ICLR 2021",
    initialisation="as given, absolute",
    dtype="float64",
    cost="1 forward + 1 backward of one sample in double precision",
)
def synflow(flow: dict[str, SynapticFlow]) -> Measure:
    """Sum the flow through all weights.

    Notes:
        Batch norm is left out. Other norms, gates and attention stay; the flow is not conserved in
        networks that have them.
    """
    return total_of({n: f.total for n, f in flow.items()})


@register(
    "synflow_log",
    version=4,
    summary="Logarithm of synflow: the same order in readable numbers.",
    formula="log sum |W * dR/dW|",
    reference="our choice",
    initialisation="as given, absolute",
    dtype="float64",
    cost="1 forward + 1 backward of one sample in double precision",
)
def synflow_log(flow: dict[str, SynapticFlow]) -> Measure:
    """Return the logarithm of the flow through all weights.

    Notes:
        The value of a node is the logarithm of its own flow. These values do not add up to the
        total.
    """
    parts = {n: log for n, f in flow.items() if (log := f.log_total) != -math.inf}
    if not parts:
        raise NotApplicable("no flow reaches the output")
    if any(f.power for f in flow.values()):
        return Measure(float(np.logaddexp.reduce([*parts.values()])), by_parameter=parts)
    return Measure(math.log(sum(f.total for f in flow.values())), by_parameter=parts)


@register(
    "synflow_bn",
    version=6,
    summary="Synaptic flow with batch norm active.",
    formula="sum |W * dR/dW|",
    reference="Abdelfattah et al., ICLR 2021",
    initialisation="as given, absolute",
    dtype="float64",
    cost="1 forward + 1 backward of one sample in double precision",
)
def synflow_bn(flow_with_norm: dict[str, SynapticFlow]) -> Measure:
    """Sum the flow through all weights, with batch norm active.

    Notes:
        In training mode, batch norm of the single sample makes the flow of plain stacks vanish.
    """
    return total_of({n: f.total for n, f in flow_with_norm.items()})


@register(
    "logsynflow",
    version=4,
    summary="Synaptic flow with damped gradients.",
    formula="sum |W| * log(1 + |dR/dW|)",
    reference="Cavagnero et al., FreeREA, WACV 2023",
    initialisation="as given, absolute",
    dtype="float64",
    cost="1 forward + 1 backward of one sample in double precision",
)
def logsynflow(flow: dict[str, SynapticFlow]) -> Measure:
    """Sum the flow through all weights, with the logarithm of each gradient.

    Notes:
        The logarithm is taken of each weight's gradient; ``synflow_log`` takes that of the sum.
    """
    return total_of({n: float(f.log1p().mul_(f.magnitude).sum()) for n, f in flow.items()})
