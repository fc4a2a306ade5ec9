"""Node features for graph neural networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..basics import IntArray
from ..errors import InputError
from .arrays import ATTRIBUTES, Arrays
from .operators import CANONICAL, CANONICAL_ID, WEIGHTED, vocabulary

if TYPE_CHECKING:
    from torch_geometric.data import Data

_RESOLUTION_SCALE = np.array([256, 256, 256, 256, 512, 512], dtype=np.float32)
_MAX_KERNEL_ID = 7
_LONG_RANGE = 1.0 / 16


def resolution(graph: Arrays) -> np.ndarray:
    """Return (Hin, Hout, Win, Wout, Cin, Cout) of each node as float32 (n, 6), in elements.

    A 4-dimensional tensor is read as N, C, H, W, a 3-dimensional one as N, tokens, channels (H =
    tokens, W = 1), and a 2-dimensional one as N, C. In any other tensor, C is the last dimension
    and H is the product of the dimensions between N and C.
    """
    rows = np.ones((len(graph), 6), dtype=np.float32)
    for side, (flat, offsets) in enumerate(
        ((graph.in_shapes, graph.in_offsets), (graph.out_shapes, graph.out_offsets))
    ):
        height, width, channels = rows[:, side], rows[:, 2 + side], rows[:, 4 + side]
        for at, shapes in _by_rank(flat, offsets):
            if shapes.shape[1] == 4:
                height[at], width[at], channels[at] = shapes[:, 2], shapes[:, 3], shapes[:, 1]
            elif shapes.shape[1]:
                height[at], channels[at] = shapes[:, 1:-1].prod(axis=1), shapes[:, -1]
    return rows


def _by_rank(flat: IntArray, offsets: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the nodes of each number of dimensions, and their shapes as one array."""
    ranks = np.diff(offsets)
    for rank in np.unique(ranks).tolist():
        at = np.flatnonzero(ranks == rank)
        yield at, flat[offsets[at][:, None] + np.arange(rank)]


def output_elements(graph: Arrays) -> IntArray:
    """Return the number of output elements of each node (n,)."""
    elements = np.ones(len(graph), dtype=np.int64)
    for at, shapes in _by_rank(graph.out_shapes, graph.out_offsets):
        elements[at] = shapes.prod(axis=1)
    return elements


def owned_parameters(graph: Arrays) -> IntArray:
    """Return the number of parameters of each node (n,); shared ones belong to their first user."""
    owned = np.zeros(len(graph), dtype=np.int64)
    used, first = np.unique(graph.uses, return_index=True)
    node = np.searchsorted(graph.uses_offsets, first, side="right") - 1
    np.add.at(owned, node, graph.parameter_sizes[used])
    return owned


def to_pyg(graph: Arrays, features: str = "default") -> Data:
    """Return the graph as a torch-geometric ``Data`` with the node features of ``features``.

    ``"gennape"``: ``x`` (n, 6) the resolution divided by (256, 256, 256, 256, 512, 512),
    ``operator`` (n,) ids of GENNAPE's vocabulary, ``kernel`` (n, 2) kernel sizes clipped to 7,
    ``bias`` (n,) 0 or 1, ``weighted`` (n,) whether the node has a weight. Source: GENNAPE (AAAI-23)
    and its released code.

    ``"default"`` (our choice): ``operator`` ids of the default vocabulary, ``x`` (n, 26) =
    log2(1 + value) / 16 of resolution (6), FLOPs, parameters and output elements (3), all
    attributes (15), then the node's relative position and whether it has a weight.

    Both have ``edge_index`` (2, m), in which repeated edges appear once, and ``num_nodes``.

    Notes:
        In ``"gennape"`` two things are our choice. Nodes are in execution order; the released code
        puts weighted nodes first. Kernels over 7 are clipped; the released code fails on them.

    Raises:
        InputError: ``features`` is neither ``"gennape"`` nor ``"default"``.
    """
    from torch_geometric.data import Data

    n = len(graph)
    weighted = np.isin(graph.operator, [CANONICAL_ID[name] for name in sorted(WEIGHTED)])
    attributes = graph.attributes.astype(np.float32)
    if features == "gennape":
        ids = vocabulary("gennape")
        kernel = attributes[:, :2].clip(0, _MAX_KERNEL_ID).astype(np.int64)
        return Data(
            x=torch.from_numpy(resolution(graph) / _RESOLUTION_SCALE),
            operator=torch.tensor([ids.encode(CANONICAL[i]) for i in graph.operator]),
            kernel=torch.from_numpy(kernel),
            bias=torch.from_numpy(graph.attributes[:, ATTRIBUTES.index("bias")].astype(np.int64)),
            weighted=torch.from_numpy(weighted),
            edge_index=_edge_index(graph),
            num_nodes=n,
        )
    if features != "default":
        raise InputError(f"features: got {features!r}, expected 'default' or 'gennape'")
    counts = np.column_stack(
        [
            resolution(graph),
            graph.node_flops.astype(np.float32),
            owned_parameters(graph).astype(np.float32),
            output_elements(graph).astype(np.float32),
            attributes,
        ]
    )
    position = np.arange(n, dtype=np.float32) / max(n - 1, 1)
    x = np.column_stack([np.log2(1.0 + counts.clip(0)) * _LONG_RANGE, position, weighted])
    return Data(
        x=torch.from_numpy(x.astype(np.float32)),
        operator=torch.from_numpy(graph.operator.astype(np.int64)),
        edge_index=_edge_index(graph),
        num_nodes=n,
    )


def _edge_index(graph: Arrays) -> torch.Tensor:
    edges = np.unique(graph.edges, axis=0).astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(edges.reshape(-1, 2).T))
