"""Gradients by name, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils import checkpoint

from ...errors import NotApplicable

Gradients = dict[str, Tensor]


def check_differentiable(loss: Tensor) -> None:
    """Refuse a loss without gradients.

    Raises:
        ScoreError: it depends on nothing that requires a gradient.
    """
    if not loss.requires_grad:
        raise NotApplicable("the loss does not depend on any weight differentiably")


def gradients(
    loss: Tensor, leaves: Gradients, create_graph: bool = False, retain_graph: bool = False
) -> Gradients:
    """Return the gradient of a scalar by each leaf; zeros for a leaf that it does not depend on.

    Raises:
        ScoreError: it depends on nothing that requires a gradient.
    """
    check_differentiable(loss)
    return pulled_back([loss], leaves, None, create_graph, retain_graph or create_graph)


def pulled_back(
    outputs: Sequence[Tensor],
    leaves: Gradients,
    weights: Sequence[Tensor] | None,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> Gradients:
    """Return the gradient of sum(outputs * weights) by each leaf; zeros if there is none."""
    found = torch.autograd.grad(
        outputs,
        [*leaves.values()],
        weights,
        create_graph=create_graph,
        retain_graph=retain_graph,
        allow_unused=True,
    )
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


class _Whole:
    """A substitute for the checkpointing that first runs a function without gradients."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """Run the function once, with gradients."""
        return function(*args)


def _at_once(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
    """Replace the checkpointing that drops tensors which the backward needs: drop nothing."""
    yield


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Run checkpointed parts of networks once, and keep the tensors that their backward needs.

    If a part ran again within the backward, it would run outside the modes that record: with
        dropout, and with gradients of its own.
    """
    with (
        mock.patch.object(checkpoint, "CheckpointFunction", _Whole),
        mock.patch.object(checkpoint, "_checkpoint_without_reentrant_generator", _at_once),
    ):
        yield
