"""The members that read embeddings: their heads, their training, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ....basics import Array
from ....graphs import Graph
from ..batches import GraphBatch, GraphTensors
from ..encoders.contract import Encoder, encode
from ..encoders.reading import positions_of, tensor_reader
from ..fuzzy import FuzzyCMeans
from ..learning.plan import Plan, Progress
from ..learning.run import digest
from ..learning.seeds import seeded
from ..learning.training import even_batching, train
from ..losses import PairwiseLogistic, tell_epoch
from ..pretrained_encoder import Pretrained
from .heads import FuzzyHeads, FuzzyPairHeads

MEMBERS = ("fuzzy", "single", "fuzzy pairwise", "single pairwise", "kgnn", "flops")
"""The paper's CL+FCM+T, CL+T, CL+Pairwise+FCM, CL+Pairwise, k-GNN, FLOPs."""

HEADS: Mapping[str, type[FuzzyHeads] | type[FuzzyPairHeads]] = {
    "fuzzy": FuzzyHeads,
    "single": FuzzyHeads,
    "fuzzy pairwise": FuzzyPairHeads,
    "single pairwise": FuzzyPairHeads,
}
"""Members that read embeddings -> their heads."""

SIZES = ("params", "flops", "activations", "depth")

_PAIRS_AT_ONCE = 256  # graphs held against all references at a time


@dataclass(frozen=True)
class Inputs:
    """What heads read of some graphs.

    Attributes:
        graphs: as tensors, where encoders are trained with the heads; else none.
        vectors: (n, width), standardised, by the encoder as it was pretrained.
        memberships: (n, clusters).
    """

    graphs: list[GraphTensors]
    vectors: Tensor
    memberships: Tensor


@dataclass(frozen=True)
class Lesson:
    """What heads learn from some graphs.

    Attributes:
        targets: (n,), what heads that score graphs learn.
        order: (n,), what heads that compare pairs learn; larger is better.
        families: (n,), whole numbers; graphs of different ones are never compared.
        loss: of heads that score graphs, a module of (predictions, targets).
        pair_loss: of heads that compare pairs; ``PairwiseLogistic`` sees the log odds of every
            pair, others each graph's mean log odds against its batch.
    """

    targets: Tensor
    order: Tensor
    families: Tensor
    loss: nn.Module
    pair_loss: nn.Module

    def loss_of(
        self, heads: FuzzyHeads | FuzzyPairHeads, vectors: Tensor, memberships: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the loss of heads on the graphs at some rows, given what they read of these."""
        if isinstance(heads, FuzzyHeads):
            wanted = self.targets[rows].to(vectors.device)
            return cast(Tensor, self.loss(heads(vectors, memberships), wanted))
        wanted = self.order[rows].to(vectors.device)
        odds = heads(vectors, memberships, vectors, memberships)
        if isinstance(self.pair_loss, PairwiseLogistic):
            return _classified(odds, wanted)
        return cast(Tensor, self.pair_loss(odds.mean(dim=1), wanted))


@dataclass(frozen=True)
class Embedding:
    """How graphs become inputs of heads.

    Attributes:
        encoder: as it was pretrained.
        fuzzy: the clusters of its vectors.
        mean, std: of its vectors on the training set; of one family one deviation for all columns,
            since another may vary where this one hardly does; of several, each column's own within
            families.
        sizes: whether heads read the logarithms of ``SIZES`` behind the vectors, too.
        tuned: whether members train encoders of their own.
        device: to compute on.
    """

    encoder: Pretrained
    fuzzy: FuzzyCMeans
    mean: Array
    std: float | Array
    sizes: bool
    tuned: bool
    device: str

    def read(self, graphs: Sequence[Graph]) -> Inputs:
        """Return what heads read of graphs."""
        embedded = self.encoder.embed(graphs, self.device)
        vectors = torch.from_numpy(with_sizes(embedded, graphs) if self.sizes else embedded)
        memberships = torch.from_numpy(self.fuzzy.transform(embedded)).float().to(self.device)
        tensors: list[GraphTensors] = []
        if self.tuned:
            read = tensor_reader(self.encoder.fold, positions_of(self.encoder.build()))
            tensors = [read(graph) for graph in graphs]
        return Inputs(tensors, self.scaled(vectors.float().to(self.device)), memberships)

    def scaled(self, vectors: Tensor) -> Tensor:
        """Return vectors (n, width) of an encoder, and sizes behind them if any, standardised."""
        width = vectors.shape[1]
        centred: Tensor = vectors - torch.tensor(self.mean[:width]).to(vectors)
        std = np.broadcast_to(self.std, self.mean.shape)[:width].copy()
        return centred / torch.from_numpy(std).to(vectors)

    def member(self, name: str, hidden: int, seed: int) -> Member:
        """Return a new member; its weights come from the seed and its place among members."""
        clusters = self.fuzzy.n_clusters if is_fuzzy(name) else 1
        with seeded(seed + MEMBERS.index(name)):
            heads = HEADS[name](len(self.mean), hidden, clusters)
        encoder = self.encoder.build() if self.tuned else None
        return Member(name, self, heads, encoder).to(self.device)


class Member(nn.Module):
    """Heads, and the encoder that is trained with them if it is."""

    def __init__(
        self,
        name: str,
        embedding: Embedding,
        heads: FuzzyHeads | FuzzyPairHeads,
        encoder: Encoder | None,
    ):
        super().__init__()
        self.name, self.embedding = name, embedding
        self.heads = heads
        self.encoder = encoder

    def learn(
        self,
        inputs: Inputs,
        lesson: Lesson,
        plan: Plan,
        checkpoint: Path | None,
        progress: Progress | None,
    ) -> None:
        """Train on what a lesson says of the inputs."""
        memberships = self._memberships(inputs)
        loss = lesson.pair_loss if is_pairwise(self.name) else lesson.loss

        def objective(rows: list[int], epoch: int) -> Tensor:
            tell_epoch(loss, epoch)
            vectors = inputs.vectors[rows]
            if self.encoder is not None:
                batch = GraphBatch.of([inputs.graphs[i] for i in rows]).to(plan.device)
                vectors = self._joined(self.encoder(batch), vectors)
            return lesson.loss_of(self.heads, vectors, memberships[rows], torch.tensor(rows))

        keys = [one.key for one in inputs.graphs]
        facts = (
            keys,
            lesson.targets,
            lesson.order,
            lesson.families,
            repr(loss),
            inputs.vectors,
            inputs.memberships,
        )
        train(
            self,
            objective,
            even_batching(len(lesson.targets), plan, lesson.families.tolist()),
            plan,
            identity=digest(*facts),
            checkpoint=checkpoint,
            progress=progress,
        )

    def references(self, inputs: Inputs, rows: npt.NDArray[np.intp]) -> list[Array]:
        """Return vectors and memberships of the graphs that others are compared with."""
        both = (self._vectors(inputs), self._memberships(inputs))
        return [part[rows].cpu().numpy() for part in both]

    @torch.no_grad()
    def scores(self, inputs: Inputs) -> Array:
        """Return scores (n,) of graphs, as a loss left them: transformed labels, or any scale."""
        values: Tensor = self.heads(self._vectors(inputs), self._memberships(inputs))
        return values.double().cpu().numpy()

    @torch.no_grad()
    def wins(self, inputs: Inputs, references: Sequence[Array]) -> Array:
        """Return the mean probability (n,) to be better than a reference."""
        known, of_known = (torch.tensor(part, device=self.embedding.device) for part in references)
        vectors, own = self._vectors(inputs), self._memberships(inputs)
        parts = [
            torch.sigmoid(self.heads(vectors[rows], own[rows], known, of_known)).mean(dim=1)
            for rows in torch.arange(len(vectors)).split(_PAIRS_AT_ONCE)
        ]
        return torch.cat(parts).double().cpu().numpy()

    @torch.no_grad()
    def _vectors(self, inputs: Inputs) -> Tensor:
        """Standardised vectors by its own encoder, if it has one."""
        if self.encoder is None:
            return inputs.vectors
        return self._joined(encode(self.encoder, inputs.graphs), inputs.vectors)

    def _joined(self, encoded: Tensor, vectors: Tensor) -> Tensor:
        """Its own encoder's vectors, standardised, and the sizes that stand behind those given."""
        own = self.embedding.scaled(encoded)
        return torch.cat([own, vectors[:, own.shape[1] :]], dim=1)

    def _memberships(self, inputs: Inputs) -> Tensor:
        own = inputs.memberships
        return own if is_fuzzy(self.name) else torch.ones_like(own[:, :1])


def with_sizes(embedded: Array, graphs: Sequence[Graph]) -> Array:
    """Return vectors (n, width) with log2(1 + v) of ``SIZES`` behind them, (n, width + 4)."""
    sizes = np.array([[getattr(graph, name) for name in SIZES] for graph in graphs], dtype=float)
    return np.concatenate([embedded, np.log2(1.0 + sizes.reshape(len(graphs), -1))], axis=1)


def is_fuzzy(name: str) -> bool:
    """Say whether a member's heads are weighed by clusters."""
    return name.startswith("fuzzy")


def is_pairwise(name: str) -> bool:
    """Say whether a member compares pairs."""
    return name.endswith("pairwise")


def _classified(odds: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of the guess which of two is better, over log odds (n, n) of all pairs."""
    better = (wanted[:, None] - wanted[None]).sign()
    # Ties say nothing; of a batch of ties the loss is zero, with a gradient.
    return (functional.softplus(-odds) * (better > 0)).sum() / (better > 0).sum().clip(1)
