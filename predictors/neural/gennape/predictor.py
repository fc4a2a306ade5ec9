"""The GENNAPE predictor: training, adaptation, and the mean of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
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
from ..learning.plan import EpochProgress, TrainingPlan
from ..losses import loss as loss_by_name
from ..losses import orders
from ..network_predictor import UNWATCHED, NetworkPredictor, Watch
from ..pretrained_encoder import Pretrained, read_pretrained
from ..pretraining import Pretraining
from .combining import COMBINATIONS, Combination, Rows
from .embedding import Embedding, Inputs
from .headed import HEADED, HeadedMember, PairMember, ScoringMember
from .label_transform import TRANSFORMS, LabelTransform
from .members import MEMBERS, FlopsMember, KGNNMember, Lesson, Member
from .settings import HeadSettings, settings_of


class GENNAPE(NetworkPredictor):
    """An encoder trained without labels, heads on it, and the mean of six predictions.

    Embeddings h come from a pretrained encoder (``Pretraining``), and memberships U from fuzzy
    C-means on the h of the training set. The members are:

    - ``"fuzzy"``: ``FuzzyHeads`` on h and U, trained to rank. With ``loss="mse"`` they
      are fitted to labels under ``LabelTransform``, as in the paper;
    - ``"single"``: the same with one head for all clusters;
    - ``"fuzzy pairwise"``, ``"single pairwise"``: ``FuzzyPairHeads`` that learn which of two
      graphs is better; the score is the mean probability to win against reference graphs;
    - ``"kgnn"``: the baseline ``KGNN``;
    - ``"flops"``: log10(1 + multiply-adds).

    The prediction is the weighted mean of the standardised members, on the scale of the labels;
    their weighted deviation is its standard deviation. The weights are equal after ``fit``;
    ``adapt`` sets them by each member's Kendall tau on the new labels.

    ``fit`` learns from one family, as in the paper. ``fit_families`` learns from several, with
    labels of any unit. After either, the predictor can rank new families and ``adapt`` to a few
    labels of one.

    Each part can be left out: a member by ``members``, the clusters by ``clusters=1``, the
    transform by ``transform=None``, and the ranking loss by ``loss="mse"``.
    ``Pretraining(epochs=0)`` leaves out pretraining; ``finetune_encoder=True`` then trains the
    encoder with the heads.

    Args:
        members: names from ``MEMBERS``, at least one.
        transform: ``"flops"`` or None, the transform of labels under ``"mse"`` and ``"huber"``.
            Losses that only order learn the normal scores of untransformed labels.
        loss: the loss of the heads that score graphs: one of ``LOSSES``, or a module, which cannot
            be saved.
        epochs: the number of epochs for the heads.
        clusters: the number C of fuzzy clusters, or a ``FuzzyCMeans`` with other settings, whose
            seed is ``random_state``. There are at most as many clusters as different embeddings.
        pretrained: a ``Pretrained``, its path as a string, or a ``Pretraining`` to apply to the
            graphs given to ``fit``; None for the default ``Pretraining``.
        finetune_encoder: whether to train the encoder with the heads, as a copy for each member.
        heads: the other settings of the heads.
        kgnn: the settings of the member ``"kgnn"``; None for the released ones.
        combination: the scale on which members are combined. ``"standardised"`` is the standardised
            output. ``"ranked"`` is the share of the training set that is predicted to be worse; all
            graphs beyond the training set are tied.
        device: the device to compute on.
        random_state: the seed of everything random.
        space, task, inputs, proxies: see ``Predictor``; proxies are not read.

    Attributes:
        weights_: name -> weight of each member.
        encoder_: the ``Pretrained`` encoder; None if no member reads it.
        fuzzy_: the ``FuzzyCMeans``; an ``entropy_`` near 1 means that there are no clusters.

    Raises:
        InputError: from ``fit``: an argument is out of range.

    Source: GENNAPE (Mills et al., "GENNAPE: towards generalized neural architecture performance
    estimators", AAAI-23), whose released code has only the k-GNN.

    Notes:
        Where the paper says nothing, these are our choices. Members are standardised or ranked
        against the training set (after ``adapt``, against the new labels). Therefore a prediction
        does not depend on the other graphs that are predicted. FLOPs enter as a logarithm. The
        softmax has a temperature of 1, and tau is measured after fine-tuning. The reference graphs
        are drawn from the latest training set. Heads have one hidden layer; they read h less its
        mean, divided by one deviation for all columns. Memberships are always those of the
        pretrained encoder, even if it is fine-tuned. DiffKendall in place of the paper's squared
        error, C, m and the whole training (Adam with a cosine schedule) are also our choice. With
        several families, each batch holds graphs of one family. Members are then standardised by
        their deviation within families, so that FLOPs weigh as much as the others. The paper drops
        training networks below 80% accuracy; here the caller chooses the training networks.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> labels = [float(np.log(graph.params)) for graph in graphs]
        >>> quick = Pretraining("gin", {"width": 16, "layers": 1}, projection=8, epochs=2)
        >>> gennape = GENNAPE(("fuzzy", "flops"), clusters=2, pretrained=quick, epochs=10)
        >>> gennape.fit(graphs, labels).score(graphs, labels) > 0.5
        True
    """

    def __init__(
        self,
        members: Sequence[str] = MEMBERS,
        transform: str | None = "flops",
        loss: str | nn.Module = "diff_kendall",
        epochs: int = 40,
        *,
        clusters: int | FuzzyCMeans = 8,
        pretrained: str | Path | Pretrained | Pretraining | None = None,
        finetune_encoder: bool = False,
        heads: HeadSettings = HeadSettings(),  # noqa: B008
        kgnn: GraphPredictor | None = None,
        combination: str = "standardised",
        device: str = "cpu",
        random_state: int = 0,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.members = members
        self.transform = transform
        self.loss = loss
        self.epochs = epochs
        self.clusters = clusters
        self.pretrained = pretrained
        self.finetune_encoder = finetune_encoder
        self.heads = heads
        self.kgnn = kgnn
        self.combination = combination
        self.device = device
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    weights_: dict[str, float]
    # Defaults of arguments that older files lack.
    loss_: str | nn.Module = "mse"
    families_: list[str] | None = None

    @classmethod
    def arguments_of_file(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return current arguments for those of a file, which may be of an older version."""
        return settings_of(arguments)

    # --- learning -----------------------------------------------------------------------------

    def fit_families(
        self,
        families: Mapping[str, tuple[Any, Any]],
        checkpoint: str | Path | None = None,
        progress: EpochProgress | None = None,
    ) -> Self:
        """Learn from several families; predictions are in standard deviations of a family's labels.

        Labels become normal scores within their family. No loss compares families.

        Args:
            families: name -> architectures and labels, as for ``fit``; larger is better.
            checkpoint, progress: as in ``fit``.

        Raises:
            InputError: as for ``fit``; or there is no family; or ``transform="flops"`` is used with
                ``"mse"`` or ``"huber"``, although normal scores have no unit to divide.
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
        self._learn(samples, np.concatenate(parts), member, Watch.of(checkpoint, progress))
        self.families_ = list(families)
        return self

    def adapt(
        self, X: Any, y: Any, epochs: int = 100, learning_rate: float | None = None, folds: int = 0
    ) -> Self:
        """Fine-tune on a few labels of a target family, and set the weights of the members.

        The heads (and their encoders, with ``finetune_encoder``) and the k-GNN continue their
        training. The pretrained encoder, the memberships and the label transform stay those of
        ``fit``. Members' weights are then softmax(tau), where tau is a member's tau on these
        labels. With held-out folds, they are softmax(tau / s), where s is the standard deviation of
        tau by chance. Members and predictions take the scale of these labels.

        Args:
            X, y: as for ``fit``.
            epochs: the number of epochs of this training; 100 in the paper. With 0, only the
                weights of members change.
            learning_rate: the learning rate of the heads; None for that of ``fit``.
            folds: the number of folds to hold out for the weights, at least 2, with one training
                for each; 0 as in the paper.

        Raises:
            InputError: the predictor was not fitted, all labels are equal, or ``folds`` is out of
                range.
        """
        samples, labels = self._read_to_adapt(X, y)
        n = len(labels)
        if not np.ptp(labels):
            raise InputError(f"y: got {n} equal labels, expected some that differ")
        learnt = labels if self.families_ is None else normal_scores(labels)
        if folds and not 2 <= folds <= n // 2:
            raise InputError(f"folds: got {folds}, expected 0, or 2 to half of {n}")
        rate = learning_rate or self.heads.learning_rate
        taus = self._held_out(samples, learnt, epochs, rate, folds) if folds else []
        self._go_on(samples, learnt, epochs, rate)
        self.label_mean_, self.label_std_ = float(labels.mean()), float(labels.std())
        outputs = self._outputs(samples)
        taus = taus or [kendall(values, labels) for values in outputs.values()]
        shares = softmax(np.nan_to_num(taus) / (kendall_deviation(n) if folds else 1.0))
        self.weights_ = dict(zip(self.weights_, shares.tolist(), strict=True))
        self._set_scales(outputs, np.zeros(n, dtype=np.int64))
        return self

    def _fit(self, samples: list[Sample], labels: Array, watch: Watch = UNWATCHED) -> None:
        raw = labels * self.label_std_ + self.label_mean_
        self._learn(samples, raw, np.zeros(len(samples), dtype=np.int64), watch)
        self.families_ = None

    def _learn(self, samples: list[Sample], labels: Array, families: Rows, watch: Watch) -> None:
        """Learn labels (n,) of samples of families (n,)."""
        self._check()
        self.weights_ = dict.fromkeys(self.members, 1.0 / len(self.members))
        self.loss_ = self.loss
        flops = np.array([sample.graph.flops for sample in samples], dtype=np.float64)
        transform = LabelTransform.of(labels, flops, self.transform == "flops")
        self.target_mean_, self.target_std_ = transform.mean, transform.std
        self.encoder_: Pretrained | None = None
        if any(name in HEADED for name in self.members):
            self._fit_embedding([sample.graph for sample in samples], families, watch)
        if "kgnn" in self.members:
            own = KGNN(random_state=self.random_state, device=self.device)
            self.kgnn_: GraphPredictor = own if self.kgnn is None else clone(self.kgnn)
        self._built = {name: self._new_member(name) for name in self.members}
        inputs = self._inputs(samples)
        lesson = Lesson.of(labels, families, self.heads.references, self.random_state)
        plan = self._plan(self.epochs, self.heads.learning_rate)
        for member in self._built.values():
            member.fit(inputs, lesson, plan, watch)
        self._keep_weights()
        self._set_scales(self._outputs(samples), families)

    def _go_on(self, samples: list[Sample], labels: Array, epochs: int, rate: float) -> None:
        """Continue the training of members on labels (n,) of one family."""
        one = np.zeros(len(labels), dtype=np.int64)
        inputs = self._inputs(samples)
        lesson = Lesson.of(labels, one, self.heads.references, self.random_state)
        for member in self._members().values():
            member.adapt(inputs, lesson, self._plan(epochs, rate))
        self._keep_weights()

    def _held_out(
        self, samples: list[Sample], labels: Array, epochs: int, rate: float, folds: int
    ) -> list[float]:
        """Return each member's tau on held-out labels (n,), as the mean over folds."""
        order = np.random.default_rng(self.random_state).permutation(len(labels))
        taus = []
        for held in np.array_split(order, folds):
            rest, own = np.setdiff1d(order, held), deepcopy(self)
            own._go_on([samples[i] for i in rest], labels[rest], epochs, rate)
            outputs = own._outputs([samples[i] for i in held])
            taus.append([kendall(values, labels[held]) for values in outputs.values()])
        return list(np.nan_to_num(taus).mean(axis=0))

    def _plan(self, epochs: int, learning_rate: float) -> TrainingPlan:
        return TrainingPlan(
            epochs,
            self.heads.batch_size,
            learning_rate,
            schedule="cosine",
            clip=5.0,
            seed=self.random_state,
            device=self.device,
        )

    # --- the embedding --------------------------------------------------------------------------

    def _fit_embedding(self, graphs: list[Graph], families: Rows, watch: Watch) -> None:
        self.encoder_ = self._pretrained(graphs, watch)
        embedding = Embedding.of(
            graphs,
            families,
            self.encoder_,
            self._clustering(),
            sizes=self.heads.sizes,
            tuned=self.finetune_encoder,
            device=self.device,
        )
        self.fuzzy_ = embedding.fuzzy
        self.embedding_mean_, self.embedding_std_ = embedding.mean, embedding.std

    def _clustering(self) -> FuzzyCMeans:
        """Return the unfitted ``FuzzyCMeans`` that clusters graphs."""
        given = self.clusters
        how = clone(given) if isinstance(given, FuzzyCMeans) else FuzzyCMeans(given)
        made: FuzzyCMeans = how.set_params(random_state=self.random_state)
        return made

    def _pretrained(self, graphs: list[Graph], watch: Watch) -> Pretrained:
        how = self.pretrained
        if how is None:
            how = Pretraining(device=self.device, random_state=self.random_state)
        if not isinstance(how, Pretraining):
            return read_pretrained(how)
        return how.fit(graphs, watch.file("pretraining.safetensors"), watch.progress)

    def _embedding(self) -> Embedding:
        assert self.encoder_ is not None
        return Embedding(
            self.encoder_,
            self.fuzzy_,
            self.embedding_mean_,
            self.embedding_std_,
            self.heads.sizes,
            self.finetune_encoder,
            self.device,
        )

    def _inputs(self, samples: list[Sample]) -> Inputs:
        if self.encoder_ is None:
            return Inputs.without_embedding(samples)
        return self._embedding().read(samples)

    # --- members: objects while they work, arrays in files ---------------------------------------

    def _new_member(self, name: str) -> Member:
        if name == "flops":
            return FlopsMember()
        if name == "kgnn":
            return KGNNMember(self.kgnn_)
        shape = (name, self._embedding(), self.heads.hidden)
        if HEADED[name] is PairMember:
            return PairMember(*shape, loss_by_name(self.heads.pair_loss), self.random_state)
        loss = loss_by_name(self.loss_)
        transform = LabelTransform(self.target_mean_, self.target_std_, self.transform == "flops")
        return ScoringMember(*shape, loss, self.random_state, None if orders(loss) else transform)

    def _members(self) -> dict[str, Member]:
        if not hasattr(self, "_built"):  # made from fitted attributes, as after loading
            self._built = {name: self._new_member(name) for name in self.weights_}
            for name, member in self._built.items():
                if isinstance(member, HeadedMember):
                    member.start(self.member_weights_[name])
                if isinstance(member, PairMember):
                    member.references = self.references_[name]
        return self._built

    def _keep_weights(self) -> None:
        """Store the weights and references of members in fitted attributes."""
        members = self._members().items()
        self.member_weights_ = {n: m.weights for n, m in members if isinstance(m, HeadedMember)}
        self.references_ = {n: m.references for n, m in members if isinstance(m, PairMember)}

    # --- predicting ---------------------------------------------------------------------------

    @property
    def gives_std(self) -> bool:
        return len(getattr(self, "weights_", ())) > 1

    def explain(self, X: Any) -> dict[str, Array]:
        """Return the prediction (n,) of each member on its own scale; larger is better.

        Raises:
            NotFittedError: the predictor was not fitted.
        """
        check_is_fitted(self)
        return self._outputs(self._read(X)) if self.label_std_ else {}

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array | None]:
        measured = (self.weights_, self.ordered_, self.score_mean_, self.score_std_)
        mean, std = Combination(self.combination, *measured).combine(self._outputs(samples))
        return mean, std if self.gives_std else None

    def _outputs(self, samples: list[Sample]) -> dict[str, Array]:
        """Return the outputs of each member on its own scale."""
        inputs = self._inputs(samples)
        return {name: member.predict(inputs) for name, member in self._members().items()}

    def _set_scales(self, outputs: Mapping[str, Array], families: Rows) -> None:
        """Set the scales of members and of their mean by these outputs, within families (n,)."""
        measured = Combination.of(self.combination, self.weights_, outputs, families)
        self.ordered_ = measured.ordered
        self.score_mean_, self.score_std_ = measured.mean, measured.std

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
        if isinstance(self.clusters, int) and self.clusters < 1:
            raise InputError(f"clusters: got {self.clusters}, expected at least 1")
