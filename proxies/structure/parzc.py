"""ParZC without training: statistics of nodes, weighted by their position in the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from torch import Tensor

from ..recording.signals import SynapticFlow
from ..registry import Measure, register

Base = Literal["synflow", "snip", "grad_norm"]

Weighting = Callable[[int, int], float]
"""(place of a layer, from 0; number of layers) -> its weight."""

WEIGHTINGS: Mapping[str, tuple[Weighting, str, str]] = {
    "quadratic": (lambda i, n: ((n - i) / n) ** 2, "((L - i) / L)^2", "the released code's"),
    "linear": (lambda i, n: (n - i) / n, "(L - i) / L", "a commented alternative"),
    "exponential": (lambda i, n: math.exp(-i / n), "exp(-i / L)", "a commented alternative"),
    "sigmoid": (
        lambda i, n: 1 / (1 + math.exp(10 * (i / n - 0.5))),
        "sigmoid(10 (1/2 - i / L))",
        "a commented alternative, its slope our choice",
    ),
    "sine": (lambda i, n: (math.sin(0.1 * i) + 1) / 2, "(sin(0.1 i) + 1) / 2", "the paper's"),
}
"""Fixed weights by depth: what the paper says, and what the released code does or did."""


def _weighted(
    name: str,
    weights: dict[str, Tensor],
    gradients: dict[str, Tensor],
    flow: dict[str, SynapticFlow],
    base: Base,
) -> Measure:
    if base == "synflow":
        # Raw values span so many orders of magnitude that one layer would be all of the sum.
        nodes = {n: _log_of_mean(f) for n, f in flow.items()}
    elif base == "snip":
        nodes = {n: float((weights[n] * g).abs().mean()) for n, g in gradients.items()}
    else:
        nodes = {n: float(g.norm()) for n, g in gradients.items()}
    weighting = WEIGHTINGS[name][0]
    parts = {n: weighting(i, len(nodes)) * v for i, (n, v) in enumerate(nodes.items())}
    return Measure(sum(parts.values()), by_parameter=parts)


def _log_of_mean(flow: SynapticFlow) -> float:
    """Return ``log(1 + mean of |W * dR/dW|)``."""
    if flow.power:
        return float(np.logaddexp(0, flow.log_total - math.log(flow.magnitude.numel())))
    return math.log1p(flow.total / flow.magnitude.numel())


def _register(name: str) -> None:
    _, formula, whose = WEIGHTINGS[name]

    def parzc_dagger(
        weights: dict[str, Tensor],
        gradients: dict[str, Tensor],
        flow: dict[str, SynapticFlow],
        *,
        base: Base = "synflow",
    ) -> Measure:
        """Sum the layers' values, weighted by their depth.

        Notes:
            Layers are in the model's order. The values are based on ``synflow`` (logarithm of a
            layer's mean), ``snip`` (mean) or ``grad_norm`` (norm), as in ParZC's node-wise
            statistics.
        """
        return _weighted(name, weights, gradients, flow, base)

    register(
        "parzc_dagger" if name == "quadratic" else f"parzc_dagger_{name}",
        version=4,
        summary=f"A proxy's values per layer, weighted by depth: {name}.",
        formula=f"sum_i w_i s_i, w_i = {formula}, s_i layer i's saliency",
        reference=f"Dong et al., ParZC, AAAI 2025: {whose} weighting",
        cost="2 forwards + 2 backwards",
        labels=True,
    )(parzc_dagger)


for _name in WEIGHTINGS:
    _register(_name)
