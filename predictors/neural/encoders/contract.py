"""The contract of encoders, which turn a batch of graphs into one vector per graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....errors import InputError
from ..batches import GraphBatch, GraphTensors, batches, unique
from .embedding import node_embedder


class Encoder(nn.Module, ABC):
    """An encoder: embeds nodes, lets them exchange messages, and reads out one vector per graph.

        forward(batch) = join([graph_states(batch), context])

    Without a context, ``join`` is the identity. With one, it is a linear layer on both,
    concatenated, as FBNetV3 joins the embedding of an architecture and its training recipe. An
    encoder ignores unused inputs, such as a context with ``context=0``.

    Args:
        width: the size of the vectors.
        embedder: ``"default"`` or ``"gennape"`` (``encoders/embedding.py``).
        statistics: the number of statistics per node that batches must have, besides their mask.
        context: the size of the context that batches must have.
        dropout: the probability of dropping an element of a node's vector after each layer.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self, *, width: int, embedder: str, statistics: int, context: int, dropout: float
    ) -> None:
        super().__init__()
        sizes = (("width", width, 1), ("statistics", statistics, 0), ("context", context, 0))
        for name, value, least in sizes:
            if value < least:
                raise InputError(f"{name}: got {value}, expected at least {least}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout: got {dropout}, expected a probability in [0, 1)")
        self.width = width
        self.context = context
        self.embed = node_embedder(embedder, width, statistics)
        self.dropout = nn.Dropout(dropout)
        self.join = nn.Linear(width + context, width) if context else None

    @abstractmethod
    def node_states(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the nodes after all layers, (nodes, width)."""

    def graph_states(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the graphs before the context joins, (graphs, width).

        By default this is the mean over the nodes.
        """
        return mean_of_nodes(self.node_states(batch), batch)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Return the vectors of the graphs, (graphs, width).

        Raises:
            InputError: the batch lacks statistics, positions or a context that this encoder needs.
        """
        states = self.graph_states(batch)
        if self.join is None:
            return states
        if batch.context is None or batch.context.shape[1] != self.context:
            came = "none" if batch.context is None else f"one of size {batch.context.shape[1]}"
            raise InputError(f"context: got {came}, expected one of size {self.context} per graph")
        return self.join(torch.cat([states, batch.context], 1))  # type: ignore[no-any-return]


def sum_of_nodes(states: Tensor, batch: GraphBatch) -> Tensor:
    """Return the sum of each graph's rows of ``states``, (graphs, width)."""
    return states.new_zeros(batch.count, states.shape[1]).index_add(0, batch.graph, states)


def mean_of_nodes(states: Tensor, batch: GraphBatch, chosen: Tensor | None = None) -> Tensor:
    """Return the mean of each graph's nodes, each weighted by its multiplicity.

        h_G = sum_v m_v h_v / sum_v m_v

    Args:
        states: (nodes, width).
        batch: the batch of the nodes.
        chosen: bool (nodes,), the nodes that count; by default all.
    """
    weight = batch.multiplicity if chosen is None else batch.multiplicity * chosen
    weight = weight[:, None]
    return sum_of_nodes(states * weight, batch) / sum_of_nodes(weight, batch)


class Counts(nn.Module):
    """A readout of the mean of a graph's nodes and the counts of nodes of learned kinds.

        h_G = W [mean_v h_v, log(1 + sum_v m_v softplus(U h_v + c))] + b

    The mean does not show the number of nodes: a block that is repeated twenty times looks like a
    single one. The second part counts nodes of learned kinds.

    Notes:
        This is our choice.

    Args:
        width: the size of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.Linear(width, width)
        self.joined = nn.Linear(2 * width, width)

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Return graphs (graphs, width) for nodes (nodes, width)."""
        kinds = nn.functional.softplus(self.kinds(states)) * batch.multiplicity[:, None]
        counts = sum_of_nodes(kinds, batch).log1p()
        mean = mean_of_nodes(states, batch)
        return self.joined(torch.cat([mean, counts], 1))  # type: ignore[no-any-return]


READOUTS = ("mean", "counts")
"""The readouts of the vectors of nodes: their mean, or ``Counts``."""


@torch.no_grad()
def encode(
    model: Encoder,
    graphs: Sequence[GraphTensors],
    *,
    context: Tensor | None = None,
    size: int = 64,
    max_nodes: int = 16_384,
) -> Tensor:
    """Return the vectors of ``graphs`` in their order, without gradients, in evaluation mode.

    Graphs with equal keys are encoded once; graphs of similar size share a batch.

    Args:
        model: any encoder; its mode is restored.
        graphs: the graphs to encode.
        context: (len(graphs), c), one row per graph. Rows may differ between equal graphs, so
            with a context each graph is encoded by itself.
        size, max_nodes: the largest numbers of graphs and nodes at a time.

    Returns:
        float32 (len(graphs), model.width), on the model's device.

    Raises:
        InputError: the graphs or the context do not fit the encoder.

    Example:
        >>> import torch
        >>> import archrank
        >>> from archrank.predictors.neural.encoders import encoder
        >>> graph = archrank.trace(torch.nn.ReLU(), (3, 8, 8))
        >>> encode(encoder("gin", width=16), [GraphTensors.of(graph)] * 3).shape
        torch.Size([3, 16])
    """
    if context is not None and len(context) != len(graphs):
        raise InputError(f"context: got {len(context)} rows, expected {len(graphs)}, one per graph")
    everything = torch.arange(len(graphs))
    firsts, inverse = unique(graphs) if context is None else (everything.tolist(), everything)
    device = next(model.parameters()).device
    result = torch.zeros(len(firsts), model.width, device=device)
    training = model.training
    model.eval()
    try:
        kept = [graphs[i] for i in firsts]
        for chunk in batches(kept, size, shuffle=False, max_nodes=max_nodes):
            rows = None if context is None else context[chunk]
            result[chunk] = model(GraphBatch.of([kept[i] for i in chunk], rows).to(device))
    finally:
        model.train(training)
    return result[inverse.to(device)]
