"""Encodings of cells by a graph neural network with random weights.

Even a network that is never trained distinguishes cells by their wiring and operators. A Gaussian
process on its outputs learns from few labels, since it has few parameters. It is close to the
Gaussian process that an infinitely wide network would be.

Source: Lee et al., "Deep neural networks as Gaussian processes", ICLR 2018; Du et al., "Graph
neural tangent kernel", NeurIPS 2019.

Notes:
    The network is our choice. It was chosen on other draws of labels than those that
    `experiments/results/predictors.md` reports.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...basics import Array
from ...graphs import Graph
from .blocks import KEPT
from .cells import FARTHEST, Arc, Cell, arcs_of, cells
from .operator_classes import MARKS, STEPS

_WIDTH, _LAYERS = 128, 3
_GAIN = 1.5  # the gain of random weights: a larger gain distinguishes more cells
_BIAS = 0.3
_SEED = 0
_TOKENS = {
    token: i
    for i, token in enumerate(
        (*(step + mark for step in STEPS for mark in MARKS), "skip", "wiring")
    )
}
"""The steps that the paths of arcs consist of."""


def encoded_cells(graph: Graph) -> Array:
    """Return the mean embedding of cells that keep the resolution, and log(1 + their number).

    Nodes v are the junctions and the entries of a cell. Arcs (u, w, v) are the operators w between
    them (``arcs_of``). With random weights W, S, F, B and b,

        e_w = tanh(W x_w),
        m_v = mean_(u,w,v) tanh(F h_u + e_w) + mean_(v,w,t) tanh(B h_t + e_w),
        h_v <- tanh(norm(S h_v + m_v + b)).

    x_w counts the steps of the arc and says which is the first; norm divides by the root mean
    square. At first h_v only says whether v is a junction, the latest entry or an earlier one. The
    embedding of a cell is that of its end and the mean over its nodes.

    Returns:
        float array (257,); zeros where there is no such cell.

    Example:
        >>> from archrank.data import space
        >>> cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|"
        >>> row = encoded_cells(space("nasbench201").graph(cell))
        >>> len(row), round(float(np.expm1(row[-1])))
        (257, 15)
    """
    return _mean([cell for cell in cells(graph) if not cell.reduces])


def encoded_reductions(graph: Graph) -> Array:
    """Return the same for cells that reduce the resolution."""
    return _mean([cell for cell in cells(graph) if cell.reduces])


def _mean(some: list[Cell]) -> Array:
    row = np.zeros(2 * _WIDTH + 1)
    for cell, count in Counter(some).items():
        row[:-1] += encoded(cell) * (count / len(some))
    row[-1] = np.log1p(len(some))
    return row


@lru_cache(maxsize=KEPT)
def encoded(cell: Cell) -> Array:
    """Return the embedding (256,) of one cell."""
    return embedding(arcs_of(cell), len(cell.classes) - 1)


def embedding(arcs: list[Arc], end: int) -> Array:
    """Return the embedding (256,) of the nodes that arcs join; nodes below 0 are entries."""
    junctions = sorted({end, *(node for arc in arcs for node in (arc.source, arc.target))})
    place = {node: i for i, node in enumerate(junctions)}
    sources = [place[arc.source] for arc in arcs]
    targets = [place[arc.target] for arc in arcs]
    into, out_of = (_averages(nodes, len(junctions)) for nodes in (targets, sources))
    weights = _weights()
    operators = np.tanh(_described(arcs) @ weights.paths)
    state = weights.roles[[min(node, 0) for node in junctions]]  # entries are indices from the back
    for layer in range(_LAYERS):
        forward = np.tanh((state @ weights.forward[layer])[sources] + operators)
        backward = np.tanh((state @ weights.backward[layer])[targets] + operators)
        mixed = state @ weights.own[layer] + into @ forward + out_of @ backward
        mixed += weights.bias[layer]
        state = np.tanh(mixed / np.sqrt((mixed**2).mean(axis=1, keepdims=True)))
    return np.concatenate([state[place[end]], state.mean(axis=0)])


class _Weights(NamedTuple):
    """The random weights; all but those of paths and roles have one matrix per layer."""

    paths: Array
    roles: Array
    own: Array
    forward: Array
    backward: Array
    bias: Array


@lru_cache(maxsize=1)
def _weights() -> _Weights:
    # Saved predictors need numbers that are the same in every version of NumPy.
    random = np.random.RandomState(_SEED)
    square = (_LAYERS, _WIDTH, _WIDTH)
    scale = _GAIN / np.sqrt(_WIDTH)
    return _Weights(
        paths=random.normal(size=(2 * len(_TOKENS), _WIDTH)) / np.sqrt(2.0),
        roles=random.normal(size=(1 + FARTHEST, _WIDTH)),
        own=scale * random.normal(size=square),
        forward=scale * random.normal(size=square),
        backward=scale * random.normal(size=square),
        bias=_BIAS * random.normal(size=(_LAYERS, _WIDTH)),
    )


def _described(arcs: list[Arc]) -> Array:
    """Return for each arc the counts of its steps, and which is the first."""
    described = np.zeros((len(arcs), 2 * len(_TOKENS)))
    for row, arc in zip(described, arcs, strict=True):
        steps = [_TOKENS[step] for step in arc.path.split()]
        np.add.at(row, steps, 1.0)
        row[len(_TOKENS) + steps[0]] = 1.0
    return described


def _averages(nodes: list[int], count: int) -> Array:
    """Return the matrix (count, arcs) that averages over the arcs of each node."""
    matrix = np.zeros((count, len(nodes)))
    matrix[nodes, np.arange(len(nodes))] = 1.0
    averages: Array = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1.0)
    return averages
