"""The contract of objectives of pretraining, which are tasks on graphs without labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from ..batches import GraphBatch
from ..encoders.contract import Encoder


@dataclass(frozen=True)
class Step:
    """The inputs of objectives in one step of training.

    Attributes:
        encoder: the encoder in training.
        rows: the positions of the batch's graphs in the corpus.
        batch: ``copies`` copies of the graphs, one copy of all after the other.
        vectors: (copies * len(rows), width), the encoder's vectors of the batch.
        copies: the number of copies of each graph in the batch, each with its own dropout.
    """

    encoder: Encoder
    rows: list[int]
    batch: GraphBatch
    vectors: Tensor
    copies: int


class Objective(nn.Module, ABC):
    """An objective: a loss and its head, which is discarded after training."""

    copies = 1
    """The number of copies of each graph that it needs in a batch."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return the loss of a step, a scalar."""
