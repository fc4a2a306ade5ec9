"""GENNAPE's k-GNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GraphConv

from ..batches import GraphBatch
from .contract import Encoder, mean_of_nodes
from .direction import checked, undirected


class KGNNEncoder(Encoder):
    """Six GraphConv layers with tanh, the mean of the nodes, and a post-projection.

        h_v <- tanh(W_1 h_v + W_2 sum_{u -> v} h_u + b)
        embedding = Linear(Linear(ReLU(Linear(Linear(mean_v h_v)))))

    The defaults are those of GENNAPE's released baseline, which has no dropout. The head of that
    baseline is another linear layer on the embedding.

    Args:
        width: size of all vectors.
        layers: the number of GraphConv layers.
        embedder: ``"gennape"``, the published one, or ``"default"``.
        direction: ``"forward"`` for messages from operand to consumer, the direction of GENNAPE's
            edges; or ``"both"`` for the same weights along and against the edges, as on an
            undirected graph.
        statistics, context, dropout: see ``Encoder``.

    Source: Morris et al., "Weisfeiler and Leman go neural", AAAI-19, eq. 4; GENNAPE (AAAI-23).

    Example:
        >>> sum(p.numel() for p in KGNNEncoder().parameters())
        18014
    """

    def __init__(
        self,
        *,
        width: int = 32,
        layers: int = 6,
        embedder: str = "gennape",
        direction: str = "forward",
        statistics: int = 0,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            width=width, embedder=embedder, statistics=statistics, context=context, dropout=dropout
        )
        self.direction = checked(direction)
        self.layers = nn.ModuleList(GraphConv(width, width) for _ in range(layers))
        self.projection = nn.Sequential(
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )

    def node_states(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the nodes after all layers, (nodes, width)."""
        edges = undirected(batch.edges) if self.direction == "both" else batch.edges
        states = self.embed(batch)
        for layer in self.layers:
            states = self.dropout(torch.tanh(layer(states, edges)))
        return states  # type: ignore[no-any-return]

    def graph_states(self, batch: GraphBatch) -> Tensor:
        """Return the post-projection of the mean, (graphs, width)."""
        mean = mean_of_nodes(self.node_states(batch), batch)
        return self.projection(mean)  # type: ignore[no-any-return]
