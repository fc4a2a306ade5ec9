"""The members that read embeddings: heads, trained alone or with an encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ....basics import Array
from ...features.rank_transform import normal_scores
from ..batches import GraphBatch
from ..encoders.contract import Encoder, encode
from ..learning.plan import TrainingPlan
from ..learning.run import digest
from ..learning.seeds import seeded
from ..learning.training import even_batching, train
from ..learning.weights import State, arrays_of, load_arrays
from ..losses import PairwiseLogistic, tell_epoch
from ..network_predictor import Watch
from .embedding import Embedding, Inputs
from .heads import FuzzyHeads, FuzzyPairHeads
from .label_transform import LabelTransform
from .members import MEMBERS, Lesson, Member

_PAIRS_AT_ONCE = 256  # graphs compared with all references at a time


class HeadsOnEncoder(nn.Module):
    """The weights of a member: its heads, and its own encoder if it has one."""

    def __init__(self, heads: FuzzyHeads | FuzzyPairHeads, encoder: Encoder | None):
        super().__init__()
        self.heads = heads
        self.encoder = encoder


class HeadedMember(Member):
    """A member that reads embeddings.

    Args:
        name: one of ``HEADED``; a fuzzy member has one head for each cluster.
        embedding: the embedding that it reads.
        hidden: the width of the heads' hidden layers.
        loss: the loss of its training.
        random_state: the seed of weights and batches, to which the member's place in ``MEMBERS`` is
            added.
    """

    heads: ClassVar[type[FuzzyHeads] | type[FuzzyPairHeads]]

    def __init__(
        self, name: str, embedding: Embedding, hidden: int, loss: nn.Module, random_state: int
    ):
        self.name = name
        self.embedding = embedding
        self.loss = loss
        self.seed = random_state + MEMBERS.index(name)
        self.fuzzy = name.startswith("fuzzy")
        clusters = embedding.fuzzy.n_clusters if self.fuzzy else 1
        with seeded(self.seed):
            heads = self.heads(embedding.width, hidden, clusters)
        encoder = embedding.encoder.build() if embedding.tuned else None
        self.model = HeadsOnEncoder(heads, encoder).to(embedding.device)

    @abstractmethod
    def targets(self, inputs: Inputs, lesson: Lesson) -> Tensor:
        """Return the targets of the heads for each graph, (n,)."""

    @abstractmethod
    def loss_of(self, vectors: Tensor, memberships: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the heads on a batch."""

    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        plan = replace(plan, seed=self.seed)
        targets, memberships = self.targets(inputs, lesson), self.memberships(inputs)

        def objective(rows: list[int], epoch: int) -> Tensor:
            tell_epoch(self.loss, epoch)
            vectors = inputs.vectors[rows]
            if self.model.encoder is not None:
                batch = GraphBatch.of([inputs.graphs[i] for i in rows]).to(plan.device)
                vectors = self._joined(self.model.encoder(batch), vectors)
            return self.loss_of(vectors, memberships[rows], targets[rows].to(vectors.device))

        keys = [one.key for one in inputs.graphs]
        families = torch.from_numpy(lesson.families)
        facts = (keys, targets, families, repr(self.loss), inputs.vectors, inputs.memberships)
        train(
            self.model,
            objective,
            even_batching(len(targets), plan, lesson.families.tolist()),
            plan,
            identity=digest(*facts),
            checkpoint=watch.file(f"{self.name}.safetensors"),
            progress=watch.progress,
        )

    @torch.no_grad()
    def vectors(self, inputs: Inputs) -> Tensor:
        """Return standardised vectors (n, width), from the member's own encoder if it has one."""
        if self.model.encoder is None:
            return inputs.vectors
        return self._joined(encode(self.model.encoder, inputs.graphs), inputs.vectors)

    def memberships(self, inputs: Inputs) -> Tensor:
        """Return the weight of each head for each graph, (n, heads)."""
        own = inputs.memberships
        return own if self.fuzzy else torch.ones_like(own[:, :1])

    @property
    def weights(self) -> State:
        """The weights as arrays, which files can hold."""
        return arrays_of(self.model)

    def start(self, weights: State) -> None:
        """Set the weights to those of a file."""
        load_arrays(self.model, weights)
        self.model.eval()

    def _joined(self, encoded: Tensor, vectors: Tensor) -> Tensor:
        """Return the standardised vectors of the own encoder, followed by the sizes in
        ``vectors``."""
        own = self.embedding.scaled(encoded)
        return torch.cat([own, vectors[:, own.shape[1] :]], dim=1)


class ScoringMember(HeadedMember):
    """A member whose heads score each graph, by a transformed label or by a place in an order.

    Args:
        name, embedding, hidden, loss, random_state: see ``HeadedMember``.
        transform: the transform of the labels that heads learn. None means normal scores within
            families, for losses that leave the scale of scores open.
    """

    heads = FuzzyHeads

    def __init__(
        self,
        name: str,
        embedding: Embedding,
        hidden: int,
        loss: nn.Module,
        random_state: int,
        transform: LabelTransform | None,
    ):
        super().__init__(name, embedding, hidden, loss, random_state)
        self.transform = transform

    def targets(self, inputs: Inputs, lesson: Lesson) -> Tensor:
        if self.transform is not None:
            values = self.transform.forward(lesson.labels, inputs.flops)
        else:
            values = np.empty(len(lesson.labels))
            for family in np.unique(lesson.families):
                rows = lesson.families == family
                values[rows] = normal_scores(lesson.labels[rows])
        return torch.from_numpy(values).float()

    def loss_of(self, vectors: Tensor, memberships: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.loss(self.model.heads(vectors, memberships), targets)
        return loss

    @torch.no_grad()
    def predict(self, inputs: Inputs) -> Array:
        values: Tensor = self.model.heads(self.vectors(inputs), self.memberships(inputs))
        scores: Array = values.double().cpu().numpy()
        return scores if self.transform is None else self.transform.inverse(scores, inputs.flops)


class PairMember(HeadedMember):
    """A member whose heads compare two graphs; its score is the mean probability to beat
    references.

    The loss ``PairwiseLogistic`` reads the log odds of every pair. Other losses read each graph's
    mean log odds against its batch.

    Attributes:
        references: vectors and memberships of the graphs that others are compared with.
    """

    heads = FuzzyPairHeads
    references: Sequence[Array] = ()

    def targets(self, inputs: Inputs, lesson: Lesson) -> Tensor:
        return torch.from_numpy(np.unique(lesson.labels, return_inverse=True)[1])

    def loss_of(self, vectors: Tensor, memberships: Tensor, targets: Tensor) -> Tensor:
        odds: Tensor = self.model.heads(vectors, memberships, vectors, memberships)
        if isinstance(self.loss, PairwiseLogistic):
            return _classified(odds, targets)
        loss: Tensor = self.loss(odds.mean(dim=1), targets)
        return loss

    def fit(self, inputs: Inputs, lesson: Lesson, plan: TrainingPlan, watch: Watch) -> None:
        super().fit(inputs, lesson, plan, watch)
        both = (self.vectors(inputs), self.memberships(inputs))
        self.references = [part[lesson.references].cpu().numpy() for part in both]

    @torch.no_grad()
    def predict(self, inputs: Inputs) -> Array:
        known, of_known = (
            torch.tensor(part, device=self.embedding.device) for part in self.references
        )
        vectors, own = self.vectors(inputs), self.memberships(inputs)
        parts = [
            torch.sigmoid(self.model.heads(vectors[rows], own[rows], known, of_known)).mean(dim=1)
            for rows in torch.arange(len(vectors)).split(_PAIRS_AT_ONCE)
        ]
        return torch.cat(parts).double().cpu().numpy()


HEADED: Mapping[str, type[ScoringMember] | type[PairMember]] = {
    "fuzzy": ScoringMember,
    "single": ScoringMember,
    "fuzzy pairwise": PairMember,
    "single pairwise": PairMember,
}
"""The members that read embeddings, by name."""


def _classified(odds: Tensor, wanted: Tensor) -> Tensor:
    """Return the cross-entropy of predicting the better of two, from log odds (n, n) of all
    pairs."""
    better = (wanted[:, None] - wanted[None]).sign()
    # Ties have no order. The loss of a batch of ties is zero, with a gradient.
    return (functional.softplus(-odds) * (better > 0)).sum() / (better > 0).sum().clip(1)
