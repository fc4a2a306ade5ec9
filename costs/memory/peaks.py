"""The memory that a network needs for inference and training, from its graph alone.

Inference: weights, and the most tensors that are alive at once. A tensor is alive until its last
reader has run, and until every module that it was given to has returned, since the caller still
holds it; the input until the end. Operators in place make no tensor.

A step of training: weights, what the optimiser keeps, and the most of the rest: tensors that the
backward pass needs (by operator, from the derivatives' formulas), from when they are made until it
has used them; gradients of tensors on their way, and of weights, which pile up.

Source: lifetimes of torch's eager mode and the derivatives it uses (derivatives.yaml); what kernels
use inside themselves and what allocators keep is not known. Checkpointing after Chen et al.,
Training Deep Nets with Sublinear Memory Cost, 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...graphs import Graph
from ...graphs.features import owned_parameters
from .lifetimes import Lifetimes, cuts, training_peak

OPTIMISERS = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adamw": 2, "lamb": 2, "lion": 1}
"""Optimiser -> numbers that it keeps of each weight."""
_MOST = 2**24  # samples: what needs no more memory for more of them fits at any number


@dataclass(frozen=True)
class Memory:
    """The memory of one network in bytes.

    Attributes:
        weights: that of the parameters.
        states: that of the optimiser, 0 for inference.
        peak: the largest total at any moment.
    """

    weights: int
    states: int
    peak: int

    @property
    def rest(self) -> int:
        """Activations, gradients and the input at the peak."""
        return self.peak - self.weights - self.states


def inference_memory(graph: Graph, batch_size: int = 1, precision: str = "fp32") -> Memory:
    """Return the bytes of a forward pass without gradients.

    Args:
        graph: the graph of one sample, from ``trace``.
        batch_size: the number of samples.
        precision: ``"fp32"``, ``"amp"`` (products in 2 bytes) or ``"half"``.

    Raises:
        InputError: an argument is invalid.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Linear(10, 30), torch.nn.Linear(30, 5))
        >>> graph = archrank.trace(net, (10,))
        >>> found = inference_memory(graph, 2)
        >>> (found.peak - found.weights) // 4  # of 2 samples: input, hidden and output
        90
    """
    lives = Lifetimes(graph, batch_size, precision)
    change = np.zeros(len(graph) + 1, dtype=np.int64)
    np.add.at(change, np.arange(len(graph)), lives.bytes)
    np.add.at(change, lives.last + 1, -lives.bytes)
    change[:-1] += lives.positions
    change[1:] -= lives.positions
    weights = graph.params * (2 if precision == "half" else 4)
    copies = graph.params * 2 if precision == "amp" else 0  # autocast's, kept until the end
    return Memory(weights, 0, weights + copies + int(change.cumsum().max(initial=0)))


def training_memory(
    graph: Graph,
    batch_size: int = 1,
    precision: str = "fp32",
    optimiser: str = "adamw",
    checkpoints: bool = False,
) -> Memory:
    """Return the bytes of a training step, once the optimiser has its states.

    Args:
        graph, batch_size, precision: the same as in ``inference_memory``.
        optimiser: one of ``OPTIMISERS``.
        checkpoints: whether only about sqrt(n) of the n tensors between the parts of the network
            are kept, and the parts are computed again in the backward pass.

    Raises:
        InputError: an argument is invalid.

    Example:
        >>> import torch, archrank
        >>> graph = archrank.trace(torch.nn.Linear(10, 30), (10,))
        >>> training_memory(graph, 1, optimiser="adam").states == 2 * graph.params * 4
        True
    """
    if optimiser not in OPTIMISERS:
        raise InputError(f"optimiser: got {optimiser!r}, expected one of {', '.join(OPTIMISERS)}")
    each = 2 if precision == "half" else 4
    weights, states = graph.params * each, OPTIMISERS[optimiser] * graph.params * each
    lives = Lifetimes(graph, batch_size, precision)
    step = _checkpointed(lives, each) if checkpoints else training_peak(lives)
    copies = graph.params * 2 if precision == "amp" else 0
    return Memory(weights, states, weights + states + max(step + copies, weights))


def largest_batch(
    graph: Graph,
    limit: float,
    training: bool = False,
    precision: str = "fp32",
    optimiser: str = "adamw",
    checkpoints: bool = False,
) -> int:
    """Return the largest batch size that needs at most ``limit`` bytes; 0 if one sample needs
    more.

    Args:
        graph, training, precision, optimiser, checkpoints: the same as in ``training_memory``;
            ``training`` selects a training step instead of a forward pass.
        limit: in bytes.

    Example:
        >>> import torch, archrank
        >>> graph = archrank.trace(torch.nn.Linear(1000, 1000), (1000,))
        >>> largest_batch(graph, 5e6), largest_batch(graph, 1e6)
        (124, 0)
    """

    def needed(size: int) -> int:
        if training:
            return training_memory(graph, size, precision, optimiser, checkpoints).peak
        return inference_memory(graph, size, precision).peak

    if needed(1) > limit:
        return 0
    fits, not_more = 1, 2
    while needed(not_more) <= limit and not_more < _MOST:
        fits, not_more = not_more, 2 * not_more
    while not_more - fits > 1:
        middle = (fits + not_more) // 2
        fits, not_more = (middle, not_more) if needed(middle) <= limit else (fits, middle)
    return fits


def _checkpointed(lives: Lifetimes, each: int) -> int:
    """Return the most bytes of a step that keeps what parts hand on, and repeats the parts."""
    found = cuts(lives)
    parts = max(round(math.sqrt(len(found))), 1)
    made = np.cumsum(lives.bytes)
    wanted = made[-1] * np.arange(1, parts) / parts
    at = sorted({min(found, key=lambda node: abs(made[node] - size)) for size in wanted} - {0})
    starts, stops = [0, *(node + 1 for node in at)], [*(node + 1 for node in at), len(made)]
    weights = owned_parameters(lives.graph) * each
    kept = [0, *(int(lives.elements[node] * lives.width[node]) for node in at)]
    return max(
        sum(kept[: part + 1]) + int(weights[stop:].sum()) + training_peak(lives, start, stop)
        for part, (start, stop) in enumerate(zip(starts, stops, strict=True))
    )
