"""The direction of messages along edges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ....errors import InputError

DIRECTIONS = ("forward", "both")


def checked(direction: str) -> str:
    """Return ``direction`` if it is valid.

    Raises:
        InputError: ``direction`` is neither ``"forward"`` nor ``"both"``.
    """
    if direction not in DIRECTIONS:
        raise InputError(f"direction: got {direction!r}, expected {' or '.join(DIRECTIONS)}")
    return direction


def reverse(edges: Tensor) -> Tensor:
    """Return the edges reversed, from consumer to operand."""
    return edges.flip(0)


def undirected(edges: Tensor) -> Tensor:
    """Return the edges in both directions, (2, 2m)."""
    return torch.cat([edges, reverse(edges)], 1)


class Directed(nn.Module):
    """A layer along the edges; with ``"both"``, it is averaged with another layer against them.

    The two layers have separate weights, so that operands and consumers stay distinguishable.
    Source: Rossi et al., "Edge directionality improves learning on heterophilic graphs", 2023.

    Args:
        make: a function that makes a layer ``(states, edges) -> states``.
        direction: ``"forward"`` or ``"both"``.
    """

    def __init__(self, make: Callable[[], nn.Module], direction: str) -> None:
        super().__init__()
        self.along = make()
        self.against = make() if checked(direction) == "both" else None

    def forward(self, states: Tensor, edges: Tensor) -> Tensor:
        """Return the new states (nodes, width)."""
        along: Tensor = self.along(states, edges)
        if self.against is None:
            return along
        against: Tensor = self.against(states, reverse(edges))
        return (along + against) / 2
