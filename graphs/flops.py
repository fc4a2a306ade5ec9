"""Multiply-adds of one operator, from its shapes alone.

One multiply-add counts 1. Convolutions and products count the multiply-adds of their weights
(bias additions are not counted); attention counts its two products; a normalisation counts 2 per
element, a softmax 3 (exponential, sum, division), a pooling one per input element that it reads,
any other known operator that computes one per output element, and operators that only move values
0. Unknown operators count 0 and are listed by ``Graph.unknown_operators``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .operators import NORMS

Shape = Sequence[int]

_MOVES = frozenset(
    "input output concat stack pad roll repeat pixel_shuffle pixel_unshuffle unfold gather "
    "scatter embedding unknown".split()
)
_REDUCTIONS = frozenset(
    "global_avg_pool mean sum extremum variance norm cumulative sort loss".split()
)
_SOURCES = {"upsample_bilinear2d": 4, "upsample_bicubic2d": 16, "upsample_trilinear3d": 8}


def convolution(weight: Shape, source: Shape, result: Shape, transposed: bool) -> int:
    """``prod(positions) * Cin/groups * Cout * prod(kernel)`` multiply-adds.

    The weight's shape ``(Cout, Cin/groups, *kernel)`` carries the channel factors; it is applied
    once at each output position, or at each input position if transposed.
    """
    positions = source if transposed else result
    return positions[0] * prod(positions[2:]) * prod(weight)


def product(operands: Sequence[Shape]) -> int:
    """Multiply-adds of a (batched) matrix product of the last two shapes."""
    left, right = operands[-2], operands[-1]
    return prod(left) * (right[-1] if len(right) > 1 else 1)


def attention(query: Shape, key: Shape, value: Shape) -> int:
    """``B * H * L * S * (E + Ev)``: the two products of scaled-dot-product attention."""
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def recurrent(weights: Sequence[Shape], steps: int) -> int:
    """Every weight matrix applied once per step (``steps`` = time steps x batch)."""
    return steps * sum(prod(shape) for shape in weights if len(shape) == 2)


def elementwise(
    operator: str, aten: str, source: Shape, result: Shape, kernel: Sequence[int]
) -> int:
    """Everything that is not a product; see the module's text for the convention."""
    if operator in _MOVES:
        return 0
    if operator in NORMS:
        return 2 * prod(result)
    if operator == "softmax":
        return 3 * prod(result)
    if operator in _REDUCTIONS:
        return prod(source)
    if operator in ("max_pool", "avg_pool"):
        # Adaptive pools have no kernel: every input element is read once.
        return prod(result) * prod(kernel) if prod(kernel) else prod(source)
    if operator == "interpolate":
        return prod(result) * _SOURCES.get(aten.rpartition(".")[2], 1)
    if operator == "cdist":
        return prod(result) * source[-1]
    return prod(result)
