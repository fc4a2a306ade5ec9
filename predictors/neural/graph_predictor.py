"""Predictors that read graphs directly, with an encoder, a head and a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from ...basics import Array
from ...errors import InputError
from ..features.rank_transform import normal_scores
from ..reading import Sample
from .batches import GraphTensors
from .encoders import encoder as encoder_by_name
from .encoders.reading import positions_of, tensor_reader
from .learning.plan import TrainingPlan
from .learning.scales import (
    context_scale,
    contexts_of,
    mean_and_std,
    scaled_statistics,
    statistic_scale,
)
from .learning.seeds import seeded
from .learning.training import train_on_labels
from .learning.weights import arrays_of, load_arrays
from .losses import loss as loss_by_name
from .losses import orders
from .network_predictor import UNWATCHED, NetworkPredictor, Watch
from .pretrained_encoder import Pretrained, read_pretrained
from .regressor import Regressor

_ORDERING: Mapping[str, Any] = {
    "batching": "similar",
    "spread": float("inf"),
    "selection": "kendall",
}
"""Fields of ``TrainingPlan`` for losses that compare graphs, so that batches mix all sizes."""


class GraphPredictor(NetworkPredictor):
    """A graph encoder with a head, trained on labels; several members give a standard deviation.

    Ranking losses learn the normal scores of labels, in batches that mix sizes. They leave the
    scale of predictions open, so predictions are standardised on the training set. Mean squared
    error and Huber learn standardised labels, and predictions keep their scale. Statistics of
    samples' nodes become ``asinh(v / s)``, where s is the median magnitude of their nonzero values,
    and are then standardised. A context is standardised. Both scales come from the training set.

    Notes:
        The targets and scales are our choice.

    Args:
        encoder: one of ``encoders``.
        options: the options of the encoder, such as ``{"width": 64}``.
        head: the widths of the head's hidden layers.
        loss: one of ``LOSSES``, or a module (which cannot be saved).
        epochs, batch_size, learning_rate: the settings of the training.
        training: other fields of ``TrainingPlan``, by name. The defaults are AdamW with weight
            decay 0.01, a cosine schedule, and gradients clipped at 5. If the loss compares graphs,
            batches mix all sizes (``{"spread": 0.5}`` mixes fewer).
        members: the number of networks, trained from different seeds; with one, there is no
            standard deviation.
        fold: whether to represent repeated blocks once (``archrank.predictors.features.repeats``).
        standardise: whether to train on standardised labels instead of the given ones.
        normal_scores: whether ranking losses learn the normal scores of labels, regardless of
            ``standardise``.
        pretrained: a ``Pretrained``, or its path as a string. Its encoder, options and folding are
            used, and training starts from its weights.
        device: the device to compute on.
        random_state: the seed of everything random.
        space, task, inputs, proxies: see ``Predictor``; scores of proxies are not read.

    Attributes:
        history_: for each member, the mean loss of each epoch.

    Raises:
        InputError: from ``fit``: an argument is out of range, or samples differ in their context.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> labels = [float(np.log(graph.params)) for graph in graphs]
        >>> predictor = GraphPredictor("gin", {"width": 16, "layers": 2}, epochs=30)
        >>> predictor.fit(graphs, labels).score(graphs, labels) > 0.5
        True
    """

    _TRAINING: ClassVar[Mapping[str, Any]] = {
        "optimiser": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "clip": 5.0,
    }

    def __init__(
        self,
        encoder: str = "gin",
        options: Mapping[str, Any] | None = None,
        head: Sequence[int] = (64,),
        loss: str | nn.Module = "pairwise_logistic",
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        training: Mapping[str, Any] | None = None,
        members: int = 1,
        *,
        fold: bool = True,
        standardise: bool = True,
        normal_scores: bool = True,
        pretrained: str | Path | Pretrained | None = None,
        device: str = "cpu",
        random_state: int = 0,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.encoder = encoder
        self.options = options
        self.head = head
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.training = training
        self.members = members
        self.fold = fold
        self.standardise = standardise
        self.normal_scores = normal_scores
        self.pretrained = pretrained
        self.device = device
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    def adapt(
        self,
        X: Any,
        y: Any,
        epochs: int = 100,
        batch_size: int | None = None,
        learning_rate: float | None = None,
    ) -> Self:
        """Continue to train all weights on a few labels of other architectures.

        Labels, statistics and context keep their scale from ``fit``. The defaults are those of
        GENNAPE's released code (for 50 labels).

        Args:
            X, y: as for ``fit``.
            epochs: the number of epochs of this training.
            batch_size: None for 1, or for that of ``fit`` if the loss compares graphs.
            learning_rate: None for that of ``fit``.

        Raises:
            InputError: as for ``fit``. Or there are no weights to train further, since ``fit`` was
                not called or all its labels were equal.
        """
        samples, given = self._read_to_adapt(X, y)
        labels = (given - self.label_mean_) / self.label_std_
        size = batch_size or (self.batch_size if self._orders else 1)
        changes: dict[str, Any] = {"epochs": epochs, "batch_size": size, "validation": 0.0}
        if learning_rate is not None:
            changes["learning_rate"] = learning_rate
        self._train(self._models(), samples, labels, **changes)
        return self

    def _fit(self, samples: list[Sample], labels: Array, watch: Watch = UNWATCHED) -> None:
        if self.members < 1:
            raise InputError(f"members: got {self.members!r}, expected at least 1")
        source = None if self.pretrained is None else read_pretrained(self.pretrained)
        self.encoder_ = self.encoder if source is None else source.encoder
        options = self.options if source is None else source.options
        self.folded_ = self.fold if source is None else source.fold
        self.statistics_ = sorted({name for sample in samples for name in sample.node_scores})
        self.statistic_scale_ = statistic_scale(samples, self.statistics_)
        self.context_scale_ = context_scale(samples)
        self.options_ = dict(options or {})
        if self.statistics_:
            self.options_["statistics"] = len(self.statistics_)
        if self.context_scale_.shape[1]:
            self.options_["context"] = self.context_scale_.shape[1]
        models = []
        for member in range(self.members):
            with seeded(self.random_state + member):
                models.append(self._model())
            if source is not None:
                source.start(models[-1].encoder)
        self._train(models, samples, labels, watch)

    @property
    def gives_std(self) -> bool:
        return self.members > 1

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array | None]:
        models = self._models()
        graphs, context = self._tensors(samples, models[0]), self._context(samples)
        values = np.array([model.predict(graphs, context) for model in models])
        if not (self.standardise or self._orders):
            values = (values - self.label_mean_) / self.label_std_
        values = (values - self.output_scale_[:, :1]) / self.output_scale_[:, 1:]
        return values.mean(axis=0), values.std(axis=0) if len(values) > 1 else None

    def _train(
        self,
        models: list[Regressor],
        samples: list[Sample],
        labels: Array,
        watch: Watch = UNWATCHED,
        **changes: Any,
    ) -> None:
        """Train models, and store what predictions and files need."""
        graphs, context = self._tensors(samples, models[0]), self._context(samples)
        targets = torch.from_numpy(self._targets(labels).astype(np.float32))
        self.history_ = []
        for member, model in enumerate(models):
            history = train_on_labels(
                model,
                graphs,
                targets,
                self._plan(self.random_state + member, **changes),
                context=context,
                loss=self.loss,
                checkpoint=watch.file(f"{member}.safetensors"),
                progress=watch.progress,
            )
            self.history_.append([epoch.loss for epoch in history])
        self.weights_ = [arrays_of(model) for model in models]
        self._built = models
        self.output_scale_ = np.tile([0.0, 1.0], (len(models), 1))
        if self._orders:
            self.output_scale_ = np.array(
                [mean_and_std(m.predict(graphs, context)) for m in models]
            )

    def _targets(self, labels: Array) -> Array:
        """Return the targets of training for standardised labels (n,)."""
        if self._orders and self.normal_scores:
            return normal_scores(labels)
        return labels if self.standardise else labels * self.label_std_ + self.label_mean_

    @property
    def _orders(self) -> bool:
        return orders(loss_by_name(self.loss))

    def _plan(self, seed: int, **changes: Any) -> TrainingPlan:
        fields: dict[str, Any] = {
            **self._TRAINING,
            **(_ORDERING if self._orders else {}),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "device": self.device,
            "seed": seed,
            **(self.training or {}),
            **changes,
        }
        unknown = sorted(set(fields) - set(TrainingPlan.__dataclass_fields__))
        if unknown:
            raise InputError(
                f"training: got {', '.join(unknown)}, expected fields of TrainingPlan: "
                f"{', '.join(TrainingPlan.__dataclass_fields__)}"
            )
        return TrainingPlan(**fields)

    def _model(self) -> Regressor:
        return Regressor(encoder_by_name(self.encoder_, **self.options_), tuple(self.head))

    def _models(self) -> list[Regressor]:
        if not hasattr(self, "_built"):  # made from fitted attributes, as after loading
            models = []
            for weights in self.weights_:
                with seeded(0):  # building draws weights; the caller's random state stays
                    models.append(self._model().to(self.device))
                load_arrays(models[-1], weights)
            self._built = models
        return self._built

    def _tensors(self, samples: Sequence[Sample], model: Regressor) -> list[GraphTensors]:
        positions = positions_of(model.encoder)
        read = tensor_reader(self.folded_, positions)
        if not self.statistics_:
            return [read(sample.graph) for sample in samples]
        return [
            GraphTensors.of(
                sample.graph,
                fold=self.folded_,
                positions=positions,
                statistics=scaled_statistics(sample, self.statistics_, self.statistic_scale_),
            )
            for sample in samples
        ]

    def _context(self, samples: Sequence[Sample]) -> Tensor | None:
        mean, std = self.context_scale_
        if not len(mean):
            return None
        rows = contexts_of(samples)
        if rows.shape[1] != len(mean):
            raise InputError(
                f"X: got a context of {rows.shape[1]} numbers, expected the {len(mean)} of fit"
            )
        return torch.from_numpy(((rows - mean) / std).astype(np.float32))


class KGNN(GraphPredictor):
    """GENNAPE's baseline: its k-GNN encoder and a linear layer, trained as its released code does.

    The encoder has a node embedding of size 32, six GraphConv layers with tanh, the mean of the
    nodes, and a projection of four linear layers. A linear layer predicts the label as given, which
    is an accuracy in [0, 1] in the released code. Training minimises the mean squared error by Adam
    at 1e-4 without weight decay, for 40 epochs, with gradients clipped at 5. Batches have up to 32
    graphs with equal numbers of nodes and of weighted nodes, and are cut once. The last ninth of
    the labels selects the epoch with the least mean absolute relative error. This corresponds to
    the released split of 80% for training, 10% for validation and 10% for tests.

    Two things differ from the released code. Operators are read from PyTorch instead of TensorFlow.
    Kernels above 7 count as 7, where the released code fails. For labels other than accuracies in
    [0, 1], use ``standardise=True`` and a larger learning rate. With it, pass
    ``training={"selection": "kendall"}``, since labels near 0 have no relative error.

    Args:
        options, head, loss, epochs, batch_size, learning_rate, members, fold, standardise: see
            ``GraphPredictor``.
        pretrained, device, random_state, space, task, inputs, proxies: see ``GraphPredictor``.
        training: see ``GraphPredictor``; the other fields are as above.

    Source: GENNAPE (Mills et al., AAAI-23) and its released code, also for ``adapt``.

    Example:
        >>> KGNN().epochs, KGNN().learning_rate
        (40, 0.0001)
    """

    _TRAINING: ClassVar[Mapping[str, Any]] = {
        "clip": 5.0,
        "batching": "equal",
        "validation": 1 / 9,
        "holdout": "last",
        "selection": "mape",
    }

    def __init__(
        self,
        options: Mapping[str, Any] | None = None,
        head: Sequence[int] = (),
        loss: str | nn.Module = "mse",
        epochs: int = 40,
        batch_size: int = 32,
        learning_rate: float = 1e-4,
        training: Mapping[str, Any] | None = None,
        members: int = 1,
        *,
        fold: bool = False,
        standardise: bool = False,
        normal_scores: bool = True,
        pretrained: str | Path | Pretrained | None = None,
        device: str = "cpu",
        random_state: int = 0,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        super().__init__(
            "kgnn",
            options,
            head,
            loss,
            epochs,
            batch_size,
            learning_rate,
            training,
            members,
            fold=fold,
            standardise=standardise,
            normal_scores=normal_scores,
            pretrained=pretrained,
            device=device,
            random_state=random_state,
            space=space,
            task=task,
            inputs=inputs,
            proxies=proxies,
        )
