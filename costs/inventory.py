"""What a network is charged for: its operators by kind and by exact size, and its whole size.

Unlike the statistics that predict accuracy, these count every operator, whether or not a signal
passes it: most devices compute it. Unused operators are counted apart, since a compiler may leave
them out: those that no output reads, zeros and sums with them, and repeated computations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..basics import Array
from ..graphs import Graph
from ..graphs.arrays import ATTRIBUTES
from ..graphs.features import output_elements, owned_parameters
from ..graphs.operators import CANONICAL_ID
from ..predictors.features.cache import once_per_graph
from ..predictors.features.operator_classes import CLASSES, classes_of

_KERNEL, _STRIDE, _GROUPS = (ATTRIBUTES.index(name) for name in ("kernel0", "stride0", "groups"))

_REPEATABLE = frozenset(
    (
        *("relu", "relu6", "gelu", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh"),
        *("max_pool", "avg_pool", "global_avg_pool"),
    )
)
"""What computes the same of the same operand."""


class Inventory(NamedTuple):
    """The operators of one graph.

    Attributes:
        sizes: log(1 + x) of FLOPs, parameters, output elements, operators, depth and activations.
        kinds: operators, FLOPs and output elements of each of
            ``CLASSES``.
        unused: the same of operators that ``needed`` leaves out; log(1 + x) of FLOPs, parameters,
            output elements and operators of the others.
        operators: how often each operator of exactly this size occurs, by its name.
    """

    sizes: Array
    kinds: Array
    unused: Array
    operators: dict[str, float]


@once_per_graph
def inventory(graph: Graph) -> Inventory:
    """Count the operators of a graph.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> for name, count in inventory(archrank.trace(net, (3, 32, 32))).operators.items():
        ...     print(count, name)
        1.0 conv2d 3x3 3x32x32 to 8x30x30
        1.0 relu 8x30x30 to 8x30x30
    """
    here = ~np.isin(graph.operator, [CANONICAL_ID["input"], CANONICAL_ID["output"]])
    kept = here & needed(graph)
    elements = output_elements(graph)
    columns = np.stack([np.ones(len(graph)), graph.node_flops, elements], axis=1)
    kinds = classes_of(graph)
    totals, unused = np.zeros((len(CLASSES), 3)), np.zeros((len(CLASSES), 3))
    np.add.at(totals, kinds[here], columns[here])
    np.add.at(unused, kinds[here & ~kept], columns[here & ~kept])
    whole = [graph.flops, graph.params, elements[here].sum(), here.sum()]
    rest = [*columns[kept][:, 1:].sum(axis=0), owned_parameters(graph)[kept].sum(), kept.sum()]
    return Inventory(
        np.log1p(np.array([*whole, graph.depth, graph.activations], dtype=np.float64)),
        totals.T.ravel(),
        np.concatenate([unused.T.ravel(), np.log1p(rest)]),
        operators(graph),
    )


def needed(graph: Graph) -> npt.NDArray[np.bool_]:
    """Which nodes a compiler must run, in turn: those that an output reads, but for zeros, sums of
    which all but one operand are zeros, and activations and pools that another node computes, too.

    What reads zeros is run all the same: it is seldom known what it makes of them.

    Example:
        >>> from archrank.data import space
        >>> cell = "|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|"
        >>> graph = space("nasbench201").graph(cell)
        >>> runs = needed(graph)
        >>> sorted({name for name, run in zip(graph.operators, runs) if not run})
        ['add', 'batch_norm', 'conv2d', 'relu', 'zero']
    """
    sources: list[list[int]] = [[] for _ in range(len(graph))]
    for source, target in graph.edges.tolist():
        sources[target].append(source)
    names = graph.operators
    first: dict[tuple[object, ...], int] = {}
    same = list(range(len(graph)))  # the first node that has the result of each
    zero = np.array([name == "zero" for name in names])
    for node, name in enumerate(names):
        read = sources[node] = [same[source] for source in sources[node]]
        if name in _REPEATABLE:
            same[node] = first.setdefault((name, graph.attributes[node].tobytes(), *read), node)
        elif name == "add" and zero[read].any():
            others = [source for source in read if not zero[source]]
            zero[node] = not others
            same[node] = others[0] if len(others) == 1 else node
    reached = np.array([name == "output" for name in names])
    for node in range(len(graph) - 1, -1, -1):
        if reached[node] and not zero[node]:
            reached[sources[node]] = True
    runs: npt.NDArray[np.bool_] = reached & ~zero
    return runs


def operators(graph: Graph) -> dict[str, float]:
    """How often each operator of exactly one size occurs, by its name."""
    counts = Counter(name for name in operator_names(graph) if name)
    return {name: float(count) for name, count in counts.items()}


def operator_names(graph: Graph) -> list[str]:
    """Return what each node is, with its size; empty for inputs and outputs."""
    rows = zip(
        graph.operators,
        graph.attributes.tolist(),
        _shapes(graph.in_shapes, graph.in_offsets),
        _shapes(graph.out_shapes, graph.out_offsets),
        strict=True,
    )
    return [
        ""
        if name in ("input", "output")
        else " ".join([name, *_options(attributes), f"{taken} to {made}"])
        for name, attributes, taken, made in rows
    ]


def counted(rows: Iterable[Mapping[str, float]], names: Iterable[str]) -> Array:
    """Return counts as a table (rows, names); what has no name here is left out.

    Example:
        >>> counted([{"relu": 2.0, "add": 1.0}, {}], ["add", "mul"]).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    place = {name: i for i, name in enumerate(names)}
    found = list(rows)
    table = np.zeros((len(found), len(place)))
    for row, counts in enumerate(found):
        for name, count in counts.items():
            if name in place:
                table[row, place[name]] = count
    return table


def _options(attributes: list[int]) -> list[str]:
    """Kernel, stride and groups, where an operator has them."""
    kernel = [str(size) for size in attributes[_KERNEL : _KERNEL + 3] if size]
    stride, groups = max(attributes[_STRIDE : _STRIDE + 3]), attributes[_GROUPS]
    made = ["x".join(kernel)] if kernel else []
    made += [f"stride {stride}"] if stride > 1 else []
    return made + ([f"groups {groups}"] if groups > 1 else [])


def _shapes(flat: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> list[str]:
    """Each node's shape without its batch dimension."""
    sizes, ends = flat.tolist(), offsets.tolist()
    return ["x".join(map(str, sizes[start + 1 : end])) or "1" for start, end in pairwise(ends)]
