"""Graphs as tensors, and mini-batches of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import InputError
from ..features.repeats import representatives
from .positions import laplacian_positions

if TYPE_CHECKING:
    from ...graphs import Graph

MOST_NODES = 16_384
"""The default of the largest number of nodes in a batch."""
_RELATIVE_POSITION = -2  # the column of the default features that differs between equal blocks


@dataclass(frozen=True, eq=False, kw_only=True)
class NodeTensors:
    """The tensors that encoders read, for n nodes and m edges.

    Attributes:
        operator: int64 (n,), ids of the default vocabulary; 0 is unknown.
        gennape_operator: int64 (n,), ids of GENNAPE's vocabulary; 0 is unknown.
        x: float32 (n, 26), log-scaled features (``Graph.to_pyg("default")``).
        resolution, kernel, bias, weighted: GENNAPE's features (``Graph.to_pyg("gennape")``).
        multiplicity: float32 (n,), the number of the network's nodes that each node represents.
        statistics: float32 (n, s), statistics of proxies; 0 where missing.
        present: float32 (n, s), 1 where the statistic is known, else 0.
        positions: float32 (n, k), Laplacian positions; k is 0 by default.
        edges: int64 (2, m), from operand to consumer.
    """

    operator: Tensor
    gennape_operator: Tensor
    x: Tensor
    resolution: Tensor
    kernel: Tensor
    bias: Tensor
    weighted: Tensor
    multiplicity: Tensor
    statistics: Tensor
    present: Tensor
    positions: Tensor
    edges: Tensor

    def __len__(self) -> int:
        return len(self.operator)


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphTensors(NodeTensors):
    """One graph as tensors.

    Example:
        >>> import torch
        >>> import archrank
        >>> graph = archrank.trace(torch.nn.Sequential(*[torch.nn.Linear(8, 8)] * 4), (8,))
        >>> tensors = GraphTensors.of(graph)
        >>> len(tensors), tensors.edges.shape
        (6, torch.Size([2, 5]))
    """

    @cached_property
    def key(self) -> str:
        """A digest that is equal for equal tensors."""
        told = blake2b(digest_size=16)
        for field in fields(self):
            array = getattr(self, field.name).numpy()
            told.update(repr(array.shape).encode())
            told.update(array.tobytes())
        return told.hexdigest()

    @classmethod
    def of(
        cls,
        graph: Graph,
        *,
        fold: bool = False,
        statistics: npt.ArrayLike | None = None,
        positions: int = 0,
    ) -> GraphTensors:
        """Return the tensors of ``graph``.

        With ``fold``, each run of equal blocks becomes one block (see
        ``archrank.predictors.features.repeats``). A node that represents several nodes has their
        number as ``multiplicity``. Its statistics and relative position are the means over these
        nodes.

        Args:
            graph: any graph.
            fold: whether to represent repeated blocks once.
            statistics: (len(graph), s), one row per node; values that are not finite are missing.
            positions: the number of Laplacian positions (``neural/positions.py``), of the folded
                graph if it is folded.

        Raises:
            InputError: ``statistics`` has another shape, or ``positions`` is negative.
        """
        values = _statistics(graph, statistics)
        if positions < 0:
            raise InputError(f"positions: got {positions}, expected 0 or more")
        default, gennape = graph.to_pyg("default"), graph.to_pyg("gennape")
        edges = default.edge_index.numpy().T
        stand = np.arange(len(graph))
        if fold:
            stand = representatives(_labels(graph, default.x.numpy()), edges)
        kept, group = np.unique(stand, return_inverse=True)
        edges = edges[np.isin(edges[:, 1], kept)]
        edges = np.column_stack([group[edges[:, 0]], group[edges[:, 1]]])
        multiplicity = np.bincount(group).astype(np.float32)
        known = np.isfinite(values)
        x = default.x.numpy()
        x[:, _RELATIVE_POSITION] = _group_means(x[:, [_RELATIVE_POSITION]], group)[group, 0]
        rows = torch.from_numpy(kept)
        return cls(
            operator=default.operator[rows],
            gennape_operator=gennape.operator[rows],
            x=default.x[rows],
            resolution=gennape.x[rows],
            kernel=gennape.kernel[rows],
            bias=gennape.bias[rows],
            weighted=gennape.weighted[rows],
            multiplicity=torch.from_numpy(multiplicity),
            statistics=torch.from_numpy(_group_means(values, group)),
            present=torch.from_numpy((_sums(known, group) > 0).astype(np.float32)),
            positions=torch.from_numpy(laplacian_positions(len(kept), edges, positions)),
            edges=torch.from_numpy(np.ascontiguousarray(edges.T)),
        )


def fold(
    graph: Graph, *, statistics: npt.ArrayLike | None = None, positions: int = 0
) -> GraphTensors:
    """Return ``GraphTensors.of`` with repeated blocks represented once.

    Example:
        >>> import torch
        >>> import archrank
        >>> layers = [torch.nn.Linear(8, 8) for _ in range(4)]
        >>> folded = fold(archrank.trace(torch.nn.Sequential(*layers), (8,)))
        >>> folded.multiplicity.tolist()    # input, one layer four times, output
        [1.0, 4.0, 1.0]
    """
    return GraphTensors.of(graph, fold=True, statistics=statistics, positions=positions)


def _statistics(graph: Graph, statistics: npt.ArrayLike | None) -> npt.NDArray[np.float32]:
    if statistics is None:
        return np.zeros((len(graph), 0), dtype=np.float32)
    values = np.asarray(statistics, dtype=np.float32)
    if values.ndim != 2 or len(values) != len(graph):
        raise InputError(
            f"statistics: got shape {values.shape}, expected one row per node: ({len(graph)}, s)"
        )
    return values


def _labels(graph: Graph, x: npt.NDArray[np.float32]) -> list[int]:
    """Return integers that are equal for nodes that differ only in position and wiring."""
    features = np.ascontiguousarray(np.delete(x, _RELATIVE_POSITION, axis=1))
    unknown = np.where(graph.operator == 0, graph.aten, -1)
    facts = zip(graph.operator.tolist(), unknown.tolist(), graph.signature.tolist(), strict=True)
    known: dict[tuple[object, ...], int] = {}
    return [
        known.setdefault((row.tobytes(), *fact), len(known))
        for row, fact in zip(features, facts, strict=True)
    ]


def _sums(values: npt.NDArray[np.generic], group: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    result = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(result, group, values)
    return result


def _group_means(
    values: npt.NDArray[np.float32], group: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the mean of each group's finite values; 0 for a group without any."""
    known = np.isfinite(values)
    means = _sums(np.where(known, values, 0), group) / _sums(known, group).clip(1)
    return np.asarray(means, dtype=np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphBatch(NodeTensors):
    """Several graphs together: nodes are concatenated, edges renumbered, and nothing is padded.

    Attributes:
        graph: int64 (nodes,), the graph of each node; ascending.
        count: the number of graphs.
        context: float32 (count, c) or None, further numbers for each graph.

    Example:
        >>> import torch
        >>> import archrank
        >>> graph = archrank.trace(torch.nn.ReLU(), (3, 8, 8))
        >>> batch = GraphBatch.of([GraphTensors.of(graph)] * 2)
        >>> batch.count, batch.graph.tolist(), batch.edges.tolist()
        (2, [0, 0, 0, 1, 1, 1], [[0, 1, 3, 4], [1, 2, 4, 5]])
    """

    graph: Tensor
    count: int
    context: Tensor | None = None

    @classmethod
    def of(cls, graphs: Sequence[GraphTensors], context: Tensor | None = None) -> GraphBatch:
        """Return the batch of ``graphs``.

        Args:
            graphs: at least one, all with the same numbers of statistics and positions.
            context: (len(graphs), c), one row per graph.

        Raises:
            InputError: there is no graph, they do not fit together, or ``context`` does not fit.
        """
        if not graphs:
            raise InputError("graphs: got none, expected at least 1")
        for name in ("statistics", "positions"):
            widths = sorted({getattr(one, name).shape[1] for one in graphs})
            if len(widths) > 1:
                raise InputError(
                    f"graphs: got graphs with {' and '.join(map(str, widths))} {name}, "
                    "expected equally many in all of a batch"
                )
        if context is not None and (context.ndim != 2 or len(context) != len(graphs)):
            raise InputError(
                f"context: got shape {tuple(context.shape)}, expected ({len(graphs)}, c): "
                "one row per graph"
            )
        sizes = torch.tensor([len(one) for one in graphs])
        starts = (sizes.cumsum(0) - sizes).tolist()
        joined = {
            field.name: torch.cat([getattr(one, field.name) for one in graphs])
            for field in fields(NodeTensors)
            if field.name != "edges"
        }
        return cls(
            **joined,
            edges=torch.cat(
                [one.edges + start for one, start in zip(graphs, starts, strict=True)], 1
            ),
            graph=torch.arange(len(graphs)).repeat_interleave(sizes),
            count=len(graphs),
            context=context,
        )

    def to(self, device: torch.device | str) -> GraphBatch:
        """Return the same batch on ``device``."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: t.to(device) for name, t in every.items() if isinstance(t, Tensor)}
        return GraphBatch(**{**every, **moved})


def batches(
    graphs: Sequence[Sized],
    size: int = 32,
    *,
    seed: int = 0,
    shuffle: bool = True,
    max_nodes: int = MOST_NODES,
    spread: float = 0.5,
) -> list[list[int]]:
    """Return mini-batches of graphs of similar size, as positions in ``graphs``.

    Each graph is in exactly one batch. Graphs are sorted by ``log2(nodes) + spread * u`` with ``u``
    uniform in [0, 1) and cut into batches, and the batches are shuffled. So sizes in a batch differ
    by up to ``spread`` doublings, and batches change with the seed. Training sees other batches in
    every epoch, and encoders that pad waste little. A batch of one size says nothing about how
    sizes compare. If a loss compares the graphs of a batch, prefer a large ``spread``, which costs
    nothing for encoders that do not pad.

    Batches are positions, not tensors, because labels and other data of the graphs must be cut in
    the same way.

    Notes:
        This is our choice.

    Args:
        graphs: ``GraphTensors`` or graphs; only their lengths are read.
        size: the largest number of graphs in a batch.
        seed: the seed of the order; use another one for every epoch.
        shuffle: whether batches are shuffled; otherwise they come in ascending size, and equal
            sizes in the given order.
        max_nodes: the largest number of nodes in a batch; a larger graph is a batch by itself.
        spread: the doublings of size that may be mixed; ``math.inf`` ignores size.

    Raises:
        InputError: ``size`` or ``max_nodes`` is below 1, or ``spread`` is negative.

    Example:
        >>> batches(["aaaa", "b", "cccc", "d", "eeeeeeeee"], 2, shuffle=False, max_nodes=8)
        [[1, 3], [0, 2], [4]]
    """
    for name, value in (("size", size), ("max_nodes", max_nodes)):
        if value < 1:
            raise InputError(f"{name}: got {value}, expected at least 1")
    if not spread >= 0:
        raise InputError(f"spread: got {spread}, expected 0 or more doublings")
    nodes = np.array([len(one) for one in graphs], dtype=np.int64)
    rank = np.log2(nodes.clip(1))
    random = np.random.default_rng(seed)
    if shuffle:
        noise = random.random(len(nodes))
        rank = noise if math.isinf(spread) else rank + spread * noise
        # Equal ranks, as with spread 0, come in random order too.
        order = np.lexsort((random.random(len(nodes)), rank))
    else:
        order = np.argsort(rank, kind="stable")
    cut = cut_in_order(order.tolist(), nodes.tolist(), size, max_nodes)
    return [cut[i] for i in random.permutation(len(cut))] if shuffle else cut


def cut_in_order(
    order: Iterable[int], nodes: Sequence[int], size: int, max_nodes: int = MOST_NODES
) -> list[list[int]]:
    """Return positions in order, cut into batches of limited numbers of graphs and nodes."""
    result: list[list[int]] = []
    room = 0
    for i in order:
        if not result or len(result[-1]) == size or nodes[i] > room:
            result.append([])
            room = max_nodes
        result[-1].append(i)
        room -= nodes[i]
    return result


class Keyed(Protocol):
    """An object with a key that is equal for equal objects."""

    @property
    def key(self) -> str: ...


def unique(graphs: Sequence[Keyed | Graph]) -> tuple[list[int], Tensor]:
    """Return the first of each set of equal graphs, and the one that each graph equals.

    ``encoded(firsts)[inverse]`` equals the encoding of all graphs, and costs less if some are
    equal.

    Args:
        graphs: ``GraphTensors``, compared by key, or graphs, compared by hash.

    Returns:
        The positions of the firsts, ascending, and int64 (len(graphs),), indices into the firsts.

    Example:
        >>> import torch
        >>> import archrank
        >>> relu, tanh = (archrank.trace(f(), (3, 8, 8)) for f in (torch.nn.ReLU, torch.nn.Tanh))
        >>> unique([relu, tanh, relu])
        ([0, 1], tensor([0, 1, 0]))
    """
    firsts: list[int] = []
    places: dict[str, int] = {}
    inverse: list[int] = []
    for i, one in enumerate(graphs):
        key = one.key if hasattr(one, "key") else one.hash
        if key not in places:
            places[key] = len(firsts)
            firsts.append(i)
        inverse.append(places[key])
    return firsts, torch.tensor(inverse, dtype=torch.int64)
