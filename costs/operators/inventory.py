"""What a network is charged for: its operators by class and by exact size, and its whole size.

Unlike the statistics that predict accuracy, these count every operator, whether or not a signal
passes it: most devices compute it. What is left of it after a compiler is counted apart. Which of
several things the compiler of a device does is not known; measurements decide what counts.

Notes:
    What compilers do is inferred from measured cells of NAS-Bench-201 (``experiments/cost.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...graphs import Graph
from ...graphs.arrays import ATTRIBUTES
from ...graphs.features import output_elements, owned_parameters
from ...graphs.operators import CANONICAL_ID, RECTIFIERS
from ...predictors.features.cache import once_per_graph
from ...predictors.features.operator_classes import CLASSES, classes_of

Mask = npt.NDArray[np.bool_]

_KERNEL, _STRIDE, _GROUPS = (ATTRIBUTES.index(name) for name in ("kernel0", "stride0", "groups"))

_POINTWISE = RECTIFIERS | {"sigmoid", "hardsigmoid", "tanh"}
_REPEATABLE = _POINTWISE | {"max_pool", "avg_pool", "global_avg_pool"}
"""What computes the same of the same operand."""
_WEIGHTED = frozenset(("conv1d", "conv2d", "conv3d", "depthwise_conv", "linear"))
"""What a factor can be moved into the weights of."""


class Inventory(NamedTuple):
    """The operators of one graph.

    Attributes:
        sizes: log(1 + x) of FLOPs, parameters, output elements, operators, depth and activations.
        classes: operators, FLOPs and output elements of each of ``CLASSES``.
        unused: the same of operators that ``needed`` leaves out; log(1 + x) of FLOPs, parameters,
            output elements and operators of the others.
        scaled: as ``classes``, of what a compiler runs that leaves unused operators out, but moves
            products with zero into the weights before them.
        read: the same, of a compiler that is not thorough.
        apart: what that one may run beside: operators and output elements of activations of what
            others read, too, of sums with zeros that stand first, and later; shapes of zeros.
        operators: how often each operator of exactly this size occurs, by its name.
    """

    sizes: Array
    classes: Array
    unused: Array
    scaled: Array
    read: Array
    apart: Array
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
    thorough, plain = program(graph, thorough=True), program(graph, thorough=False)
    kept = here & thorough.runs
    columns = np.stack([np.ones(len(graph)), graph.node_flops, output_elements(graph)], axis=1)
    classes = classes_of(graph)

    def by_class(nodes: Mask) -> Array:
        """Return operators, FLOPs and output elements of each class."""
        totals = np.zeros((len(CLASSES), columns.shape[1]))
        np.add.at(totals, classes[nodes], columns[nodes])
        return totals.T.ravel()

    whole = [graph.flops, graph.params, columns[here][:, 2].sum(), here.sum()]
    rest = [*columns[kept][:, 1:].sum(axis=0), owned_parameters(graph)[kept].sum(), kept.sum()]
    extra = [plain.apart, plain.sums_with_zeros(first=True), plain.sums_with_zeros(first=False)]
    return Inventory(
        np.log1p(np.array([*whole, graph.depth, graph.activations], dtype=np.float64)),
        by_class(here),
        np.concatenate([by_class(here & ~kept), np.log1p(rest)]),
        by_class(kept | (here & thorough.scaled)),
        by_class(here & plain.runs),
        np.append([columns[nodes][:, ::2].sum(axis=0) for nodes in extra], plain.shapes_of_zeros),
        operators(graph),
    )


def operators(graph: Graph) -> dict[str, float]:
    """Return how often each operator of exactly one size occurs, by its name."""
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
    """Return each node's shape without its batch dimension."""
    sizes, ends = flat.tolist(), offsets.tolist()
    return ["x".join(map(str, sizes[start + 1 : end])) or "1" for start, end in pairwise(ends)]


# --- what compilers leave -------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """The nodes of a graph as a compiler sees them; ``program`` makes one.

    Attributes:
        names: the operator of each node.
        read: the nodes that each one reads.
        sources: the same, what equals another node replaced by it.
        same: the node that has the result of each.
        zero: whether the result is known to be zeros.
    """

    names: Sequence[str]
    read: Sequence[Sequence[int]]
    sources: Sequence[Sequence[int]]
    same: Sequence[int]
    zero: Mask

    @cached_property
    def reached(self) -> Mask:
        """Which nodes an output reads, not through zeros."""
        return self._reached(np.array([name == "output" for name in self.names]))

    @cached_property
    def runs(self) -> Mask:
        """Which nodes must run: those that an output reads, but for zeros."""
        runs: Mask = self.reached & ~self.zero
        return runs

    @cached_property
    def scaled(self) -> Mask:
        """Which nodes run only because a product with zero was moved into the weights before it.

        The result of such a convolution is no longer known to be zeros. Nothing but products with
        zero reads it. What it reads runs, too.
        """
        readers: list[set[str]] = [set() for _ in self.names]
        for node, sources in enumerate(self.sources):
            if self.same[node] == node:
                for source in sources:
                    readers[source].add(self.names[node])
        ends = [names == {"zero"} and self._weighted(at) for at, names in enumerate(readers)]
        found: Mask = self._reached(np.array(ends)) & ~self.zero & ~self.runs
        return found

    @cached_property
    def apart(self) -> Mask:
        """Which activations need a kernel of their own, since others read their operand, too."""
        readers: list[list[int]] = [[] for _ in self.names]
        for node in np.flatnonzero(self.runs).tolist():
            for source in self.sources[node]:
                readers[source].append(node)
        found = np.zeros(len(self.names), dtype=np.bool_)
        for nodes in readers:
            found[nodes] = len(nodes) > 1
        pointwise: Mask = found & np.array([name in _POINTWISE for name in self.names])
        return pointwise

    def sums_with_zeros(self, first: bool) -> Mask:
        """Return which running nodes are sums of one thing and zeros, with the zeros first or
        later."""
        found = np.zeros(len(self.names), dtype=np.bool_)
        for node, name in enumerate(self.names):
            if name == "add" and self.same[node] != node and self.reached[self.same[node]]:
                found[node] = self.zero[self.same[self.read[node][0]]] == first
        return found

    @cached_property
    def shapes_of_zeros(self) -> int:
        """How many nodes zeros in the sums of running nodes have their shape of."""
        sums = [n for n, name in enumerate(self.names) if name == "add"]
        zeros = {z for n in sums if self.reached[self.same[n]] for z in self.read[n]}
        shapes = [self.read[z] for z in zeros if self.names[z] == "zero"]
        return len({self.same[source] for read in shapes for source in read})

    def _weighted(self, node: int) -> bool:
        """Tell whether a node is a convolution, perhaps with its normalisation."""
        while self.names[node] == "batch_norm":
            node = self.sources[node][0]
        return self.names[node] in _WEIGHTED

    def _reached(self, ends: Mask) -> Mask:
        """Return which nodes the ends read, not through zeros."""
        reached = ends.copy()
        for node in range(len(self.names) - 1, -1, -1):
            if reached[node] and not self.zero[node]:
                reached[list(self.sources[node])] = True
        return reached


def program(graph: Graph, thorough: bool) -> Program:
    """Return the nodes of a graph as a compiler sees them.

    A sum of one thing and zeros is that thing. A thorough compiler also knows that a sum of zeros
    is zeros, and computes nothing twice. Another one knows zeros only where one node alone reads
    them, and makes all others.
    """
    read: list[list[int]] = [[] for _ in range(len(graph))]
    for source, target in graph.edges.tolist():
        read[target].append(source)
    names = graph.operators
    sources, same = [list(some) for some in read], list(range(len(graph)))
    first: dict[tuple[object, ...], int] = {}
    readers = np.bincount(graph.edges[:, 0], minlength=len(graph))
    zero = np.array([name == "zero" for name in names]) & (thorough | (readers == 1))
    for node, name in enumerate(names):
        taken = sources[node] = [same[source] for source in read[node]]
        if thorough and name in _REPEATABLE:
            same[node] = first.setdefault((name, graph.attributes[node].tobytes(), *taken), node)
        elif name == "add" and zero[taken].any():
            others = [source for source in taken if not zero[source]]
            zero[node] = thorough and not others
            same[node] = others[0] if len(others) == 1 else node
            sources[node] = taken if thorough else others
        elif name == "zero" and not zero[node]:
            sources[node] = []  # all that they need is a shape
    return Program(names, read, sources, same, zero)


def needed(graph: Graph) -> Mask:
    """Return which nodes a thorough compiler must run, in turn.

    What reads zeros is run all the same: it is seldom known what it makes of them.

    Example:
        >>> from archrank.data import space
        >>> cell = "|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|"
        >>> graph = space("nasbench201").graph(cell)
        >>> runs = needed(graph)
        >>> sorted({name for name, run in zip(graph.operators, runs) if not run})
        ['add', 'batch_norm', 'conv2d', 'relu', 'zero']
    """
    return program(graph, thorough=True).runs
