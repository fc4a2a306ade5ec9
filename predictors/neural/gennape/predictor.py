"""The GENNAPE predictor: training, adaptation, and the mean of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ....basics import Array
from ....errors import InputError
from ....graphs import Graph
from ....metrics import kendall, kendall_deviation
from ...contract import checked_labels
from ...features.rank_transform import normal_scores
from ...reading import Sample
from ..fuzzy import FuzzyCMeans
from ..graph_predictor import KGNN, GraphPredictor
from ..learning.plan import Plan, Progress
from ..learning.scales import divisor
from ..learning.weights import State, arrays_of, load_arrays
from ..losses import loss as loss_by_name
from ..losses import orders
from ..network_predictor import NetworkPredictor
from ..pretrained_encoder import Pretrained, read_pretrained
from ..pretraining import Pretraining
from .combining import COMBINATIONS, Rows, centred, comparable
from .labels import TRANSFORMS, LabelTransform, flops_of
from .members import HEADS, MEMBERS, Embedding, Inputs, Lesson, Member, is_pairwise, with_sizes


class GENNAPE(NetworkPredictor):
    """An encoder trained without labels, heads on it, and the mean of six predictions.

    Embeddings h come from a pretrained encoder (``Pretraining``), and memberships U from fuzzy
    C-means on the h of the training set. The members are:

    - ``"fuzzy"``: ``FuzzyHeads`` on h, U, trained to rank, or with ``loss="mse"`` fitted to labels
      under ``LabelTransform`` as in the paper;
    - ``"single"``: the same with one head for all;
    - ``"fuzzy pairwise"``, ``"single pairwise"``: ``FuzzyPairHeads`` fitted to which of two
      is better; the score is the mean probability to win against reference graphs;
    - ``"kgnn"``: the baseline ``KGNN``;
    - ``"flops"``: log10(1 + multiply-adds).

    The prediction is the weighted mean of the standardised members, on the scale of the labels;
    their weighted deviation is its standard deviation. Weights are equal; ``adapt`` sets them by
    each member's Kendall tau on its labels.

    ``fit`` learns one family, as in the paper. ``fit_families`` learns several, with labels of any
    unit. Both can then rank new families and ``adapt`` to a few labels of one.

    Each ablation is one argument: ``members``, ``clusters=1``, ``transform=None``,
    ``contrastive=False``, ``loss="mse"``.

    Args:
        members: names from ``MEMBERS``, at least one.
        transform: ``"flops"`` or None, of the labels that ``"mse"`` and ``"huber"`` see; losses
            that only order learn the normal scores of labels as they are.
        clusters, m: C and the fuzzifier of ``FuzzyCMeans``; no more clusters than different
            embeddings are made.
        contrastive: whether the encoder is pretrained; if not, the same encoder starts at random
            and is trained with the heads.
        finetune_encoder: train the encoder with the heads, a copy for each member.
        pretrained: a ``Pretrained``, or the path of one as a string; None to pretrain on the
            graphs given to ``fit``.
        pretraining: how; None for the defaults of ``Pretraining``.
        kgnn: the member's settings; None for those released.
        hidden: width of the heads' hidden layers.
        epochs, batch_size, learning_rate: of the heads' training.
        loss: of the heads that score graphs, one of ``LOSSES``, or a module (which no file holds).
        pair_loss: of the heads that compare pairs: ``"pairwise_logistic"`` classifies each pair;
            others see each graph's mean log odds against its batch.
        sizes: let heads read parameters, FLOPs, activations and depth beside h (our choice): what
            families have in common above all.
        references: the number of reference graphs.
        combination: of members: ``"standardised"``, or ``"ranked"``: the share of the training set
            that is predicted to be worse, which ties all that is beyond it.
        device: the device to compute on.
        random_state: the seed of everything random.
        space, task, inputs, proxies: see ``Predictor``; proxies are not
            read.

    Attributes:
        weights_: name -> weight of each member.
        encoder_: the ``Pretrained`` encoder; None if no member reads it.
        fuzzy_: the ``FuzzyCMeans``; its ``entropy_`` near 1 says that there are no clusters.

    Raises:
        InputError: from ``fit``: an argument is out of range.

    Source: GENNAPE (Mills et al., "GENNAPE: towards generalized neural architecture performance
    estimators", AAAI-23), whose released code holds the k-GNN only.

    Notes:
        Where the paper says nothing, these are our choices. Members are standardised or ranked
        against the training set (after ``adapt``, against the labels adapted to), never
        against what is predicted, so that a prediction does not depend on its company. FLOPs enter
        as a logarithm. The softmax has a temperature of 1, and tau is that after fine-tuning. The
        reference graphs are drawn from what was trained on last. Heads have one hidden layer; they
        read h less its mean, divided by one deviation for all columns. Memberships stay those of
        the encoder as pretrained, even where it is fine-tuned. DiffKendall in place of the paper's
        squared error, C, m and the whole training (Adam with a cosine schedule) are ours too.
        Of several families batches hold one each, and members are standardised by their deviation
        within families, so that FLOPs weigh as much as the others there, too. The paper drops
        training networks below 80% accuracy; here that is left to who gives the labels.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> labels = [float(np.log(graph.params)) for graph in graphs]
        >>> quick = Pretraining("gin", {"width": 16, "layers": 1}, projection=8, epochs=2)
        >>> gennape = GENNAPE(("fuzzy", "flops"), clusters=2, pretraining=quick, epochs=10)
        >>> gennape.fit(graphs, labels).score(graphs, labels) > 0.5
        True
    """

    def __init__(
        self,
        members: Sequence[str] = MEMBERS,
        transform: str | None = "flops",
        clusters: int = 8,
        m: float = 2.0,
        contrastive: bool = True,
        finetune_encoder: bool = False,
        pretrained: str | Path | Pretrained | None = None,
        pretraining: Pretraining | None = None,
        kgnn: GraphPredictor | None = None,
        hidden: int = 64,
        epochs: int = 40,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        references: int = 64,
        combination: str = "standardised",
        loss: str | nn.Module = "diff_kendall",
        pair_loss: str | nn.Module = "pairwise_logistic",
        sizes: bool = False,
        *,
        device: str = "cpu",
        random_state: int = 0,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.members = members
        self.transform = transform
        self.clusters = clusters
        self.m = m
        self.contrastive = contrastive
        self.finetune_encoder = finetune_encoder
        self.pretrained = pretrained
        self.pretraining = pretraining
        self.kgnn = kgnn
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.references = references
        self.combination = combination
        self.loss = loss
        self.pair_loss = pair_loss
        self.sizes = sizes
        self.device = device
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    weights_: dict[str, float]
    # What files that were written before there was a choice leave out.
    loss_: str | nn.Module = "mse"
    families_: list[str] | None = None

    # --- learning -----------------------------------------------------------------------------

    def adapt(
        self, X: Any, y: Any, epochs: int = 100, learning_rate: float | None = None, folds: int = 0
    ) -> Self:
        """Fine-tune on a few labels of a target family, and set the weights of the members.

        Heads (with ``finetune_encoder`` their encoders too) and the k-GNN go on training; the
        encoder, memberships and the label transform stay those of ``fit``. A member's weight
        is then softmax(tau), its tau on these labels, or where folds are held out
        softmax(tau / s), s what chance moves tau by. All take the scale of these labels.

        Args:
            X, y: as ``fit``.
            epochs: of this training; 100 in the paper, 0 only weighs.
            learning_rate: of the heads; None for that of ``fit``.
            folds: how many, from 2, are held out to weigh by, a training each; 0 as in the paper.

        Raises:
            InputError: not fitted, labels that are equal, or ``folds`` out of range.
        """
        samples, labels = self._read_to_adapt(X, y)
        n = len(labels)
        if not np.ptp(labels):
            raise InputError(f"y: got {n} equal labels, expected some that differ")
        learnt = labels if self.families_ is None else normal_scores(labels)
        if folds and not 2 <= folds <= n // 2:
            raise InputError(f"folds: got {folds}, expected 0, or 2 to half of {n}")
        rate = learning_rate or self.learning_rate
        taus = self._held_out(samples, learnt, epochs, rate, folds) if folds else []
        self._go_on(samples, learnt, epochs, rate)
        self.label_mean_, self.label_std_ = float(labels.mean()), float(labels.std())
        outputs = self._outputs(samples)
        taus = taus or [kendall(outputs[name], labels) for name in self.weights_]
        shares = softmax(np.nan_to_num(taus) / (kendall_deviation(n) if folds else 1.0))
        self.weights_ = dict(zip(self.weights_, shares.tolist(), strict=True))
        self._set_scales(outputs, np.zeros(n, dtype=np.int64))
        return self

    def _go_on(self, samples: list[Sample], labels: Array, epochs: int, rate: float) -> None:
        """Let members go on training."""
        family = np.zeros(len(labels), dtype=np.int64)
        self._train(self._models(), samples, labels, family, epochs, rate)
        if "kgnn" in self.members:
            self.kgnn_.adapt(samples, labels, epochs)

    def _held_out(
        self, samples: list[Sample], labels: Array, epochs: int, rate: float, folds: int
    ) -> list[float]:
        """Return each member's tau on labels (n,) held out, the mean over folds."""
        order = np.random.default_rng(self.random_state).permutation(len(labels))
        taus = []
        for held in np.array_split(order, folds):
            rest, own = np.setdiff1d(order, held), deepcopy(self)
            own._go_on([samples[i] for i in rest], labels[rest], epochs, rate)
            said = own._outputs([samples[i] for i in held])
            taus.append([kendall(said[name], labels[held]) for name in self.weights_])
        return list(np.nan_to_num(taus).mean(axis=0))

    def fit_families(
        self,
        families: Mapping[str, tuple[Any, Any]],
        checkpoint: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from several families; predictions are in deviations of a family's labels.

        Labels become normal scores within their family. No loss compares families.

        Args:
            families: name -> architectures and labels, as ``fit`` takes; larger is better.
            checkpoint, progress: as in ``fit``.

        Raises:
            InputError: as ``fit``; no family; or ``transform="flops"`` with a loss that measures
                how far off predictions are: scores of several families have no unit to divide.
        """
        if not families:
            raise InputError("families: got none, expected at least one")
        samples: list[Sample] = []
        parts: list[Array] = []
        for name, (given, labels) in families.items():
            read = self._read(given)
            known = checked_labels(labels, len(read))
            if not np.ptp(known):
                raise InputError(f"families: all labels of {name!r} are equal, leave it out")
            samples += read
            parts.append(normal_scores(known))
        if self.transform == "flops" and not orders(loss_by_name(self.loss)):
            raise InputError("transform: got 'flops' for several families, expected None")
        sizes = [len(part) for part in parts]
        self.n_samples_, self.label_mean_, self.label_std_ = sum(sizes), 0.0, 1.0
        member = np.repeat(np.arange(len(sizes)), sizes)
        with self._watched(checkpoint, progress):
            self._learn(samples, np.concatenate(parts), member)
        self.families_ = list(families)
        return self

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        raw = labels * self.label_std_ + self.label_mean_
        self._learn(samples, raw, np.zeros(len(samples), dtype=np.int64))
        self.families_ = None

    def _learn(self, samples: list[Sample], labels: Array, families: Rows) -> None:
        """Learn labels (n,) of samples of families (n,)."""
        self._check()
        graphs = [sample.graph for sample in samples]
        self.weights_ = dict.fromkeys(self.members, 1.0 / len(self.members))
        self.loss_ = self.loss
        transform = LabelTransform.of(labels, flops_of(graphs), self.transform == "flops")
        self.target_mean_, self.target_std_ = transform.mean, transform.std
        self.member_weights_: dict[str, State] = {}
        self.encoder_: Pretrained | None = None
        models: dict[str, Member] = {}
        if any(name in HEADS for name in self.members):
            self._fit_embedding(graphs, families)
            models = self._new_members([name for name in self.members if name in HEADS])
        self._train(models, samples, labels, families, self.epochs, self.learning_rate)
        if "kgnn" in self.members:
            own = KGNN(random_state=self.random_state, device=self.device)
            self.kgnn_: GraphPredictor = own if self.kgnn is None else clone(self.kgnn)
            self.kgnn_.fit(samples, labels, self._watch.file("kgnn"), self._watch.progress)
        self._set_scales(self._outputs(samples), families)

    def _fit_embedding(self, graphs: list[Graph], families: Rows) -> None:
        self.encoder_ = self._pretrained(graphs)
        embedded = self.encoder_.embed(graphs, self.device)
        read = with_sizes(embedded, graphs) if self.sizes else embedded
        self.embedding_mean_ = read.mean(axis=0)
        if self.sizes or families.any():
            within = [divisor(centred(column, families)) for column in read.T]
            self.embedding_std_: float | Array = np.array(within)
        else:
            self.embedding_std_ = divisor((read - self.embedding_mean_).ravel())
        clusters = min(self.clusters, len(np.unique(embedded, axis=0)))
        self.fuzzy_ = FuzzyCMeans(clusters, m=self.m, random_state=self.random_state)
        self.fuzzy_.fit(embedded)

    def _pretrained(self, graphs: list[Graph]) -> Pretrained:
        if self.pretrained is not None:
            return read_pretrained(self.pretrained)
        how = self.pretraining
        if how is None:
            how = Pretraining(device=self.device, random_state=self.random_state)
        if not self.contrastive:
            how = clone(how).set_params(epochs=0)
        return how.fit(graphs, self._watch.file("pretraining.safetensors"), self._watch.progress)

    def _embedding(self) -> Embedding:
        assert self.encoder_ is not None
        return Embedding(
            self.encoder_,
            self.fuzzy_,
            self.embedding_mean_,
            self.embedding_std_,
            self.sizes,
            self.finetune_encoder or not self.contrastive,
            self.device,
        )

    def _new_members(self, names: Sequence[str]) -> dict[str, Member]:
        if not names:
            return {}
        embedding = self._embedding()
        return {name: embedding.member(name, self.hidden, self.random_state) for name in names}

    def _train(
        self,
        models: dict[str, Member],
        samples: list[Sample],
        labels: Array,
        families: Rows,
        epochs: int,
        learning_rate: float,
    ) -> None:
        """Train members on labels as given; keep what predictions and files need of them."""
        graphs = [sample.graph for sample in samples]
        inputs = self._inputs(graphs)
        lesson = self._lesson(labels, flops_of(graphs), families)
        for name, model in models.items():
            plan = Plan(
                epochs,
                self.batch_size,
                learning_rate,
                schedule="cosine",
                clip=5.0,
                seed=self.random_state + MEMBERS.index(name),
                device=self.device,
            )
            file = self._watch.file(f"{name}.safetensors")
            model.learn(inputs, lesson, plan, file, self._watch.progress)
        self.member_weights_ = {name: arrays_of(model) for name, model in models.items()}
        self._built = models
        drawn = np.random.default_rng(self.random_state).permutation(len(samples))
        rows = np.sort(drawn[: self.references])
        self.references_ = {
            name: model.references(inputs, rows)
            for name, model in models.items()
            if is_pairwise(name)
        }

    def _lesson(self, labels: Array, flops: Array, families: Rows) -> Lesson:
        """Say what heads learn from labels (n,) of graphs of families (n,)."""
        if self._regresses:
            targets = self._transform().forward(labels, flops)
        else:
            targets = np.empty(len(labels))
            for family in np.unique(families):
                rows = families == family
                targets[rows] = normal_scores(labels[rows])
        return Lesson(
            torch.from_numpy(targets).float(),
            torch.from_numpy(np.unique(labels, return_inverse=True)[1]),
            torch.from_numpy(families),
            loss_by_name(self.loss_),
            loss_by_name(self.pair_loss),
        )

    @property
    def _regresses(self) -> bool:
        """Whether heads that score graphs give transformed labels, and not any scale."""
        return not orders(loss_by_name(self.loss_))

    # --- predicting ---------------------------------------------------------------------------

    @property
    def gives_std(self) -> bool:
        return len(getattr(self, "weights_", ())) > 1

    def explain(self, X: Any) -> dict[str, Array]:
        """Return the prediction (n,) of each member on its own scale; larger is better.

        Raises:
            NotFittedError: it was not fitted.
        """
        check_is_fitted(self)
        return self._outputs(self._read(X)) if self.label_std_ else {}

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array | None]:
        outputs = self._outputs(samples)
        scores = np.array([self._comparable(name, outputs[name]) for name in self.weights_])
        weights = np.array(list(self.weights_.values()))
        mean = weights @ scores
        std = np.sqrt(weights @ (scores - mean) ** 2) / self.score_std_
        return (mean - self.score_mean_) / self.score_std_, std if len(weights) > 1 else None

    def _outputs(self, samples: list[Sample]) -> dict[str, Array]:
        """Return what each member says, on its own scale."""
        graphs = [sample.graph for sample in samples]
        flops, inputs, models = flops_of(graphs), self._inputs(graphs), self._models()
        outputs: dict[str, Array] = {}
        for name in self.weights_:
            if name == "flops":
                outputs[name] = np.log10(1.0 + flops)
            elif name == "kgnn":
                outputs[name] = self.kgnn_.predict(samples)
            elif is_pairwise(name):
                outputs[name] = models[name].wins(inputs, self.references_[name])
            else:
                scores = models[name].scores(inputs)
                regressed = self._regresses
                outputs[name] = self._transform().inverse(scores, flops) if regressed else scores
        return outputs

    def _inputs(self, graphs: list[Graph]) -> Inputs:
        if self.encoder_ is None:
            return Inputs([], torch.zeros(0, 0), torch.zeros(0, 0))
        return self._embedding().read(graphs)

    def _transform(self) -> LabelTransform:
        return LabelTransform(self.target_mean_, self.target_std_, self.transform == "flops")

    def _models(self) -> dict[str, Member]:
        if not hasattr(self, "_built"):  # made of what files hold: they give the same
            models = self._new_members(list(self.member_weights_))
            for name, model in models.items():
                load_arrays(model, self.member_weights_[name])
                model.eval()
            self._built = models
        return self._built

    def _set_scales(self, outputs: Mapping[str, Array], families: Rows) -> None:
        """Let members and their mean be measured against these outputs, within families (n,)."""
        within = {name: centred(values, families) for name, values in outputs.items()}
        self.ordered_ = {name: np.sort(values) for name, values in within.items()}
        scores = [w * self._comparable(name, within[name]) for name, w in self.weights_.items()]
        mean = np.sum(scores, axis=0)
        self.score_mean_ = float(mean.mean())
        spread = float(mean.std())
        self.score_std_ = spread if spread > 1e-6 else 1.0  # members are of size 1

    def _comparable(self, name: str, values: Array) -> Array:
        return comparable(values, self.ordered_[name], self.combination)

    def _check(self) -> None:
        unknown = [name for name in self.members if name not in MEMBERS]
        if unknown or not len(self.members) or len(set(self.members)) < len(self.members):
            raise InputError(
                f"members: got {tuple(self.members)}, expected at least one, each once, of "
                f"{', '.join(map(repr, MEMBERS))}"
            )
        if self.transform not in TRANSFORMS:
            raise InputError(f"transform: got {self.transform!r}, expected 'flops' or None")
        if self.combination not in COMBINATIONS:
            raise InputError(
                f"combination: got {self.combination!r}, expected one of {', '.join(COMBINATIONS)}"
            )
        for name in ("clusters", "hidden", "references"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected at least 1")
        if self.pretrained is not None and not self.contrastive:
            raise InputError("pretrained: got an encoder with contrastive=False, expected None")
