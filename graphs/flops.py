"""Multiply-adds of one operator, computed from its shapes.

One multiply-add counts as 1. Convolutions and products count the multiply-adds of their weights;
additions of a bias are not counted. Attention counts its two products. A normalisation counts 2 per
element, and a softmax 3 (exponential, sum, division). Pooling counts 1 per input element that it
reads. Any other known operator counts 1 per output element if it computes values, and 0 if it only
moves them. Unknown operators count 0 and are listed by ``Graph.unknown_operators``.
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
    """Return ``prod(positions) * Cin/groups * Cout * prod(kernel)`` multiply-adds.

    The shape of the weight, ``(Cout, Cin/groups, *kernel)``, gives the channels. The weight is
    applied once at each output position, or at each input position if the convolution is
    transposed.
    """
    positions = source if transposed else result
    return positions[0] * prod(positions[2:]) * prod(weight)


def product(operands: Sequence[Shape]) -> int:
    """Return the multiply-adds of a (batched) matrix product over the last two dimensions."""
    left, right = operands[-2], operands[-1]
    return prod(left) * (right[-1] if len(right) > 1 else 1)


def attention(query: Shape, key: Shape, value: Shape) -> int:
    """Return ``B * H * L * S * (E + Ev)``: the two products of scaled-dot-product attention."""
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def recurrent(weights: Sequence[Shape], steps: int) -> int:
    """Return the multiply-adds of applying every weight matrix once per step.

    ``steps`` is the number of time steps times the batch size."""
    return steps * sum(prod(shape) for shape in weights if len(shape) == 2)


def elementwise(
    operator: str, aten: str, source: Shape, result: Shape, kernel: Sequence[int]
) -> int:
    """Return the multiply-adds of all other operators, by the convention of this module."""
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
