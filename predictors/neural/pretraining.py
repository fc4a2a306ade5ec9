"""The training of encoders without labels, on data that is computed from graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ...errors import InputError
from ...graphs import Graph
from ..reading import Sample
from .batches import GraphBatch, GraphTensors
from .contrast import positive
from .encoders import encoder as encoder_by_name
from .encoders.contract import Encoder
from .encoders.reading import positions_of, tensor_reader
from .learning.plan import EpochProgress, TrainingPlan
from .learning.run import Objective as Loss
from .learning.run import digest
from .learning.seeds import seeded
from .learning.training import graph_batching, train
from .learning.weights import arrays_of
from .objectives.choosing import Corpus, Settings, weights_of
from .objectives.clusters import cluster_batching
from .objectives.contract import Objective, Step
from .pretrained_encoder import Pretrained

__all__ = ["Pretrained", "Pretraining"]


class Pretraining(BaseEstimator):  # type: ignore[misc]
    """A training of an encoder without labels, on any mix of graphs.

        L = sum_o w_o L_o

    over objectives o, each with a head of its own that is discarded afterwards:

    - ``statistics``: a linear layer predicts features of the graphs (operators per stage and on
      paths, shares of work, widths, details of design; ``predictors/features``).
    - ``counts``: the same for counts of paths, edges and neighbourhoods, as sketches.
    - ``sizes``: the same for only parameters, FLOPs, activations and depth (FBNetV3).
    - ``scores``: the same for the scores of proxies that samples have.
    - ``masked``: a part of the graph is masked, and the counts of its operators and edges are
      predicted.
    - ``contrast``: graphs with similar operators in similar places (Weisfeiler-Lehman) get near
      vectors.
    - ``spectral``: graphs of similar topology get near vectors (GENNAPE). Each graph is encoded
      twice with different dropout.

    Args:
        encoder: one of ``encoders``.
        options: the options of the encoder; by default those of ``usual_options``. These are width
            64, three layers and the readout ``"counts"`` for ``"gin"``, and width 128 and dropout
            0.1 for others.
        projection: the size p of the vectors that contrast compares, below the encoder's width.
        q: the number of eigenvalues to compare; graphs with fewer nodes repeat their largest
            eigenvalue (``archrank.Graph.spectrum``).
        spectral_temperature: the temperature T of the targets of ``spectral``.
        temperature: the temperature of the similarities of vectors.
        fold: whether to represent repeated blocks once for the encoder; targets read whole graphs.
        epochs, batch_size, learning_rate: settings of the training (Adam, cosine schedule).
        spread: the number of doublings of size that are mixed in a batch if ``together`` is 0. By
            default, all sizes are mixed, since contrast compares only within batches.
        device: the device to train on.
        random_state: the seed of everything random.
        objectives: weights by name; or ``"best"`` for the weights that give the best frozen
            encoders; or ``"published"`` for GENNAPE's, ``{"spectral": 1.0}``. ``published()``
            returns GENNAPE's whole setting.
        label_temperature: the temperature T of the targets of ``contrast``.
        together: the size of groups of graphs from one cluster in a batch; 0 to mix at random. The
            clusters come from k-means on the statistics. With clusters, columns are scaled by their
            variation within clusters.

    Source: GENNAPE (Mills et al., AAAI-23) and FBNetV3 (Dai et al., CVPR-21). GENNAPE states q =
    21 and p < width.

    Notes:
        The encoder, its width, dropout, p, the temperatures, the training and the other objectives
        are our choice.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> small = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=2)
        >>> len(small.fit(small_graphs()).history_)
        2
        >>> both = small.set_params(objectives={"statistics": 1.0, "masked": 0.5}, together=8)
        >>> len(both.fit(small_graphs()).history_)
        2
    """

    def __init__(
        self,
        encoder: str = "gin",
        options: Mapping[str, Any] | None = None,
        projection: int = 32,
        q: int = 21,
        spectral_temperature: float = 0.05,
        temperature: float = 0.1,
        fold: bool = True,
        epochs: int = 30,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        spread: float = float("inf"),
        device: str = "cpu",
        random_state: int = 0,
        *,
        objectives: str | Mapping[str, float] = "best",
        label_temperature: float = 0.1,
        together: int = 16,
    ):
        self.encoder = encoder
        self.options = options
        self.projection = projection
        self.q = q
        self.spectral_temperature = spectral_temperature
        self.temperature = temperature
        self.fold = fold
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.spread = spread
        self.device = device
        self.random_state = random_state
        self.objectives = objectives
        self.label_temperature = label_temperature
        self.together = together

    def fit(
        self,
        graphs: Sequence[Graph | Sample],
        checkpoint: str | Path | None = None,
        progress: EpochProgress | None = None,
    ) -> Pretrained:
        """Return the encoder trained on graphs.

        Args:
            graphs: at least one; equal graphs count as often as they occur. The objective
                ``scores`` needs samples with scores.
            checkpoint: a file from which a training that was stopped continues.
            progress: a function called after each epoch.

        Raises:
            InputError: an argument is out of range, or the checkpoint belongs to another training.
        """
        if not len(graphs):
            raise InputError("graphs: got none, expected at least one")
        for name in ("temperature", "spectral_temperature", "label_temperature"):
            positive(name, getattr(self, name))
        if self.together < 0:
            raise InputError(f"together: got {self.together}, expected 0 or more graphs")
        plan = TrainingPlan(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            schedule="cosine",
            clip=5.0,
            spread=self.spread,
            seed=self.random_state,
            device=self.device,
        )
        options = usual_options(self.encoder) if self.options is None else dict(self.options)
        samples = [one if isinstance(one, Sample) else Sample(one) for one in graphs]
        corpus = Corpus(samples, bool(self.together), self.random_state)
        with seeded(self.random_state):
            model = self._pretext(encoder_by_name(self.encoder, **options), corpus)
        read = tensor_reader(self.fold, positions_of(model.encoder))
        tensors = [read(sample.graph) for sample in samples]
        batching = graph_batching(tensors, plan)
        if corpus.kinds is not None:
            batching = cluster_batching(tensors, corpus.kinds, self.together, plan)
        history = train(
            model,
            self._loss(model, tensors),
            batching,
            plan,
            identity=digest([one.key for one in tensors], sorted(self.get_params().items())),
            checkpoint=checkpoint,
            progress=progress,
        )
        result = Pretrained(self.encoder, options, self.fold)
        result.weights_ = arrays_of(model.encoder)
        result.history_ = [epoch.loss for epoch in history]
        return result

    @classmethod
    def published(cls, **arguments: Any) -> Self:
        """Return GENNAPE's setting: a k-GNN trained by spectral contrast in large mixed batches.

        Args:
            arguments: the arguments that differ from this setting.

        Example:
            >>> Pretraining.published(epochs=10).weights
            {'spectral': 1.0}
        """
        form: dict[str, Any] = {
            "encoder": "kgnn",
            "projection": 64,
            "epochs": 40,
            "objectives": "published",
            "together": 0,
            "batch_size": 256,
            "learning_rate": 1e-3,
        }
        return cls(**{**form, **arguments})

    @classmethod
    def arguments_of_file(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return current arguments for those of a file.

        Older files have two separate weights: ``contrastive`` of the objective ``spectral``, and
        ``statistics`` of ``sizes``. If a file has one of them, its ``objectives`` do not count.

        Example:
            >>> Pretraining.arguments_of_file({"contrastive": 1.0, "statistics": None})
            {'objectives': {'spectral': 1.0, 'sizes': 0.0}}
        """
        now = dict(arguments)
        spectral, sizes = now.pop("contrastive", None), now.pop("statistics", None)
        if spectral is not None or sizes is not None:
            spectral = 1.0 if spectral is None else spectral
            now["objectives"] = {"spectral": spectral, "sizes": sizes or 0.0}
        return now

    @property
    def weights(self) -> dict[str, float]:
        """Return the objectives with weights above 0, and their weights."""
        return weights_of(self.objectives)

    def _pretext(self, encoder: Encoder, corpus: Corpus) -> _Pretext:
        if not 1 <= self.projection < encoder.width:
            raise InputError(
                f"projection: got {self.projection}, expected from 1 to below width {encoder.width}"
            )
        how = Settings(
            encoder.width,
            self.projection,
            self.temperature,
            self.q,
            self.spectral_temperature,
            self.label_temperature,
        )
        return _Pretext(encoder, [corpus.objective(name, how) for name in self.weights])

    def _loss(self, model: _Pretext, tensors: Sequence[GraphTensors]) -> Loss:
        copies = max(one.copies for one in model.chosen)

        def loss(rows: list[int], epoch: int) -> Tensor:
            batch = GraphBatch.of([tensors[i] for i in rows] * copies).to(self.device)
            step = Step(model.encoder, rows, batch, model.encoder(batch), copies)
            total = step.vectors.new_zeros(())
            for weight, objective in zip(self.weights.values(), model.chosen, strict=True):
                total = total + weight * objective(step)
            return total

        return loss


def usual_options(encoder: str, width: int | None = None) -> dict[str, Any]:
    """Return the options that ``Pretraining`` gives an encoder by default.

    Example:
        >>> usual_options("kgnn")
        {'width': 128, 'dropout': 0.1}
    """
    if encoder == "gin":
        return {"width": width or 64, "layers": 3, "readout": "counts"}
    return {"width": width or 128, "dropout": 0.1}


class _Pretext(nn.Module):
    """An encoder with its objectives, which are discarded after training."""

    def __init__(self, encoder: Encoder, objectives: Sequence[Objective]):
        super().__init__()
        self.encoder = encoder
        self.chosen = objectives
        self.objectives = nn.ModuleList(objectives)
