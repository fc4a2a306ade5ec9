"""GENNAPE: a contrastive encoder, heads weighed by fuzzy clusters, and a mean of six members."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ...metrics import kendall
from ..contract import Predictor, checked_labels
from ..reading import Sample
from .batches import GraphBatch, GraphTensors
from .encoders.contract import Encoder, encode
from .encoders.reading import positions_of, tensor_reader
from .fuzzy import FuzzyCMeans
from .graph_predictor import KGNN, GraphPredictor
from .plan import Plan, Progress
from .pretrained_encoder import Pretrained, read_pretrained
from .pretraining import Pretraining
from .run import digest
from .scales import divisor
from .seeds import seeded
from .training import even_batching, train
from .weights import State, arrays_of, load_arrays

MEMBERS = ("fuzzy", "single", "fuzzy pairwise", "single pairwise", "kgnn", "flops")
"""The paper's CL+FCM+T, CL+T, CL+Pairwise+FCM, CL+Pairwise, k-GNN, FLOPs."""
TRANSFORMS = ("flops", None)
COMBINATIONS = ("standardised", "ranked")


@dataclass(frozen=True)
class LabelTransform:
    """Labels relative to what their size would let expect, standardised.

        y = (A / (log10(F + 1) + 1) - mean) / std,  F in billions of multiply-adds

    Attributes:
        mean, std: of the quotients of the training set.
        by_flops: whether to divide at all; if not, y is A standardised.

    Source: GENNAPE (AAAI-23), its "+T".

    Example:
        >>> labels, flops = np.array([0.9, 0.92]), np.array([1e9, 9e9])
        >>> transform = LabelTransform.of(labels, flops)
        >>> transform.forward(labels, flops).round(6).tolist()
        [1.0, -1.0]
        >>> transform.inverse(np.array([1.0, -1.0]), flops).round(6).tolist()
        [0.9, 0.92]
    """

    mean: float
    std: float
    by_flops: bool = True

    @classmethod
    def of(cls, labels: Array, flops: Array, by_flops: bool = True) -> LabelTransform:
        """The transform whose mean and deviation are those of these labels (n,)."""
        plain = cls(0.0, 1.0, by_flops).forward(labels, flops)
        return cls(float(plain.mean()), divisor(plain), by_flops)

    def forward(self, labels: Array, flops: Array) -> Array:
        """y of labels A (n,) of networks with so many multiply-adds (n,)."""
        return (labels / self._expected(flops) - self.mean) / self.std

    def inverse(self, values: Array, flops: Array) -> Array:
        """A of y."""
        return (values * self.std + self.mean) * self._expected(flops)

    def _expected(self, flops: Array) -> Array:
        return np.log10(flops / 1e9 + 1.0) + 1.0 if self.by_flops else np.ones_like(flops)


class FuzzyHeads(nn.Module):
    """One perceptron per cluster, weighed by membership.

        y'_i = sum_j U_ij f_j(h_i),  f_j(h) = w_j SiLU(W_j h + b_j) + c_j

    Args:
        width: of the vectors h.
        hidden: width of each hidden layer.
        clusters: how many perceptrons.

    Source: GENNAPE (AAAI-23), its MLP-E; one hidden layer with SiLU is our choice.

    Example:
        >>> heads = FuzzyHeads(4, 8, 2)
        >>> heads(torch.zeros(3, 4), torch.full((3, 2), 0.5)).shape
        torch.Size([3])
    """

    def __init__(self, width: int, hidden: int, clusters: int):
        super().__init__()
        self.clusters = clusters
        self.hidden = nn.Linear(width, clusters * hidden)
        self.out = nn.Parameter(_drawn(clusters, hidden))
        self.bias = nn.Parameter(torch.zeros(clusters))

    def forward(self, vectors: Tensor, memberships: Tensor) -> Tensor:
        """y' (n,) of vectors (n, width) and their memberships (n, clusters)."""
        hidden = functional.silu(self.hidden(vectors)).unflatten(1, (self.clusters, -1))
        heads = (hidden * self.out).sum(dim=2) + self.bias
        mixed: Tensor = (memberships * heads).sum(dim=1)
        return mixed


class FuzzyPairHeads(nn.Module):
    """Log odds that the first of two graphs is the better one, one perceptron per cluster.

        logit(a, b) = sum_j (U_aj + U_bj) / 2 (g_j(a, b) - g_j(b, a))
        g_j(a, b) = w_j SiLU(L_j a + R_j b + c_j)

    so that ``logit(b, a) = -logit(a, b)``.

    Args:
        width, hidden, clusters: see :class:`FuzzyHeads`.

    Source: GENNAPE (AAAI-23) has a classifier of pairs; this form of it is our choice.

    Example:
        >>> heads, a, U = FuzzyPairHeads(4, 8, 1), torch.rand(3, 4), torch.ones(3, 1)
        >>> odds = heads(a, U, a, U)
        >>> bool(torch.allclose(odds, -odds.T, atol=1e-6))
        True
    """

    def __init__(self, width: int, hidden: int, clusters: int):
        super().__init__()
        self.clusters = clusters
        self.left = nn.Linear(width, clusters * hidden)
        self.right = nn.Linear(width, clusters * hidden, bias=False)
        self.out = nn.Parameter(_drawn(clusters, hidden))

    def forward(self, a: Tensor, of_a: Tensor, b: Tensor, of_b: Tensor) -> Tensor:
        """Log odds (n, m) of vectors a (n, width) against b (m, width), with memberships each."""
        odds = self._wins(a, b) - self._wins(b, a).transpose(0, 1)
        mixed = (of_a[:, None] + of_b[None]) / 2
        return (mixed * odds).sum(dim=2)

    def _wins(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = functional.silu(self.left(a)[:, None] + self.right(b)[None])
        wins: Tensor = (pairs.unflatten(2, (self.clusters, -1)) * self.out).sum(dim=3)
        return wins


_HEADS: Mapping[str, type[FuzzyHeads] | type[FuzzyPairHeads]] = {
    "fuzzy": FuzzyHeads,
    "single": FuzzyHeads,
    "fuzzy pairwise": FuzzyPairHeads,
    "single pairwise": FuzzyPairHeads,
}
_PAIRS_AT_ONCE = 256  # graphs held against all references at a time


class _Member(nn.Module):
    """Heads, and the encoder that is trained with them if it is."""

    def __init__(self, heads: FuzzyHeads | FuzzyPairHeads, encoder: Encoder | None):
        super().__init__()
        self.heads = heads
        self.encoder = encoder


@dataclass(frozen=True)
class _Inputs:
    """What heads read of some graphs."""

    graphs: list[GraphTensors]
    vectors: Tensor  # (n, width), standardised, by the encoder as it was pretrained
    memberships: Tensor  # (n, clusters)


class GENNAPE(Predictor):
    """An encoder trained without labels, heads on it, and the mean of six predictions.

    Embeddings h come from an encoder pretrained by contrast (:class:`Pretraining`), memberships U
    from fuzzy C-means on the h of the training set. Members, each under its name:

    - ``"fuzzy"``: :class:`FuzzyHeads` on h, U, fitted to labels under :class:`LabelTransform`;
    - ``"single"``: the same with one head for all;
    - ``"fuzzy pairwise"``, ``"single pairwise"``: :class:`FuzzyPairHeads` fitted to which of two
      is better; the score is the mean probability to win against reference graphs;
    - ``"kgnn"``: the baseline :class:`KGNN`;
    - ``"flops"``: log10(1 + multiply-adds).

    The prediction is the weighted mean of the standardised members, on the scale of the labels;
    their weighted deviation is its standard deviation. Weights are equal; after :meth:`adapt` they
    are the softmax of each member's Kendall tau on the labels adapted to.

    Ablations are one argument each: ``members``, ``clusters=1``, ``transform=None``,
    ``contrastive=False``.

    Our choices, where the paper says nothing: members are standardised or ranked against the
    training set (after :meth:`adapt`, against the labels adapted to), never against what is
    predicted, so that a prediction is independent of its company; FLOPs enter as a logarithm; a
    softmax temperature of 1, and tau after fine-tuning; the reference graphs are drawn from what
    was trained on last; heads have one hidden layer and read h less its mean, divided by one
    deviation for all columns; memberships stay those of the encoder as pretrained, even where it
    is fine-tuned; pairwise members compare all pairs of a batch by logistic loss, regressions use
    the squared error; C, m, and the whole training (Adam with a cosine schedule). The paper drops
    training networks below 80% accuracy; here that is left to who gives the labels.

    Args:
        members: names from :data:`MEMBERS`, at least one.
        transform: ``"flops"`` or None, of the labels of regressions.
        clusters, m: C and the fuzzifier of :class:`FuzzyCMeans`; no more clusters than different
            embeddings are made.
        contrastive: whether the encoder is pretrained; if not, the same encoder starts at random
            and is trained with the heads.
        finetune_encoder: train the encoder with the heads, a copy for each member.
        pretrained: a :class:`Pretrained`, or the path of one as a string; None to pretrain on the
            graphs given to :meth:`fit`.
        pretraining: how; None for the defaults of :class:`Pretraining`.
        kgnn: the member's settings; None for those released.
        hidden: width of the heads' hidden layers.
        epochs, batch_size, learning_rate: of the heads' training.
        references: how many reference graphs.
        combination: of members: ``"standardised"``, or ``"ranked"``: the share of the training set
            that is predicted to be worse, which ties all that is beyond it.
        device: to compute on.
        random_state: seed of everything random.
        space, task, inputs, proxies: see :class:`~archrank.predictors.Predictor`; proxies are not
            read.

    Attributes:
        weights_: name -> weight of each member.
        encoder_: the :class:`Pretrained` encoder; None if no member reads it.
        fuzzy_: the :class:`FuzzyCMeans`; its ``entropy_`` near 1 says that there are no clusters.

    Raises:
        InputError: from ``fit``: an argument is out of range.

    Source: GENNAPE (Mills et al., "GENNAPE: towards generalized neural architecture performance
    estimators", AAAI-23), whose released code holds the k-GNN only.

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
        self.device = device
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    weights_: dict[str, float]

    # Where to write how far fitting is, and whom to tell; set by `fit` for as long as it runs.
    _watch: tuple[str | Path | None, Progress | None] = (None, None)

    # --- learning -----------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        checkpoint: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from architectures and their labels, larger is better.

        Args:
            X, y: see :meth:`Predictor.fit`.
            checkpoint: a folder: pretraining and each member write how far they are, and go on
                from there.
            progress: called after each epoch of pretraining and of each member.

        Raises:
            InputError: see :meth:`Predictor.fit`, and the class.
        """
        self._watch = checkpoint, progress
        try:
            return super().fit(X, y)
        finally:
            del self._watch

    def adapt(self, X: Any, y: Any, epochs: int = 100, learning_rate: float | None = None) -> Self:
        """Fine-tune on a few labels of a target family, and weigh members by them.

        Heads (with ``finetune_encoder`` their encoders too) and the k-GNN go on training; the
        encoder, memberships and the label transform stay those of :meth:`fit`. A member's weight
        is then softmax(tau), its tau on these labels. Members and predictions take the scale of
        these labels.

        Args:
            X, y: as :meth:`fit`.
            epochs: of this training; 100 in the paper, 0 only weighs.
            learning_rate: of the heads; None for that of :meth:`fit`.

        Raises:
            InputError: :meth:`fit` was not called before, or one of the two had equal labels only.
        """
        if not getattr(self, "label_std_", 0.0):
            raise InputError("adapt: fit it first, to labels that differ")
        samples = self._read(X)
        labels = checked_labels(y, len(samples))
        if not np.ptp(labels):
            raise InputError(f"y: got {len(labels)} equal labels, expected some that differ")
        models = self._models()
        self._train(models, samples, labels, epochs, learning_rate or self.learning_rate)
        if "kgnn" in self.members:
            self.kgnn_.adapt(samples, labels, epochs)
        self.label_mean_, self.label_std_ = float(labels.mean()), float(labels.std())
        outputs = self._outputs(samples)
        taus = np.nan_to_num([kendall(outputs[name], labels) for name in self.weights_])
        shares = np.exp(taus) / np.exp(taus).sum()
        self.weights_ = dict(zip(self.weights_, shares.tolist(), strict=True))
        self._set_scales(outputs)
        return self

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        self._check()
        folder, progress = self._watch
        raw = labels * self.label_std_ + self.label_mean_
        graphs = [sample.graph for sample in samples]
        self.weights_ = dict.fromkeys(self.members, 1.0 / len(self.members))
        flops = _flops(graphs)
        transform = LabelTransform.of(raw, flops, self.transform == "flops")
        self.target_mean_, self.target_std_ = transform.mean, transform.std
        self.member_weights_: dict[str, State] = {}
        self.encoder_: Pretrained | None = None
        models: dict[str, _Member] = {}
        if any(name in _HEADS for name in self.members):
            self.encoder_ = self._pretrained(graphs)
            embedded = self.encoder_.embed(graphs, self.device)
            # One scale for all columns: another family may vary where this one hardly does.
            self.embedding_mean_ = embedded.mean(axis=0)
            self.embedding_std_ = divisor((embedded - self.embedding_mean_).ravel())
            clusters = min(self.clusters, len(np.unique(embedded, axis=0)))
            self.fuzzy_ = FuzzyCMeans(clusters, m=self.m, random_state=self.random_state)
            self.fuzzy_.fit(embedded)
            models = {name: self._member(name) for name in self.members if name in _HEADS}
        self._train(models, samples, raw, self.epochs, self.learning_rate)
        if "kgnn" in self.members:
            own = KGNN(random_state=self.random_state, device=self.device)
            self.kgnn_: GraphPredictor = own if self.kgnn is None else clone(self.kgnn)
            self.kgnn_.fit(
                samples, raw, None if folder is None else Path(folder) / "kgnn", progress
            )
        self._set_scales(self._outputs(samples))

    def _pretrained(self, graphs: list[Graph]) -> Pretrained:
        if self.pretrained is not None:
            return read_pretrained(self.pretrained)
        how = self.pretraining
        if how is None:
            how = Pretraining(device=self.device, random_state=self.random_state)
        if not self.contrastive:
            how = clone(how).set_params(epochs=0)
        folder, progress = self._watch
        return how.fit(
            graphs, None if folder is None else Path(folder) / "pretraining.safetensors", progress
        )

    def _member(self, name: str) -> _Member:
        """A new member; its weights come from the seed and its place among members."""
        assert self.encoder_ is not None
        tuned = self.finetune_encoder or not self.contrastive
        clusters = self.fuzzy_.n_clusters if _is_fuzzy(name) else 1
        width = len(self.embedding_mean_)
        with seeded(self.random_state + MEMBERS.index(name)):
            heads = _HEADS[name](width, self.hidden, clusters)
        return _Member(heads, self.encoder_.build() if tuned else None).to(self.device)

    def _train(
        self,
        models: dict[str, _Member],
        samples: list[Sample],
        labels: Array,
        epochs: int,
        learning_rate: float,
    ) -> None:
        """Train members on labels as given; keep what predictions and files need of them."""
        folder, progress = self._watch
        graphs = [sample.graph for sample in samples]
        inputs = self._inputs(graphs)
        targets = torch.from_numpy(self._transform().forward(labels, _flops(graphs))).float()
        order = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
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
            train(
                model,
                self._objective(name, model, inputs, order if _is_pairwise(name) else targets),
                even_batching(len(samples), plan),
                plan,
                identity=digest(
                    [one.key for one in inputs.graphs], targets, inputs.vectors, inputs.memberships
                ),
                checkpoint=None if folder is None else Path(folder) / f"{name}.safetensors",
                progress=progress,
            )
        self.member_weights_ = {name: arrays_of(model) for name, model in models.items()}
        self._built = models
        drawn = np.random.default_rng(self.random_state).permutation(len(samples))
        rows = np.sort(drawn[: self.references])
        self.references_ = {
            name: [
                self._vectors(model, inputs)[rows].cpu().numpy(),
                _memberships(name, inputs)[rows].cpu().numpy(),
            ]
            for name, model in models.items()
            if _is_pairwise(name)
        }

    def _objective(
        self, name: str, model: _Member, inputs: _Inputs, wanted: Tensor
    ) -> Callable[[list[int], int], Tensor]:
        memberships, wanted = _memberships(name, inputs), wanted.to(self.device)

        def objective(rows: list[int], epoch: int) -> Tensor:
            vectors = inputs.vectors[rows]
            if model.encoder is not None:
                batch = GraphBatch.of([inputs.graphs[i] for i in rows]).to(self.device)
                vectors = self._scaled(model.encoder(batch))
            own = memberships[rows]
            if isinstance(model.heads, FuzzyHeads):
                return functional.mse_loss(model.heads(vectors, own), wanted[rows])
            odds = model.heads(vectors, own, vectors, own)
            better = (wanted[rows][:, None] - wanted[rows][None]).sign()
            # Ties say nothing; of a batch of ties the loss is zero, with a gradient.
            return (functional.softplus(-odds) * (better > 0)).sum() / (better > 0).sum().clip(1)

        return objective

    # --- predicting ---------------------------------------------------------------------------

    @property
    def gives_std(self) -> bool:
        return len(getattr(self, "weights_", ())) > 1

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array | None]:
        outputs = self._outputs(samples)
        scores = np.array([self._comparable(name, outputs[name]) for name in self.weights_])
        weights = np.array(list(self.weights_.values()))
        mean = weights @ scores
        std = np.sqrt(weights @ (scores - mean) ** 2) / self.score_std_
        return (mean - self.score_mean_) / self.score_std_, std if len(weights) > 1 else None

    def _outputs(self, samples: list[Sample]) -> dict[str, Array]:
        """What each member says, on its own scale."""
        graphs = [sample.graph for sample in samples]
        flops, inputs, models = _flops(graphs), self._inputs(graphs), self._models()
        outputs: dict[str, Array] = {}
        for name in self.weights_:
            if name == "flops":
                outputs[name] = np.log10(1.0 + flops)
            elif name == "kgnn":
                outputs[name] = self.kgnn_.predict(samples)
            elif _is_pairwise(name):
                outputs[name] = self._wins(name, models[name], inputs)
            else:
                outputs[name] = self._labels(name, models[name], inputs, flops)
        return outputs

    @torch.no_grad()
    def _labels(self, name: str, model: _Member, inputs: _Inputs, flops: Array) -> Array:
        values = model.heads(self._vectors(model, inputs), _memberships(name, inputs))
        return self._transform().inverse(values.double().cpu().numpy(), flops)

    @torch.no_grad()
    def _wins(self, name: str, model: _Member, inputs: _Inputs) -> Array:
        """The mean probability to be better than a reference."""
        known, of_known = (
            torch.tensor(part, device=self.device) for part in self.references_[name]
        )
        vectors, own = self._vectors(model, inputs), _memberships(name, inputs)
        parts = [
            torch.sigmoid(model.heads(vectors[rows], own[rows], known, of_known)).mean(dim=1)
            for rows in torch.arange(len(vectors)).split(_PAIRS_AT_ONCE)
        ]
        return torch.cat(parts).double().cpu().numpy()

    def _inputs(self, graphs: list[Graph]) -> _Inputs:
        if self.encoder_ is None:
            return _Inputs([], torch.zeros(0, 0), torch.zeros(0, 0))
        embedded = self.encoder_.embed(graphs, self.device)
        vectors = torch.from_numpy(embedded).float().to(self.device)
        memberships = torch.from_numpy(self.fuzzy_.transform(embedded)).float().to(self.device)
        tensors: list[GraphTensors] = []
        if self.finetune_encoder or not self.contrastive:
            read = tensor_reader(self.encoder_.fold, positions_of(self.encoder_.build()))
            tensors = [read(graph) for graph in graphs]
        return _Inputs(tensors, self._scaled(vectors), memberships)

    @torch.no_grad()
    def _vectors(self, model: _Member, inputs: _Inputs) -> Tensor:
        """Standardised embeddings as a trained member sees them."""
        if model.encoder is None:
            return inputs.vectors
        return self._scaled(encode(model.encoder, inputs.graphs))

    def _scaled(self, vectors: Tensor) -> Tensor:
        centred: Tensor = vectors - torch.tensor(self.embedding_mean_).to(vectors)
        return centred / self.embedding_std_

    def _transform(self) -> LabelTransform:
        return LabelTransform(self.target_mean_, self.target_std_, self.transform == "flops")

    def _models(self) -> dict[str, _Member]:
        if not hasattr(self, "_built"):  # made of what files hold: they give the same
            models = {name: self._member(name) for name in self.member_weights_}
            for name, model in models.items():
                load_arrays(model, self.member_weights_[name])
                model.eval()
            self._built = models
        return self._built

    def _set_scales(self, outputs: Mapping[str, Array]) -> None:
        """Let members and their mean be measured against these outputs."""
        self.ordered_ = {name: np.sort(values) for name, values in outputs.items()}
        scores = [w * self._comparable(name, outputs[name]) for name, w in self.weights_.items()]
        mean = np.sum(scores, axis=0)
        self.score_mean_ = float(mean.mean())
        spread = float(mean.std())
        self.score_std_ = spread if spread > 1e-6 else 1.0  # members are of size 1

    def _comparable(self, name: str, values: Array) -> Array:
        """A member's outputs on the scale that all share."""
        known = self.ordered_[name]
        spread = divisor(known)
        if self.combination == "standardised":
            standardised: Array = (values - known.mean()) / spread
            return standardised
        # On a grid, so that what differs by rounding has one rank.
        unit = spread * 1e-4
        places, counts = np.unique(np.round(known / unit), return_counts=True)
        ranks = (np.cumsum(counts) - counts / 2) / len(known)
        return np.interp(values / unit, places, ranks)

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

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: modules are made again of the arrays."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_built"}


def _is_fuzzy(name: str) -> bool:
    return name.startswith("fuzzy")


def _is_pairwise(name: str) -> bool:
    return name.endswith("pairwise")


def _memberships(name: str, inputs: _Inputs) -> Tensor:
    own = inputs.memberships
    return own if _is_fuzzy(name) else torch.ones_like(own[:, :1])


def _flops(graphs: Sequence[Graph]) -> Array:
    return np.array([graph.flops for graph in graphs], dtype=np.float64)


def _drawn(clusters: int, hidden: int) -> Tensor:
    """Weights of ``clusters`` linear layers side by side, drawn as torch draws them."""
    bound = 1 / math.sqrt(hidden)
    return torch.empty(clusters, hidden).uniform_(-bound, bound)
