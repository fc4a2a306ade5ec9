"""The inputs of members: vectors of an encoder, memberships in clusters, and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from ....basics import Array
from ....graphs import Graph
from ...reading import Sample
from ..batches import GraphTensors
from ..encoders.reading import positions_of, tensor_reader
from ..fuzzy import FuzzyCMeans
from ..learning.scales import divisor
from ..objectives.tables import SIZES, log_sizes
from ..pretrained_encoder import Pretrained
from .combining import Rows, centred


@dataclass(frozen=True)
class Inputs:
    """The inputs of members for some samples.

    Attributes:
        samples: the given samples.
        vectors: (n, width), standardised vectors of the pretrained encoder.
        memberships: (n, clusters).
        graphs: the graphs as tensors if encoders are trained with the heads; empty otherwise.
    """

    samples: list[Sample]
    vectors: Tensor
    memberships: Tensor
    graphs: list[GraphTensors]

    @classmethod
    def without_embedding(cls, samples: list[Sample]) -> Inputs:
        """Return the inputs of members that read no embeddings."""
        return cls(samples, torch.zeros(0, 0), torch.zeros(0, 0), [])

    @property
    def flops(self) -> Array:
        """The multiply-adds (n,)."""
        return np.array([sample.graph.flops for sample in self.samples], dtype=np.float64)


@dataclass(frozen=True)
class Embedding:
    """The transform of graphs to inputs of heads.

    Attributes:
        encoder: the pretrained encoder.
        fuzzy: the clusters of its vectors.
        mean, std: the mean and standard deviation of its vectors on the training set. For one
            family, all columns share one deviation, since other families may vary in columns where
            this one hardly varies. For several families, each column has its own deviation within
            families.
        sizes: whether heads read the logarithms of ``SIZES`` behind the vectors, too.
        tuned: whether members train encoders of their own.
        device: the device to compute on.
    """

    encoder: Pretrained
    fuzzy: FuzzyCMeans
    mean: Array
    std: float | Array
    sizes: bool
    tuned: bool
    device: str

    @classmethod
    def of(
        cls,
        graphs: Sequence[Graph],
        families: Rows,
        encoder: Pretrained,
        fuzzy: FuzzyCMeans,
        *,
        sizes: bool,
        tuned: bool,
        device: str,
    ) -> Embedding:
        """Return the embedding for graphs of families (n,).

        ``fuzzy`` has the settings of the clusters; there are at most as many as different vectors.
        """
        embedded = encoder.embed(graphs, device)
        read = with_sizes(embedded, graphs) if sizes else embedded
        mean = read.mean(axis=0)
        if sizes or families.any():
            std: float | Array = np.array([divisor(centred(one, families)) for one in read.T])
        else:
            std = divisor((read - mean).ravel())
        clusters = min(fuzzy.n_clusters, len(np.unique(embedded, axis=0)))
        fuzzy = clone(fuzzy).set_params(n_clusters=clusters).fit(embedded)
        return cls(encoder, fuzzy, mean, std, sizes, tuned, device)

    @property
    def width(self) -> int:
        """The number of columns that heads read."""
        return len(self.mean)

    def read(self, samples: list[Sample]) -> Inputs:
        """Return the inputs of members for samples."""
        graphs = [sample.graph for sample in samples]
        embedded = self.encoder.embed(graphs, self.device)
        vectors = torch.from_numpy(with_sizes(embedded, graphs) if self.sizes else embedded)
        memberships = torch.from_numpy(self.fuzzy.transform(embedded)).float().to(self.device)
        tensors: list[GraphTensors] = []
        if self.tuned:
            read = tensor_reader(self.encoder.fold, positions_of(self.encoder.build()))
            tensors = [read(graph) for graph in graphs]
        scaled = self.scaled(vectors.float().to(self.device))
        return Inputs(samples, scaled, memberships, tensors)

    def scaled(self, vectors: Tensor) -> Tensor:
        """Return the standardised vectors (n, width) of an encoder, with any sizes that follow
        them."""
        width = vectors.shape[1]
        centred: Tensor = vectors - torch.tensor(self.mean[:width]).to(vectors)
        std = np.broadcast_to(self.std, self.mean.shape)[:width].copy()
        return centred / torch.from_numpy(std).to(vectors)


def with_sizes(embedded: Array, graphs: Sequence[Graph]) -> Array:
    """Return vectors (n, width) followed by the sizes of their graphs, (n, width + 4)."""
    behind = np.array([log_sizes(graph) for graph in graphs]).reshape(len(graphs), len(SIZES))
    return np.concatenate([embedded, behind], axis=1)
