"""AZ-NAS: four views of a network's blocks, ranked by ``archrank.ranking.aggregation``."""

from __future__ import annotations

import math
from itertools import pairwise

from ...errors import NotApplicable
from ...graphs import Graph
from ..recording.signals import Block
from ..registry import Measure, register

_REFERENCE = "Lee and Ham, AZ-NAS, CVPR 2024"
_INITIALISATION = "weights Kaiming-normal (fan-in), norm scales 1, biases 0"


@register(
    "az_expressivity",
    version=7,
    summary="How evenly the blocks' features spread over their channels.",
    formula="sum_b H(v / sum v), v eigenvalues of the covariance of block b's channels",
    cost="1 forward",
    reference=_REFERENCE,
    initialisation=_INITIALISATION,
    deterministic=False,
)
def az_expressivity(blocks: list[Block]) -> Measure:
    """Sum the entropies of the blocks' features.

    Notes:
        Inputs are Gaussian. Blocks are found from the data flow; see ``blocks``. The patch
        embedding of a vision transformer counts as a block, which the authors leave out.
    """
    return Measure(sum(block.entropy for block in blocks))


@register(
    "az_progressivity",
    version=7,
    summary="The smallest growth of expressivity from block to block.",
    formula="min_b H_b+1 - H_b",
    cost="1 forward",
    reference=_REFERENCE,
    initialisation=_INITIALISATION,
    deterministic=False,
)
def az_progressivity(blocks: list[Block]) -> Measure:
    """Return the smallest difference between the entropies of two consecutive blocks.

    Notes:
        The authors do not use it for vision transformers, whose width is constant.
    """
    entropies = [block.entropy for block in blocks]
    return Measure(min(b - a for a, b in pairwise(entropies)))


@register(
    "az_trainability",
    version=7,
    summary="How near the blocks' backward maps are to keeping a gradient's length.",
    formula="mean_b 2 - s_b - 1 / (s_b + 1e-6), s_b spectral norm of g_in^T g_out / positions",
    cost="1 forward + 1 backward",
    reference=_REFERENCE,
    initialisation=_INITIALISATION,
    deterministic=False,
)
def az_trainability(blocks: list[Block]) -> Measure:
    """Return the mean nearness of the blocks' backward maps to an isometry.

    Notes:
        g_out are random signs at a block's output, and g_in is their pull-back to its input. The
        best value is 0, at s = 1. A network with an identity block has no value; the authors rank
        it last. A block counts as one if the pull-back equals g_out to a relative 1e-5, as in the
        authors' code: so does a ConvNeXt block, whose branch a layer scale of 1e-6 multiplies.
    """
    norms = [block.spectral_norm for block in blocks if block.spectral_norm is not None]
    if not norms:
        raise NotApplicable("no two blocks in a row have samples and positions that correspond")
    if any(math.isnan(norm) for norm in norms):
        raise NotApplicable("a block is the identity, which AZ-NAS ranks last")
    return Measure(sum(2 - s - 1 / (s + 1e-6) for s in norms) / len(norms))


@register(
    "az_complexity",
    summary="Multiply-adds, AZ-NAS's fourth view.",
    formula="flops",
    reference=_REFERENCE,
    mode="any",
    cost="none",
)
def az_complexity(graph: Graph) -> Measure:
    """Return the number of multiply-adds, the same as ``flops``."""
    return Measure(float(graph.flops))
