"""Encoders trained without labels: what is alike in topology or in size shall be near."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn import functional

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from .. import saving
from ..features.cache import once_per_graph
from .batches import GraphBatch, GraphTensors
from .encoders import encoder as encoder_by_name
from .encoders.contract import Encoder, encode
from .graph_predictor import State, arrays_of, load_arrays, positions_of, tensor_reader
from .plan import Plan, Progress
from .run import Objective, digest
from .seeds import seeded
from .training import graph_batching, train

STATISTICS = ("params", "flops", "activations", "depth")
"""What is known of a graph for free."""


def spectral_targets(spectra: Tensor, temperature: float, copies: int = 2) -> Tensor:
    """How alike graphs are by topology, as distributions over the other rows of a batch.

        alpha^(i) = softmax_{l != i}(-|spectrum_i - spectrum_l|_2 / temperature)

    Args:
        spectra: (n, q), the q smallest eigenvalues of each graph's normalised Laplacian.
        temperature: T; the paper states none, its sister paper 0.05.
        copies: how often the batch is repeated; row ``c n + i`` is copy c of graph i, and the
            copies of a graph are at distance 0.

    Returns:
        (copies n, copies n), rows adding up to 1, zeros on the diagonal.

    Raises:
        InputError: an argument is out of range, or there is one row only.

    Source: GENNAPE (AAAI-23), which writes the softmax of the distance; only that of the negative
    distance makes neighbours alike (our reading).

    Example:
        >>> spectra = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]]).double()
        >>> spectral_targets(spectra, 0.5, copies=1).numpy().round(2).tolist()
        [[0.0, 0.88, 0.12], [0.88, 0.0, 0.12], [0.5, 0.5, 0.0]]
    """
    _positive("temperature", temperature)
    if spectra.dim() != 2:
        raise InputError(f"spectra: got shape {tuple(spectra.shape)}, expected (graphs, q)")
    rows = spectra.repeat(copies, 1)
    if len(rows) < 2:
        raise InputError(f"copies: got {len(rows)} rows in all, expected at least 2 to compare")
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return _without_diagonal(-distance / temperature).softmax(dim=1)


def contrastive_loss(embeddings: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between how alike embeddings are and how alike they should be.

        L = -1/n sum_i sum_{l != i} alpha^(i)_l log softmax_{r != i}(cos(z_i, z_r) / temperature)_l

    Args:
        embeddings: z (n, p), of any length: they are normalised here.
        targets: alpha (n, n), see :func:`spectral_targets`; what is on the diagonal is not read.
        temperature: of the similarities.

    Returns:
        A scalar.

    Raises:
        InputError: an argument is out of range or shapes do not fit.

    Source: GENNAPE (AAAI-23); the mean over rows where the paper has the sum is our choice.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> alike = spectral_targets(torch.tensor([[0.0], [0.0], [9.0]]), 0.1, copies=1)
        >>> other = spectral_targets(torch.tensor([[0.0], [9.0], [0.0]]), 0.1, copies=1)
        >>> [round(contrastive_loss(embeddings, t, 0.1).item(), 2) for t in (alike, other)]
        [0.23, 5.23]
    """
    _positive("temperature", temperature)
    n = len(embeddings)
    if embeddings.dim() != 2 or targets.shape != (n, n):
        raise InputError(
            f"targets: got shape {tuple(targets.shape)} for embeddings of shape "
            f"{tuple(embeddings.shape)}, expected ({n}, {n}) for (n, p)"
        )
    unit = functional.normalize(embeddings, dim=1)
    log_share = _without_diagonal(unit @ unit.T / temperature).log_softmax(dim=1)
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=targets.device)
    return -(targets[off_diagonal] * log_share[off_diagonal]).sum() / n


def free_statistics(graph: Graph) -> Array:
    """What a graph says of itself, as ``log2(1 + v)`` of its :data:`STATISTICS`, (4,).

    Example:
        >>> import archrank
        >>> free_statistics(archrank.trace(nn.Linear(8, 7, bias=False), (8,))).round(2).tolist()
        [5.83, 5.83, 3.0, 1.0]
    """
    return np.log2(1.0 + np.array([getattr(graph, name) for name in STATISTICS], dtype=np.float64))


class Pretrained(BaseEstimator):  # type: ignore[misc]
    """An encoder trained without labels, as :meth:`Pretraining.fit` gives it.

    Args:
        encoder, options, fold: what it was made with.

    Attributes:
        weights_: of the encoder, as arrays by name.
        history_: the mean loss of each epoch.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        >>> encoder.fit(graphs).embed(graphs).shape
        (16, 8)
    """

    weights_: State
    history_: list[float]

    def __init__(self, encoder: str, options: Mapping[str, Any] | None = None, fold: bool = True):
        self.encoder = encoder
        self.options = options
        self.fold = fold

    def embed(self, graphs: Sequence[Graph], device: str = "cpu") -> Array:
        """Vectors (graphs, width) of graphs; equal ones are encoded once."""
        model = self.build().to(device)
        read = tensor_reader(self.fold, positions_of(model))
        return encode(model, [read(graph) for graph in graphs]).double().cpu().numpy()

    def build(self) -> Encoder:
        """The encoder as a module of its own.

        Raises:
            InputError: the weights do not fit what the arguments describe.
        """
        with seeded(0):  # building draws; the caller's random state is not ours
            model = encoder_by_name(self.encoder, **(self.options or {}))
        self.start(model)
        return model

    def start(self, encoder: Encoder) -> None:
        """Set an encoder's weights to these; what reads statistics or a context stays as it is.

        Raises:
            InputError: the encoder is another.
        """
        load_arrays(encoder, self.weights_, new=("embed.statistics.", "join."))

    def save(self, path: str | Path) -> None:
        """Write everything to the folder ``path``: safetensors and JSON, no pickle.

        Raises:
            InputError: the folder is there and holds something else.
        """
        saving.write(cast(Any, self), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the folder holds no such encoder, a damaged one, or one of a newer format.
        """
        loaded = cast(Self, saving.read(Path(path), cls))
        try:
            loaded.build()
        except (InputError, AttributeError, TypeError) as error:
            raise InputError(f"path: {str(path)!r} holds a damaged encoder ({error})") from error
        return loaded

    def __sklearn_clone__(self) -> Self:
        """Itself: it is what was learnt, not a way to learn."""
        return self


class Pretraining(BaseEstimator):  # type: ignore[misc]
    """How an encoder is trained without labels, on any mix of graphs.

        L = w_c L_contrastive + w_s L_statistics

    Contrastive (GENNAPE): each graph is encoded twice with dropout of its own, a perceptron
    projects the vectors, and :func:`contrastive_loss` holds them against :func:`spectral_targets`.
    Statistics (FBNetV3): a linear layer predicts the standardised :func:`free_statistics` from the
    vectors, with the Huber loss. GENNAPE trains with the first alone.

    Args:
        encoder: one of :func:`~archrank.predictors.neural.encoders.encoders`; GENNAPE's baseline's
            by default.
        options: of the encoder; by default ``{"width": 128, "dropout": 0.1}``. Without dropout
            both copies of a graph are the same.
        projection: size p of the projected vectors, below the encoder's width.
        q: eigenvalues compared; graphs with fewer nodes repeat their largest one
            (:meth:`archrank.Graph.spectrum`).
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
            _positive(name, getattr(self, name))
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


def _without_diagonal(values: Tensor) -> Tensor:
    diagonal = torch.eye(len(values), dtype=torch.bool, device=values.device)
    return values.masked_fill(diagonal, float("-inf"))


def _positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
