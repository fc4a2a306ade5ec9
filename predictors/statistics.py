"""What a graph says in numbers, without learning: the features of tabular predictors.

Only what carries signal counts: a node is alive if a path from an input to an output goes through
it without a product with zero. Of every kind of operator the statistics hold how many are alive in
each stage (output size relative to the input's), and how many lie on paths: the most, the fewest,
and the mean over random walks from output to input that take any operand alike. Walks also say
which kind follows which. All of it is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..graphs import Graph
from ..graphs.features import resolution
from ..graphs.operators import CANONICAL, CANONICAL_ID, NORMS, RECTIFIERS
from .memory import once_per_graph

Array = npt.NDArray[np.float64]

KINDS = (
    *("conv1", "conv3", "conv5", "depthwise3", "depthwise5", "linear", "product"),
    *("max_pool", "avg_pool", "norm", "activation", "add", "mul", "concat", "other"),
)
"""Classes of operators that statistics tell apart; 5 stands for 5 and more."""
STEPS = KINDS[:9]
"""The kinds that walks are words of."""
STAGES = 5
_SIZES = ("params", "flops", "activations", "nodes", "alive", "depth")
_UNREACHED = -1e9


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """What each column of :func:`statistics` is, in order."""
    columns = [f"log2 {name}" for name in _SIZES]
    columns += [f"stage {stage} {kind}" for stage in range(STAGES) for kind in KINDS]
    columns += [f"stage {stage} log2 channels" for stage in range(STAGES)]
    columns += [f"{how} {kind} on a path" for how in ("most", "fewest", "mean") for kind in KINDS]
    columns += [f"walks {first} to {second}" for first in STEPS for second in STEPS]
    return (*columns, "log2 paths")


def statistics(graph: Graph) -> Array:
    """Statistics (len(names()),) of one graph.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> values = statistics(archrank.trace(net, (3, 32, 32)))
        >>> float(values[names().index("most conv3 on a path")])
        1.0
    """
    kinds = kinds_of(graph)
    operands = alive_operands(graph)
    alive = np.fromiter((node is not None for node in operands), bool, len(graph))
    sizes = [graph.params, graph.flops, graph.activations, len(graph), alive.sum(), graph.depth]
    return np.concatenate(
        [
            np.log2(1.0 + np.array(sizes, dtype=np.float64)),
            _stages(graph, kinds, alive),
            _paths(graph, kinds, operands),
        ]
    )


@once_per_graph
def kinds_of(graph: Graph) -> npt.NDArray[np.int64]:
    """The position in :data:`KINDS` of each node."""
    kinds = _kind_of_operator()[graph.operator]
    kernel = graph.attributes[:, :3].max(axis=1)
    convolution = (kinds == KINDS.index("conv1")) & (kernel > 1)
    kinds[convolution & (kernel <= 3)] = KINDS.index("conv3")
    kinds[convolution & (kernel > 3)] = KINDS.index("conv5")
    kinds[(kinds == KINDS.index("depthwise3")) & (kernel > 3)] = KINDS.index("depthwise5")
    return kinds


@lru_cache(maxsize=1)
def _kind_of_operator() -> npt.NDArray[np.int64]:
    named = {
        **{f"conv{dims}d": "conv1" for dims in (1, 2, 3)},
        **{f"conv_transpose{dims}d": "conv1" for dims in (1, 2, 3)},
        **dict.fromkeys(("linear", "embedding", "lstm", "gru", "rnn"), "linear"),
        **dict.fromkeys(("matmul", "attention", "sparse_matmul"), "product"),
        **dict.fromkeys(NORMS, "norm"),
        **dict.fromkeys(RECTIFIERS, "activation"),
        **dict.fromkeys(("sigmoid", "hardsigmoid", "tanh", "softmax", "glu"), "activation"),
        **dict.fromkeys(("avg_pool", "global_avg_pool", "mean"), "avg_pool"),
        "depthwise_conv": "depthwise3",
        "max_pool": "max_pool",
        "add": "add",
        "mul": "mul",
        "concat": "concat",
    }
    return np.array([KINDS.index(named.get(name, "other")) for name in CANONICAL])


@once_per_graph
def alive_operands(graph: Graph) -> list[list[int] | None]:
    """The alive operands of each node, inputs none; None for nodes that are not alive."""
    n = len(graph)
    operands: list[list[int]] = [[] for _ in range(n)]
    for source, target in graph.edges.tolist():
        operands[target].append(source)
    zero, first = CANONICAL_ID["zero"], CANONICAL_ID["input"]
    reached = [False] * n
    for i, operator in enumerate(graph.operator.tolist()):
        operands[i] = [source for source in operands[i] if reached[source]]
        reached[i] = operator == first or (bool(operands[i]) and operator != zero)
    needed = [False] * n
    for i in np.flatnonzero(graph.operator == CANONICAL_ID["output"]).tolist():
        needed[i] = reached[i]
    for i in range(n - 1, -1, -1):
        if needed[i]:
            for source in operands[i]:
                needed[source] = True
    return [found if need else None for found, need in zip(operands, needed, strict=True)]


def _stages(graph: Graph, kinds: npt.NDArray[np.int64], alive: npt.NDArray[np.bool_]) -> Array:
    """Alive operators of each kind per stage, then the mean log2 of channels per stage."""
    made = resolution(graph)
    extent = np.maximum(made[:, 1], made[:, 3])
    largest = extent[graph.operator == CANONICAL_ID["input"]].max(initial=1.0)
    halvings = np.log2(np.maximum(largest / np.maximum(extent, 1.0), 1.0))
    stage = np.minimum(np.round(halvings), STAGES - 1).astype(np.int64)
    counts = np.zeros((STAGES, len(KINDS)))
    np.add.at(counts, (stage[alive], kinds[alive]), 1.0)
    weighted = alive & (kinds <= KINDS.index("product"))
    total = np.bincount(stage[weighted], np.log2(1.0 + made[weighted, 5]), STAGES)
    number = np.bincount(stage[weighted], minlength=STAGES)
    return np.concatenate([counts.ravel(), total / np.maximum(number, 1)])


def _paths(
    graph: Graph, kinds: npt.NDArray[np.int64], operands: Sequence[list[int] | None]
) -> Array:
    """Most, fewest and mean operators of each kind on paths; which follows which; log2 paths."""
    counts: dict[int, Array] = {}  # rows: most, fewest, mean
    last: dict[int, Array] = {}  # of which kind the latest step of a walk was
    follows: dict[int, Array] = {}
    paths: dict[int, float] = {}
    kind_of = kinds.tolist()
    steps = len(STEPS)
    for i, sources in enumerate(operands):
        if sources is None:
            continue
        kind = kind_of[i]
        if not sources:
            counts[i] = np.zeros((3, len(KINDS)))
            last[i], follows[i], paths[i] = np.zeros(steps), np.zeros((steps, steps)), 1.0
            continue
        one = sources[0]
        if len(sources) == 1:
            counts[i] = counts[one].copy()
            last[i], follows[i], paths[i] = last[one], follows[one], paths[one]
        else:
            several = np.array([counts[s] for s in sources])
            share = 1.0 / len(sources)
            counts[i] = np.empty((3, len(KINDS)))
            several[:, 0].max(axis=0, out=counts[i][0])
            several[:, 1].min(axis=0, out=counts[i][1])
            several[:, 2].mean(axis=0, out=counts[i][2])
            last[i] = np.add.reduce([last[s] for s in sources]) * share
            follows[i] = np.add.reduce([follows[s] for s in sources]) * share
            paths[i] = sum(paths[s] for s in sources)
        counts[i][:, kind] += 1.0
        if kind < steps:
            follows[i] = follows[i].copy()
            follows[i][:, kind] += last[i]
            last[i] = np.zeros(steps)
            last[i][kind] = 1.0
    outputs = np.flatnonzero(graph.operator == CANONICAL_ID["output"]).tolist()
    ends = [i for i in outputs if i in counts]
    if not ends:
        return np.zeros(3 * len(KINDS) + steps * steps + 1)
    return np.concatenate(
        [
            np.maximum.reduce([counts[i][0] for i in ends]),
            np.minimum.reduce([counts[i][1] for i in ends]),
            np.mean([counts[i][2] for i in ends], axis=0),
            np.mean([follows[i] for i in ends], axis=0).ravel(),
            [np.log2(sum(paths[i] for i in ends))],
        ]
    )
