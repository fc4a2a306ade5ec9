"""Statistics of a graph that need no learning: features of tabular predictors.

Only nodes that carry signal count (``alive``). For every class of operators, the statistics hold
the number of alive operators in each stage (output size relative to the input's). They also hold
the number on a path: the largest, the smallest, and the mean over random walks. Walks go from
output to input and choose each operand with equal probability. They also give how often one class
follows another.

Notes:
    All of this is our choice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...graphs import Graph
from ...graphs.features import resolution
from ...graphs.operators import CANONICAL_ID
from .blocks import KEPT, Block, alive, blocks
from .operator_classes import CLASSES, STEPS, classes_of

STAGES = 5
_SIZES = ("params", "flops", "activations", "nodes", "alive", "depth")

GROUPS = {
    "sizes": "log2",
    "stages": r"stage \d (?!log2)",
    "channels": r"stage \d log2",
    "paths": "most|fewest|mean",
    "walks": "walks",
}
"""Group of columns -> a pattern of the beginning of their names."""


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Return the names of the columns of ``statistics``, in order."""
    columns = [f"log2 {name}" for name in _SIZES]
    columns += [f"stage {stage} {name}" for stage in range(STAGES) for name in CLASSES]
    columns += [f"stage {stage} log2 channels" for stage in range(STAGES)]
    columns += [f"{how} {name} on a path" for how in ("most", "fewest", "mean") for name in CLASSES]
    columns += [f"walks {first} to {second}" for first in STEPS for second in STEPS]
    return (*columns, "log2 paths")


def statistics(graph: Graph) -> Array:
    """Return the statistics (len(names()),) of one graph.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> values = statistics(archrank.trace(net, (3, 32, 32)))
        >>> float(values[names().index("most conv3 on a path")])
        1.0
    """
    classes = classes_of(graph)
    nodes = alive(graph).nodes
    sizes = [graph.params, graph.flops, graph.activations, len(graph), len(nodes), graph.depth]
    return np.concatenate(
        [
            np.log2(1.0 + np.array(sizes, dtype=np.float64)),
            _stages(graph, classes, nodes),
            _paths(graph),
        ]
    )


def _stages(graph: Graph, classes: npt.NDArray[np.int64], nodes: npt.NDArray[np.int64]) -> Array:
    """Return alive operators of each class per stage, then the mean log2 of channels per stage."""
    made = resolution(graph)
    extent = np.maximum(made[:, 1], made[:, 3])
    largest = extent[graph.operator == CANONICAL_ID["input"]].max(initial=1.0)
    halvings = np.log2(np.maximum(largest / np.maximum(extent, 1.0), 1.0))
    stage = np.minimum(np.round(halvings), STAGES - 1).astype(np.int64)
    counts = np.zeros((STAGES, len(CLASSES)))
    np.add.at(counts, (stage[nodes], classes[nodes]), 1.0)
    weighted = nodes[classes[nodes] <= CLASSES.index("product")]
    total = np.bincount(stage[weighted], np.log2(1.0 + made[weighted, 5]), STAGES)
    number = np.bincount(stage[weighted], minlength=STAGES)
    return np.concatenate([counts.ravel(), total / np.maximum(number, 1)])


def _paths(graph: Graph) -> Array:
    """Return the counts on paths by class, how often classes follow each other, and log2 paths."""
    counts = np.zeros((3, len(CLASSES)))
    last, follows = np.zeros(len(STEPS)), np.zeros((len(STEPS), len(STEPS)))
    paths = 0.0
    for block in blocks(graph):
        through = _through(block)
        counts += through.counts
        follows += through.follows + last[:, None] * through.first
        last = through.last + through.without * last
        paths += through.log_paths
    return np.concatenate([counts.ravel(), follows.ravel(), [paths]])


class _Through(NamedTuple):
    """Walks through a block, from the last node of the previous block to its own last node.

    Attributes:
        counts: (3, classes), the largest, the smallest and the mean number of operators of each
            class.
        first, last: (steps,) the shares of walks whose first and last step is of each class.
        without: the share of walks without a step.
        follows: (steps, steps) the number of times that each class follows each other class.
        log_paths: log2 of the number of paths.
    """

    counts: Array
    first: Array
    last: Array
    without: float
    follows: Array
    log_paths: float


@lru_cache(maxsize=KEPT)
def _through(block: Block) -> _Through:
    steps = len(STEPS)
    entry = _Through(
        *(np.zeros((3, len(CLASSES))), np.zeros(steps), np.zeros(steps), 1.0),
        *(np.zeros((steps, steps)), 0.0),
    )
    walks: list[_Through] = []
    for operator, operands in block.nodes():
        met = [walks[i] if i >= 0 else entry for i in operands] or [entry]
        counts, first, last, without, follows, log_paths = met[0]
        if len(met) > 1:
            several = np.array([walk.counts for walk in met])
            counts = np.stack(
                [several[:, 0].max(axis=0), several[:, 1].min(axis=0), several[:, 2].mean(axis=0)]
            )
            first, last, follows = (
                np.add.reduce([getattr(walk, name) for walk in met]) / len(met)
                for name in ("first", "last", "follows")
            )
            without = sum(walk.without for walk in met) / len(met)
            log_paths = float(np.logaddexp2.reduce([walk.log_paths for walk in met]))
        if operands and operator < len(CLASSES):  # inputs are not operators
            counts = counts.copy()
            counts[:, operator] += 1.0
        if operator < steps:
            first, follows = first.copy(), follows.copy()
            first[operator] += without
            follows[:, operator] += last
            last, without = np.zeros(steps), 0.0
            last[operator] = 1.0
        walks.append(_Through(counts, first, last, without, follows, log_paths))
    return walks[-1]
