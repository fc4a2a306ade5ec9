"""Graph transformer with Laplacian positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax, to_dense_batch

from ....errors import InputError
from ..batches import GraphBatch
from .contract import Encoder
from .direction import undirected
from .gat import GATLayers


class GraphAttention(nn.Module):
    """Multi-head attention in which some heads see the whole graph, and some see only neighbours.

        head(v) = sum_u softmax_u(q_v . k_u / sqrt(d) + log m_u) v_u     over all nodes u
        edge head(v) = sum_u softmax_u(q_v . k_u / sqrt(d)) v_u          over v and its neighbours

    ``m`` is the multiplicity: a node that represents several nodes counts as several.

    Args:
        width: size of the vectors, a multiple of ``heads``.
        heads: the number of all heads.
        edge_heads: the number of heads that attend along edges only.
    """

    def __init__(self, width: int, heads: int, edge_heads: int) -> None:
        super().__init__()
        self.heads, self.edge_heads = heads, edge_heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor, batch: GraphBatch, edges: Tensor, large: Tensor) -> Tensor:
        """Return the new states (nodes, width).

        Args:
            states: (nodes, width).
            batch: the batch of the nodes.
            edges: (2, e), the pairs (key, query) of edge heads.
            large: bool (nodes,), the nodes of graphs that are too large for all heads but edge
                heads.
        """
        parts = self.project(states).view(len(states), 3, self.heads, -1)
        some, rest = parts[:, :, : self.edge_heads], parts[:, :, self.edge_heads :]
        found = [_along_edges(some, edges)]
        if rest.shape[2]:
            found.append(_everywhere(rest, batch, ~large))
            if large.any():
                found[1] = found[1] + _along_edges(rest, edges[:, large[edges[1]]])
        return self.out(torch.cat(found, 1).flatten(1))  # type: ignore[no-any-return]


def _along_edges(parts: Tensor, edges: Tensor) -> Tensor:
    """Return attention (nodes, heads, d) along edges; it is 0 for nodes without edges.

    ``parts`` are the queries, keys and values (nodes, 3, heads, d).
    """
    query, key, value = parts.unbind(1)
    seen, looking = edges
    products = query.index_select(0, looking) * key.index_select(0, seen)
    affinity = products.sum(-1) / math.sqrt(query.shape[-1])
    weight = softmax(affinity, looking, num_nodes=len(parts))
    found = weight[..., None] * value.index_select(0, seen)
    return torch.zeros_like(value).index_add(0, looking, found)


def _everywhere(parts: Tensor, batch: GraphBatch, chosen: Tensor) -> Tensor:
    """Return attention among the chosen nodes of each graph; it is 0 elsewhere."""
    rows = chosen.nonzero()[:, 0]
    result = torch.zeros_like(parts[:, 0])
    if len(rows) == 0:
        return result
    graph = batch.graph[rows].unique_consecutive(return_inverse=True)[1]
    dense, real = to_dense_batch(parts[rows], graph)
    bias, _ = to_dense_batch(batch.multiplicity[rows].log(), graph, fill_value=-math.inf)
    query, key, value = dense.permute(2, 0, 3, 1, 4)
    attended = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias[:, None, None, :]
    )
    return result.index_add(0, rows, attended.transpose(1, 2)[real])


class TransformerLayer(nn.Module):
    """Attention and a feed-forward network, each with a norm before it and a residual around it."""

    def __init__(
        self, width: int, heads: int, edge_heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = GraphAttention(width, heads, edge_heads)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, batch: GraphBatch, edges: Tensor, large: Tensor) -> Tensor:
        """Return the new states (nodes, width)."""
        attended = self.attention(self.norms[0](states), batch, edges, large)
        states = states + self.dropout(attended)
        return states + self.dropout(self.feedforward(self.norms[1](states)))  # type: ignore[no-any-return]


class TransformerEncoder(Encoder):
    """A transformer over the nodes, with positions, a graph attention branch and edge heads.

        tokens = E(nodes) + W positions + GAT(E(nodes))
        embedding = mean_v LayerNorm(layers(tokens))_v

    Heads that see whole graphs need memory that is quadratic in the nodes of a batch's largest
    graph. In graphs of more than ``dense_nodes`` nodes, all heads attend along edges only, whatever
    else is in the batch. Batches of graphs of similar size waste the least memory.

    The sign of an eigenvector is arbitrary. In training, signs are drawn anew for each graph; in
    evaluation, they are as given (``neural/positions.py``).

    Args:
        width: size of all vectors, a multiple of ``heads``.
        layers, heads: the numbers of layers and heads.
        edge_heads: the number of heads that attend along edges only, in both directions.
        branch: the number of GATv2 layers beside the tokens.
        feedforward: the inner width of the feed-forward layers; ``4 * width`` by default.
        positions: the number of Laplacian positions that batches must have
            (``GraphTensors.of(graph, positions=8)``); 0 for none.
        dense_nodes: the largest number of nodes for which heads see the whole graph.
        embedder: ``"default"`` or ``"gennape"``.
        statistics, context, dropout: see ``Encoder``.

    Raises:
        InputError: ``heads`` do not divide ``width``, or ``edge_heads`` is not in [0, heads].

    Source: PINAT (Lu et al., AAAI-23) for tokens and the two kinds of heads.

    Notes:
        The norms before the layers, GATv2 and ``dense_nodes`` are our choice.

    Example:
        >>> TransformerEncoder(width=16, heads=2, edge_heads=1, layers=1).width
        16
    """

    def __init__(
        self,
        *,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
        edge_heads: int = 2,
        branch: int = 3,
        feedforward: int | None = None,
        positions: int = 8,
        dense_nodes: int = 1024,
        embedder: str = "default",
        statistics: int = 0,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            width=width, embedder=embedder, statistics=statistics, context=context, dropout=dropout
        )
        if not 0 <= edge_heads <= heads:
            raise InputError(f"edge_heads: got {edge_heads}, expected 0 to heads = {heads}")
        self.positions, self.dense_nodes = positions, dense_nodes
        self.place = nn.Linear(positions, width, bias=False) if positions else None
        self.branch = GATLayers(width, branch, heads, "both", dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, edge_heads, feedforward or 4 * width, dropout)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def node_states(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the nodes after all layers, (nodes, width)."""
        states = self._tokens(batch)
        itself = torch.arange(len(batch), device=states.device).expand(2, -1)
        edges = torch.cat([undirected(batch.edges), itself], 1)
        large = (torch.bincount(batch.graph) > self.dense_nodes)[batch.graph]
        for layer in self.layers:
            states = layer(states, batch, edges, large)
        return self.norm(states)  # type: ignore[no-any-return]

    def _tokens(self, batch: GraphBatch) -> Tensor:
        embedded = self.embed(batch)
        tokens: Tensor = embedded + self.branch(embedded, batch.edges)
        return tokens if self.place is None else tokens + self.place(self._signed(batch))

    def _signed(self, batch: GraphBatch) -> Tensor:
        positions = batch.positions
        if positions.shape[1] != self.positions:
            raise InputError(
                f"positions: got {positions.shape[1]} per node, expected {self.positions}; make "
                f"the graphs with GraphTensors.of(graph, positions={self.positions})"
            )
        if not self.training:
            return positions
        coins = torch.randint(2, (batch.count, self.positions), device=positions.device)
        return positions * (2 * coins - 1)[batch.graph]
