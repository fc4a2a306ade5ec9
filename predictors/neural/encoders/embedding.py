"""Embedders, which turn a node's operator and features into its first vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....errors import InputError
from ....graphs import ATTRIBUTES, vocabulary
from ..batches import GraphBatch

FEATURES = 11 + len(ATTRIBUTES)
"""Columns of the default features (``Graph.to_pyg``)."""

_KERNELS = 8


class StatisticsEmbedder(nn.Module):
    """A linear layer on the statistics of a node and their mask; the result is added to its vector.

        W [s * p, p] + b,  p = 1 where the statistic is known, else 0

    The sum equals a linear layer on the features with statistics and mask appended. The mask
    distinguishes a missing value from a known 0.

    Notes:
        This is our choice.
    """

    def __init__(self, statistics: int, width: int) -> None:
        super().__init__()
        self.statistics = statistics
        self.linear = nn.Linear(2 * statistics, width)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the embedded nodes (nodes, width)."""
        if batch.statistics.shape[1] != self.statistics:
            raise InputError(
                f"statistics: got {batch.statistics.shape[1]} per node, expected "
                f"{self.statistics}, for which the encoder was made"
            )
        known = batch.statistics * batch.present
        return self.linear(torch.cat([known, batch.present], 1))  # type: ignore[no-any-return]


class GennapeEmbedder(nn.Module):
    """GENNAPE's node embedder, of size 32.

        regular:   [operator (24), shape (8)]
        weighted:  [operator (14), shape (8), kernel_1 (4), kernel_2 (4), bias (2)]

    ``operator`` is an embedding of 32 ids, with one table for each kind of node. ``shape`` is one
    linear layer on the resolution, shared by both kinds. ``kernel`` is one embedding of 8 ids for
    both axes. ``bias`` is a linear layer on the one-hot flag. Multiplicity is ignored.

    Source: GENNAPE (Mills et al., AAAI-23), released code.

    Notes:
        If the width is not 32, a linear layer follows. This is our choice.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        ids = len(vocabulary("gennape"))
        self.regular = nn.Embedding(ids, 24)
        self.weighted = nn.Embedding(ids, 14)
        self.shape = nn.Linear(6, 8)
        self.kernel = nn.Embedding(_KERNELS, 4)
        self.bias = nn.Linear(2, 2)
        self.resize = nn.Identity() if width == 32 else nn.Linear(32, width)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the embedded nodes (nodes, width)."""
        operator, shape = batch.gennape_operator, self.shape(batch.resolution)
        bias = self.bias(nn.functional.one_hot(batch.bias, 2).to(shape.dtype))
        kernels = self.kernel(batch.kernel).flatten(1)
        regular = torch.cat([self.regular(operator), shape], 1)
        weighted = torch.cat([self.weighted(operator), shape, kernels, bias], 1)
        exact = torch.where(batch.weighted[:, None], weighted, regular)
        return self.resize(exact)  # type: ignore[no-any-return]


class DefaultEmbedder(nn.Module):
    """An embedding of the operator plus a linear layer on the log-scaled features.

        E[operator] + W [x, log2(multiplicity)] + b

    Notes:
        This is our choice.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.operator = nn.Embedding(len(vocabulary()), width)
        self.features = nn.Linear(FEATURES + 1, width)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the embedded nodes (nodes, width)."""
        x = torch.cat([batch.x, batch.multiplicity.log2()[:, None]], 1)
        return self.operator(batch.operator) + self.features(x)  # type: ignore[no-any-return]


class NodeEmbedder(nn.Module):
    """One of the embedders above, plus the embedder of statistics if there are any."""

    def __init__(self, nodes: nn.Module, statistics: nn.Module | None) -> None:
        super().__init__()
        self.nodes = nodes
        self.statistics = statistics

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the embedded nodes (nodes, width)."""
        embedded: Tensor = self.nodes(batch)
        return embedded if self.statistics is None else embedded + self.statistics(batch)


def node_embedder(name: str, width: int, statistics: int = 0) -> NodeEmbedder:
    """Return the embedder called ``name``: ``"default"`` or ``"gennape"``.

    Raises:
        InputError: ``name`` is neither.

    Example:
        >>> sum(p.numel() for p in node_embedder("gennape", 32).parameters())
        1310
    """
    kinds: dict[str, type[nn.Module]] = {"default": DefaultEmbedder, "gennape": GennapeEmbedder}
    if name not in kinds:
        raise InputError(f"embedder: got {name!r}, expected one of {', '.join(kinds)}")
    extra = StatisticsEmbedder(statistics, width) if statistics else None
    return NodeEmbedder(kinds[name](width), extra)
