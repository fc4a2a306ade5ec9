"""An encoder with a head on it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...basics import Array
from .batches import GraphBatch, GraphTensors
from .encoders.contract import Encoder, encode


class Regressor(nn.Module):
    """An encoder and a perceptron on its vectors: one number per graph.

        head(encoder(batch)),  head = Linear(SiLU(... Linear(.)))

    Args:
        encoder: any encoder.
        head: the widths of the hidden layers between the vector and the number.

    Example:
        >>> from archrank.predictors.neural.encoders import encoder
        >>> model = Regressor(encoder("gin", width=16, layers=1), (8,))
        >>> [layer.out_features for layer in model.head if isinstance(layer, nn.Linear)]
        [8, 1]
    """

    def __init__(self, encoder: Encoder, head: Sequence[int] = ()):
        super().__init__()
        self.encoder = encoder
        widths = [encoder.width, *head]
        hidden: list[nn.Module] = []
        for before, after in pairwise(widths):
            hidden += [nn.Linear(before, after), nn.SiLU()]
        self.head = nn.Sequential(*hidden, nn.Linear(widths[-1], 1))

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the numbers of the graphs, (graphs,)."""
        numbers: Tensor = self.head(self.encoder(batch))[:, 0]
        return numbers

    @torch.no_grad()
    def predict(self, graphs: Sequence[GraphTensors], context: Tensor | None = None) -> Array:
        """Return the numbers of graphs in evaluation mode; equal graphs are encoded once."""
        self.eval()
        numbers: Tensor = self.head(encode(self.encoder, graphs, context=context))[:, 0]
        return numbers.double().cpu().numpy()
