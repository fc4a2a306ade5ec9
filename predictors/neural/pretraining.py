"""Encoders trained without labels: what is alike in topology or in size shall be near."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn import functional

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ..features.cache import once_per_graph
from .batches import GraphBatch, GraphTensors
from .contrast import STATISTICS, contrastive_loss, free_statistics, positive, spectral_targets
from .encoders import encoder as encoder_by_name
from .encoders.contract import Encoder
from .encoders.reading import positions_of, tensor_reader
from .learning.plan import Plan, Progress
from .learning.run import Objective, digest
from .learning.seeds import seeded
from .learning.training import graph_batching, train
from .learning.weights import arrays_of
from .pretrained_encoder import Pretrained

__all__ = ["Pretrained", "Pretraining"]


class Pretraining(BaseEstimator):  # type: ignore[misc]
    """How an encoder is trained without labels, on any mix of graphs.

        L = w_c L_contrastive + w_s L_statistics

    Contrastive (GENNAPE): each graph is encoded twice with dropout of its own, a perceptron
    projects the vectors, and ``contrastive_loss`` holds them against ``spectral_targets``.
    Statistics (FBNetV3): a linear layer predicts the standardised ``free_statistics`` from the
    vectors, with the Huber loss. GENNAPE trains with the first alone.

    Args:
        encoder: one of ``encoders``; GENNAPE's baseline's
            by default.
        options: of the encoder; by default ``{"width": 128, "dropout": 0.1}``. Without dropout
            both copies of a graph are the same.
        projection: size p of the projected vectors, below the encoder's width.
        q: eigenvalues compared; graphs with fewer nodes repeat their largest one
            (``archrank.Graph.spectrum``).
        spectral_temperature: T of the targets; 0.05 in the sister paper.
        temperature: of the similarities.
        contrastive, statistics: the weights w_c and w_s.
        fold: represent repeated blocks once for the encoder; spectra are those of whole graphs.
        epochs, batch_size, learning_rate: of the training (Adam, cosine schedule).
        spread: how many doublings of size are mixed in a batch; the contrast is only within
            batches, so all sizes by default.
        device: to train on.
        random_state: seed of everything random.

    Source: GENNAPE (Mills et al., AAAI-23) and FBNetV3 (Dai et al., CVPR-21). GENNAPE states
    q = 21 and p < width; the encoder, its width, dropout, p, the temperatures and the training are
    our choice.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> small = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=2)
        >>> len(small.fit(small_graphs()).history_)
        2
    """

    def __init__(
        self,
        encoder: str = "kgnn",
        options: Mapping[str, Any] | None = None,
        projection: int = 64,
        q: int = 21,
        spectral_temperature: float = 0.05,
        temperature: float = 0.1,
        contrastive: float = 1.0,
        statistics: float = 0.0,
        fold: bool = True,
        epochs: int = 40,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        spread: float = float("inf"),
        device: str = "cpu",
        random_state: int = 0,
    ):
        self.encoder = encoder
        self.options = options
        self.projection = projection
        self.q = q
        self.spectral_temperature = spectral_temperature
        self.temperature = temperature
        self.contrastive = contrastive
        self.statistics = statistics
        self.fold = fold
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.spread = spread
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        graphs: Sequence[Graph],
        checkpoint: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Pretrained:
        """The encoder trained on graphs.

        Args:
            graphs: at least one; equal ones count as often as they come.
            checkpoint: file that says how far it is; a training that was stopped goes on from it.
            progress: called after each epoch.

        Raises:
            InputError: an argument is out of range, or the checkpoint is of another training.
        """
        if not len(graphs):
            raise InputError("graphs: got none, expected at least one")
        self._check()
        plan = Plan(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            schedule="cosine",
            clip=5.0,
            spread=self.spread,
            seed=self.random_state,
            device=self.device,
        )
        options = {"width": 128, "dropout": 0.1} if self.options is None else dict(self.options)
        with seeded(self.random_state):
            model = _Pretext(encoder_by_name(self.encoder, **options), self.projection)
        read = tensor_reader(self.fold, positions_of(model.encoder))
        tensors = [read(graph) for graph in graphs]
        history = train(
            model,
            self._objective(model, graphs, tensors),
            graph_batching(tensors, plan),
            plan,
            identity=digest([one.key for one in tensors], sorted(self.get_params().items())),
            checkpoint=checkpoint,
            progress=progress,
        )
        result = Pretrained(self.encoder, options, self.fold)
        result.weights_ = arrays_of(model.encoder)
        result.history_ = [epoch.loss for epoch in history]
        return result

    def _objective(
        self, model: _Pretext, graphs: Sequence[Graph], tensors: Sequence[GraphTensors]
    ) -> Objective:
        spectra = None
        if self.contrastive:
            read = _spectrum_reader(self.q)
            spectra = torch.from_numpy(np.stack([read(graph) for graph in graphs]))
        facts = _standardised(np.array([free_statistics(graph) for graph in graphs]))

        def objective(rows: list[int], epoch: int) -> Tensor:
            batch = GraphBatch.of([tensors[i] for i in rows] * 2).to(self.device)
            vectors: Tensor = model.encoder(batch)
            value = vectors.new_zeros(())
            if spectra is not None:
                targets = spectral_targets(spectra[rows], self.spectral_temperature)
                value = value + self.contrastive * contrastive_loss(
                    model.projection(vectors), targets.to(vectors), self.temperature
                )
            if self.statistics:
                wanted = facts[rows].repeat(2, 1).to(vectors)
                value = value + self.statistics * functional.huber_loss(
                    model.facts(vectors), wanted
                )
            return value

        return objective

    def _check(self) -> None:
        for name in ("temperature", "spectral_temperature"):
            positive(name, getattr(self, name))
        for name in ("contrastive", "statistics"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"{name}: got {getattr(self, name)!r}, expected a weight from 0 on"
                )
        if not (self.contrastive or self.statistics):
            raise InputError("contrastive: got 0 like statistics, expected one of the two above 0")


class _Pretext(nn.Module):
    """An encoder and what it is trained through, which is thrown away afterwards."""

    def __init__(self, encoder: Encoder, projection: int):
        super().__init__()
        width = encoder.width
        if not 1 <= projection < width:
            raise InputError(
                f"projection: got {projection}, expected from 1 to below width {width}"
            )
        self.encoder = encoder
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection)
        )
        self.facts = nn.Linear(width, len(STATISTICS))


@cache
def _spectrum_reader(q: int) -> Callable[[Graph], Array]:
    """``Graph.spectrum``, remembered as long as the graph lives."""
    return once_per_graph(lambda graph: graph.spectrum(q))


def _standardised(table: Array) -> Tensor:
    """Columns of mean 0 and deviation 1; constant ones become zeros."""
    spread = table.std(axis=0)
    scaled = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return torch.from_numpy(scaled.astype(np.float32))
