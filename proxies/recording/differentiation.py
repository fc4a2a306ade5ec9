"""Gradients by name, or the reason why there are none."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import ScoreError

Gradients = dict[str, Tensor]


def check_differentiable(loss: Tensor) -> None:
    """Refuse a loss without gradients.

    Raises:
        ScoreError: it depends on nothing that requires a gradient.
    """
    if not loss.requires_grad:
        raise ScoreError("the loss does not depend on any weight differentiably")


def gradients(
    loss: Tensor, leaves: Gradients, create_graph: bool = False, retain_graph: bool = False
) -> Gradients:
    """Return the gradient of a scalar by each leaf; one that it does not depend on gets zeros.

    Raises:
        ScoreError: it depends on nothing that requires a gradient.
    """
    check_differentiable(loss)
    found = torch.autograd.grad(
        loss,
        [*leaves.values()],
        create_graph=create_graph,
        retain_graph=retain_graph or create_graph,
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
