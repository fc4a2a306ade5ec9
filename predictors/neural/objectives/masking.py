"""The objective to predict the operators and edges of a masked part of a graph."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...features.operator_classes import CLASSES, classes_by_kernel
from ..batches import GraphBatch
from ..encoders.contract import mean_of_nodes
from .contract import Objective, Step

RADIUS = 3
"""The largest number of steps from the centre of a masked part to its rim."""


class Masked(Objective):
    """An objective that predicts the operators and edges of a masked part from its surroundings.

    In each graph, a random node and all nodes within a random number of steps lose everything
    except their place. From the mean of their vectors, a linear layer predicts log(1 + c). The
    counts c are those of each class of operators in the part, and of each pair of classes joined by
    an edge there. A node that represents several nodes counts as several.

    Args:
        width: the size of the vectors.

    Source: our choice, after the masking of attributes in Hu et al., "Strategies for pre-training
    graph neural networks", ICLR-20.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, len(CLASSES) * (1 + len(CLASSES)))

    def forward(self, step: Step) -> Tensor:
        """Return the error of the predicted counts of a step's masked parts."""
        batch = step.batch
        part = masked_parts(batch)
        states = step.encoder.node_states(masked(batch, part))
        said = self.head(mean_of_nodes(states, batch, part > 0))
        return functional.huber_loss(said, counts_of(batch, part).log1p())


def masked_parts(batch: GraphBatch) -> Tensor:
    """Return the mask of nodes, float32 (nodes,): in each graph, the surroundings of a random
    node."""
    device = batch.graph.device
    sizes = torch.bincount(batch.graph, minlength=batch.count)
    starts = sizes.cumsum(0) - sizes
    middle = starts + (torch.rand(batch.count, device=device) * sizes).long()
    radius = torch.randint(RADIUS + 1, (batch.count,), device=device)[batch.graph]
    part = torch.zeros(len(batch), device=device)
    part[middle] = 1.0
    source, target = batch.edges
    for away in range(1, RADIUS + 1):
        reached = part.clone()
        reached.index_add_(0, target, part[source]).index_add_(0, source, part[target])
        part = torch.where((reached > 0) & (radius >= away), 1.0, part)
    return part


def masked(batch: GraphBatch, part: Tensor) -> GraphBatch:
    """Return the batch in which the nodes of a part keep only their place and multiplicity."""
    kept = 1 - part
    whole = kept.long()
    return replace(
        batch,
        operator=batch.operator * whole,
        gennape_operator=batch.gennape_operator * whole,
        x=batch.x * kept[:, None],
        resolution=batch.resolution * kept[:, None],
        kernel=batch.kernel * whole[:, None],
        bias=batch.bias * whole,
        weighted=batch.weighted & (whole > 0),
    )


def counts_of(batch: GraphBatch, part: Tensor) -> Tensor:
    """Return the counts of each class and each pair of classes in a part, (graphs, k + k^2)."""
    classes = classes_in(batch)
    k = len(CLASSES)
    times = part * batch.multiplicity
    operators = torch.zeros(batch.count, k, device=times.device)
    operators.index_put_((batch.graph, classes), times, accumulate=True)
    source, target = batch.edges
    pairs = torch.zeros(batch.count, k * k, device=times.device)
    touched = torch.maximum(part[source], part[target]) * batch.multiplicity[target]
    pairs.index_put_(
        (batch.graph[target], classes[source] * k + classes[target]), touched, accumulate=True
    )
    return torch.cat([operators, pairs], 1)


def classes_in(batch: GraphBatch) -> Tensor:
    """Return the position in ``CLASSES`` of each node, int64 (nodes,); see ``classes_of``."""
    kernel = batch.kernel.amax(dim=1)
    classes = classes_by_kernel(batch.operator.cpu().numpy(), kernel.cpu().numpy())
    return torch.from_numpy(classes).to(batch.operator.device)
