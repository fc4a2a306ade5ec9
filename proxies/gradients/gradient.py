"""Proxies of weights and first-order gradients, one value per weight tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import NotApplicable
from ..recording.signals import GradientStatistics
from ..registry import Measure, register, total_of


@register(
    "l2_norm",
    version=4,
    summary="Sum of the norms of the weights.",
    formula="sum_l ||W_l||_2",
    reference="Abdelfattah et al., ICLR 2021",
    mode="any",
    cost="none",
)
def l2_norm(weights: dict[str, Tensor]) -> Measure:
    """Sum the norms of the weights.

    Notes:
        It depends only on the initialisation, so it grows with width and depth.
    """
    return total_of({n: float(w.norm()) for n, w in weights.items()})


@register(
    "grad_norm",
    version=4,
    summary="Sum of the norms of the gradients.",
    formula="sum_l ||g_l||_2",
    reference="Abdelfattah et al., ICLR 2021",
    cost="1 forward + 1 backward",
    labels=True,
)
def grad_norm(gradients: dict[str, Tensor]) -> Measure:
    """Sum the norms of the gradients."""
    return total_of({n: float(g.norm()) for n, g in gradients.items()})


@register(
    "snip",
    version=4,
    summary="Connection sensitivity: how much the loss feels each weight.",
    formula="sum |W * g|",
    reference="Lee et al., ICLR 2019; as a proxy Abdelfattah et al., ICLR 2021",
    cost="1 forward + 1 backward",
    labels=True,
)
def snip(weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> Measure:
    """Sum the magnitudes of weight times gradient.

    Notes:
        The gradient of a mask on the weights is W * g, so no mask is needed.
    """
    return total_of({n: float((weights[n] * g).abs().sum()) for n, g in gradients.items()})


@register(
    "plain",
    version=4,
    summary="Signed connection sensitivity.",
    formula="sum W * g",
    reference="Abdelfattah et al., ICLR 2021",
    cost="1 forward + 1 backward",
    labels=True,
)
def plain(weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> Measure:
    """Sum the products of weight and gradient.

    Notes:
        It is near zero for layers before batch norm, whose output does not depend on the weight's
        scale.
    """
    return total_of(
        {n: float((weights[n] * g).sum(dtype=torch.float64)) for n, g in gradients.items()}
    )


@register(
    "grasp",
    version=4,
    summary="How much removing the weights would reduce the gradient flow.",
    formula="sum -W * (H g), temperature 1",
    reference="Wang et al., ICLR 2020; as a proxy Abdelfattah et al., ICLR 2021",
    cost="1 forward + 1 double backward",
    labels=True,
)
def grasp(weights: dict[str, Tensor], hessian_gradients: dict[str, Tensor]) -> Measure:
    """Sum the negated products of weight and Hessian times gradient.

    Notes:
        H g is the gradient of half the squared gradient norm. Layers must be twice differentiable.

        The original paper divides the logits by a temperature of 200; the literature on proxies
        uses 1.
    """
    return total_of(
        {n: -float((weights[n] * h).sum(dtype=torch.float64)) for n, h in hessian_gradients.items()}
    )


@register(
    "zico",
    version=4,
    summary="Gradients that are large against their deviation between batches.",
    formula="sum_l log sum_i mean|g_i| / std(g_i), over i with std > 0",
    reference="Li et al., ICLR 2023",
    cost="2 forwards + 2 backwards",
    labels=True,
)
def zico(gradient_statistics: dict[str, GradientStatistics]) -> Measure:
    """Sum over layers the logarithms of mean gradients divided by their deviations.

    Notes:
        The (population) standard deviation is taken over two batches by default. Layers with zero
        gradients are left out.

        The few weights whose gradients happen to agree decide, the more so the fewer the batches:
        with two of them, rounding changes the score by about 1 %.
    """
    parts = {}
    for name, statistics in gradient_statistics.items():
        total = statistics.per_deviation(statistics.mean_abs)
        if total != 0:
            parts[name] = math.log(total)
    if not parts:
        raise NotApplicable("no gradient differs between the batches: they are equal, or all zero")
    return total_of(parts)
