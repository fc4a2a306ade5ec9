"""Graph attention network, version 2."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from ....errors import InputError
from ..batches import GraphBatch
from .contract import Encoder
from .direction import Directed


class GATLayers(nn.Module):
    """GATv2 layers with residuals.

        h_v <- h_v + sum_{u -> v or u = v} a_uv W g_u,  g = LayerNorm(h)
        a_uv = softmax_u(w . LeakyReLU(W' g_u + W'' g_v)), one for each head, heads concatenated

    Args:
        width: size of the vectors, a multiple of ``heads``.
        layers, heads: the numbers of layers and heads.
        direction: ``"forward"`` or ``"both"``.
        dropout: the probability of dropping an element after each layer.

    Raises:
        InputError: ``heads`` do not divide ``width``.
    """

    def __init__(self, width: int, layers: int, heads: int, direction: str, dropout: float) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise InputError(f"heads: got {heads}, expected a divisor of the width {width}")
        self.layers = nn.ModuleList(
            Directed(lambda: GATv2Conv(width, width // heads, heads=heads), direction)
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, edges: Tensor) -> Tensor:
        """Return the new states (nodes, width)."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            states = states + self.dropout(layer(norm(states), edges))
        return states


class GATEncoder(Encoder):
    """GATv2 layers with residuals (``GATLayers``), then the mean of the nodes.

    Args:
        width: size of all vectors, a multiple of ``heads``.
        layers, heads: the numbers of layers and heads.
        embedder: ``"default"`` or ``"gennape"``.
        direction: ``"both"`` for attention to operands and to consumers with separate weights (our
            choice), or ``"forward"``.
        statistics, context, dropout: see ``Encoder``.

    Raises:
        InputError: ``heads`` do not divide ``width``.

    Source: Brody et al., "How attentive are graph attention networks?", ICLR-22, eq. 7.

    Notes:
        Norm and residuals are our choice.

    Example:
        >>> GATEncoder(width=16, heads=2, layers=2).width
        16
    """

    def __init__(
        self,
        *,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        embedder: str = "default",
        direction: str = "both",
        statistics: int = 0,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            width=width, embedder=embedder, statistics=statistics, context=context, dropout=dropout
        )
        self.layers = GATLayers(width, layers, heads, direction, dropout)
        self.norm = nn.LayerNorm(width)

    def node_states(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the nodes after all layers, (nodes, width)."""
        states = self.layers(self.embed(batch), batch.edges)
        return self.norm(states)  # type: ignore[no-any-return]
