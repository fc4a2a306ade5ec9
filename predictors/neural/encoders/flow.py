"""Directed graph flow, in which information flows through the graph like data and gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.utils import softmax

from ....graphs import CANONICAL
from ..batches import GraphBatch
from .contract import Encoder, mean_of_nodes
from .direction import reverse


class GraphFlow(nn.Module):
    """Dense graph flow: the operator of a node gates the sum of its inputs.

        X' = sigmoid(O W_o) * (A X W_x) + X W_x + b,   (A X)_v = sum_{u -> v} X_u

    Source: GATES (Ning et al., ECCV-20), with the residual of FLAN (Akhauri and Abdelfattah,
    "Encodings for prediction-based neural architecture search", ICML-24).

    Args:
        width: size of X and O.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, states: Tensor, operators: Tensor, edges: Tensor) -> Tensor:
        """Return (nodes, width), from states and operators of that shape and edges (2, m)."""
        value = self.value(states)
        source, target = edges
        arriving = torch.zeros_like(value).index_add(0, target, value.index_select(0, source))
        flown: Tensor = torch.sigmoid(self.gate(operators)) * arriving + value + self.bias
        return flown


class GatedAttention(nn.Module):
    """Graph attention that is gated by the node's operator.

        X'_v = LayerNorm(sigmoid(O_v W_o) * sum_{u -> v or u = v} a_uv W_p X_u)
        a_uv = softmax_u(LeakyReLU(w . (W_p X_u * W_p X_v)))

    Source: FLAN (ICML-24).

    Args:
        width: size of X and O.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, operators: Tensor, edges: Tensor) -> Tensor:
        """Return (nodes, width), from states and operators of that shape and edges (2, m)."""
        value = self.value(states)
        itself = torch.arange(len(states), device=states.device).expand(2, -1)
        source, target = torch.cat([edges, itself], 1)
        seen, looking = value.index_select(0, source), value.index_select(0, target)
        affinity = nn.functional.leaky_relu(self.score(seen * looking))
        weight = softmax(affinity, target, num_nodes=len(states))
        attended = torch.zeros_like(value).index_add(0, target, weight * seen)
        gated: Tensor = self.norm(torch.sigmoid(self.gate(operators)) * attended)
        return gated


class Flow(nn.Module):
    """Layers that average graph flow and gated attention, in one direction.

    The input of each layer is normalised. Nodes of whole networks can have many operands, so sums
    over them would grow from layer to layer.

    Notes:
        The normalisation is our choice. The cells of FLAN are small.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.flows = nn.ModuleList(GraphFlow(width) for _ in range(layers))
        self.attentions = nn.ModuleList(GatedAttention(width) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, operators: Tensor, edges: Tensor) -> Tensor:
        """Return (nodes, width)."""
        for norm, flow, attention in zip(self.norms, self.flows, self.attentions, strict=True):
            normed = norm(states)
            both = flow(normed, operators, edges) + attention(normed, operators, edges)
            states = states + self.dropout(both / 2)
        return self.last(states)  # type: ignore[no-any-return]


class FlowEncoder(Encoder):
    """A flow along the edges and a flow against them, each read out where it ends.

        forward, backward = Flow(X, O, edges), Flow'(X, O, reversed edges)
        embedding = Linear([forward at the outputs, backward at the inputs, mean of each])

    Outputs are the nodes without consumers, and inputs are the nodes without operands. Several
    outputs or inputs are averaged. A flow with L layers reaches only L edges far, so the means over
    all nodes are read out as well. Time and memory are linear in the number of nodes and edges.

    Args:
        width: size of all vectors.
        layers: the number of layers of each flow.
        embedder: ``"default"`` or ``"gennape"``, for X; O is an embedding of the operator.
        statistics, context, dropout: see ``Encoder``.

    Source: GATES (ECCV-20) for the flow; FLAN (ICML-24) for the added attention and for the
    reversed graph.

    Notes:
        Norms, residuals and the readout are our choice.

    Example:
        >>> FlowEncoder(width=16, layers=2).width
        16
    """

    def __init__(
        self,
        *,
        width: int = 64,
        layers: int = 4,
        embedder: str = "default",
        statistics: int = 0,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            width=width, embedder=embedder, statistics=statistics, context=context, dropout=dropout
        )
        self.operator = nn.Embedding(len(CANONICAL), width)
        self.along = Flow(width, layers, dropout)
        self.against = Flow(width, layers, dropout)
        self.ends = nn.Linear(4 * width, width)

    def flows(self, batch: GraphBatch) -> tuple[Tensor, Tensor]:
        """Return the states of the nodes after each flow, along the edges and against them."""
        states, operators = self.embed(batch), self.operator(batch.operator)
        along: Tensor = self.along(states, operators, batch.edges)
        against: Tensor = self.against(states, operators, reverse(batch.edges))
        return along, against

    def node_states(self, batch: GraphBatch) -> Tensor:
        """Return the mean of the two flows, (nodes, width)."""
        along, against = self.flows(batch)
        return (along + against) / 2

    def graph_states(self, batch: GraphBatch) -> Tensor:
        """Return a linear function of the ends and means of both flows, (graphs, width)."""
        along, against = self.flows(batch)
        source, target = batch.edges
        parts = [
            mean_of_nodes(along, batch, _absent(source, batch)),
            mean_of_nodes(against, batch, _absent(target, batch)),
            mean_of_nodes(along, batch),
            mean_of_nodes(against, batch),
        ]
        return self.ends(torch.cat(parts, 1))  # type: ignore[no-any-return]


def _absent(nodes: Tensor, batch: GraphBatch) -> Tensor:
    """Return bool (nodes,): the nodes of the batch that are not among ``nodes``."""
    result = torch.ones(len(batch), dtype=torch.bool, device=nodes.device)
    result[nodes] = False
    return result
