"""Graph isomorphism network."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GINConv

from ....errors import checked_choice
from ..batches import GraphBatch
from .contract import READOUTS, Counts, Encoder, mean_of_nodes
from .direction import Directed


class GINEncoder(Encoder):
    """GIN layers with residuals, then the mean of the nodes.

        h_v <- h_v + MLP((1 + eps) g_v + sum_{u -> v} g_u),  g = LayerNorm(h)

    The paper has BatchNorm and the sum over nodes. With LayerNorm, the embedding of a graph does
    not depend on the other graphs of its batch. With the mean, the embedding does not grow with the
    size of the graph. Both are our choice.

    Args:
        width: size of all vectors.
        layers: the number of layers.
        embedder: ``"default"`` or ``"gennape"``.
        direction: ``"both"`` for messages along and against the edges with separate weights,
            because the worth of an operator also depends on its consumers (our choice), or
            ``"forward"``.
        statistics, context, dropout: see ``Encoder``.
        readout: ``"mean"`` for the mean of the nodes, or ``"counts"`` for their mean and the counts
            of nodes of learned kinds, which show the depth (``Counts``).

    Source: Xu et al., "How powerful are graph neural networks?", ICLR-19, eq. 4.1.

    Example:
        >>> GINEncoder(width=16, layers=2).width
        16
    """

    def __init__(
        self,
        *,
        width: int = 64,
        layers: int = 5,
        embedder: str = "default",
        direction: str = "both",
        statistics: int = 0,
        context: int = 0,
        dropout: float = 0.0,
        readout: str = "mean",
    ) -> None:
        super().__init__(
            width=width, embedder=embedder, statistics=statistics, context=context, dropout=dropout
        )
        self.layers = nn.ModuleList(
            Directed(lambda: GINConv(_perceptron(width), train_eps=True), direction)
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        checked_choice("readout", readout, READOUTS)
        self.readout = Counts(width) if readout == "counts" else None

    def graph_states(self, batch: GraphBatch) -> Tensor:
        """Return the mean of the nodes, or the mean and their counts, (graphs, width)."""
        states = self.node_states(batch)
        if self.readout is None:
            return mean_of_nodes(states, batch)
        return self.readout(states, batch)  # type: ignore[no-any-return]

    def node_states(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the nodes after all layers, (nodes, width)."""
        states = self.embed(batch)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            states = states + self.dropout(layer(norm(states), batch.edges))
        return self.norm(states)  # type: ignore[no-any-return]


def _perceptron(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
