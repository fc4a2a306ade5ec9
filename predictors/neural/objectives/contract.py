"""The contract of objectives of pretraining: tasks on graphs that need no labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from ..batches import GraphBatch
from ..encoders.contract import Encoder


@dataclass(frozen=True)
class Step:
    """What objectives read in one step of training.

    Attributes:
        encoder: what is trained.
        rows: positions of the batch's graphs in the corpus.
        batch: the graphs, one after the other, as often as ``copies``.
        vectors: (copies * len(rows), width), the encoder's of the batch.
        copies: how often each graph is in the batch, with a dropout of its own.
    """

    encoder: Encoder
    rows: list[int]
    batch: GraphBatch
    vectors: Tensor
    copies: int


class Objective(nn.Module, ABC):
    """An objective: its head, thrown away afterwards, and its loss."""

    copies = 1
    """How often it needs each graph in a batch."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return the loss of a step, a scalar."""
