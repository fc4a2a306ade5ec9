"""Networks that predict both the noise of labels (aleatoric) and their own uncertainty
(epistemic)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ...basics import Array
from ...errors import InputError
from ..contract import Predictor
from ..ensemble.calibration import Calibration
from ..features.columns import Features, read_columns
from ..features.distances import GraphEmbedding
from ..reading import Sample

_FOLDS = 5
_LEAST_FOLDED = 10  # with fewer labels, no member leaves any out
_LEAST_VARIANCE = 1e-4  # relative to labels of variance 1
_STEEP = 0.5  # the power of the variance that weights a label's loss


class Apart(NamedTuple):
    """Predictions with aleatoric and epistemic standard deviations, all (n,), in units of labels.

    Attributes:
        mean: the predictions.
        aleatoric: the standard deviation of one architecture's labels, which more labels do not
            reduce.
        epistemic: the standard deviation of the model's uncertainty, which similar labels reduce.
    """

    mean: Array
    aleatoric: Array
    epistemic: Array


class HeteroscedasticNetwork(Predictor):
    """Networks on an embedding of graphs that predict aleatoric and epistemic uncertainty.

    Each of several networks has two outputs m and v. The label is modelled as normal around m with
    variance v, which depends on the architecture. Each network has its own initialisation and
    leaves out one of five folds of the labels. Over networks,

        mean = E m,   aleatoric^2 = E v,   epistemic^2 = Var m,   total^2 = the sum of both.

    All deviations are multiplied by one factor, so that 80 % of the errors on labels that were left
    out lie within the interval that holds 80 % of a normal variable.

    The loss of each label, (log v + (y - m)^2 / v) / 2, is weighted by sqrt(v), which counts as a
    constant in the gradient. Otherwise networks explain difficult labels as noise before they learn
    them.

    Source: Tuli et al., FlexiBERT, 2022 (BOSHNAS), has both uncertainties on an embedding of
    graphs, by a natural-parameter network and dropout. The networks here follow Nix and Weigend,
    1994, and Lakshminarayanan et al., "Deep ensembles", NIPS 2017. The weights of labels follow
    Seitzer et al., "On the pitfalls of heteroscedastic uncertainty estimation", ICLR 2022. Scaling
    by left-out folds is our choice. So are the defaults, which were chosen on other spaces than
    FlexiBERT.

    Args:
        embedding: the embedding of graphs: a ``GraphEmbedding`` to fit, or the name of its
            distance; None to read only ``parts``.
        parts: names in ``PARTS``, whose columns are read with the embedding or instead of it.
        hidden: the widths of hidden layers.
        members: the number of networks.
        steps, rate, penalty: the settings of AdamW on all labels at once; the rate falls by a
            cosine.
        random_state: the seed of everything random.
        space, task, inputs, proxies: see ``Predictor``.

    Attributes:
        embedding_, features_: the embedding and the features that make the matrix; None if unused.
        layers_: the layers of all networks: weights (members, in, out) and biases (members, 1,
            out).
        scale_: the factor of both deviations.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> labels = [math.log(graph.params) for graph in graphs]
        >>> network = HeteroscedasticNetwork().fit(graphs, labels)
        >>> mean, aleatoric, epistemic = network.predict_apart(graphs)
        >>> bool((aleatoric > 0).all() and (epistemic > 0).all())
        True
    """

    def __init__(
        self,
        embedding: GraphEmbedding | str | None = "edit",
        parts: Sequence[str] = (),
        hidden: Sequence[int] = (32, 32),
        members: int = 5,
        steps: int = 100,
        rate: float = 0.03,
        penalty: float = 3.0,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.embedding = embedding
        self.parts = parts
        self.hidden = hidden
        self.members = members
        self.steps = steps
        self.rate = rate
        self.penalty = penalty
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    # --- reading ------------------------------------------------------------------------------

    @property
    def read_parts(self) -> tuple[str, ...]:
        """Return the parts of the matrix: ``"embedding"``, if there is one, and ``parts``."""
        return (*(() if self.embedding is None else ("embedding",)), *self.parts)

    def fit_encoder(self, samples: Sequence[Sample]) -> None:
        """Fit the embedding and features to samples, labelled or not.

        Raises:
            InputError: there is neither an embedding nor a part.
        """
        if not self.read_parts:
            raise InputError("parts: got none, and no embedding: there is nothing to learn from")
        self.embedding_: GraphEmbedding | None = None
        if self.embedding is not None:
            graphs = [sample.graph for sample in samples]
            named = isinstance(self.embedding, str)
            made = GraphEmbedding(self.embedding) if named else clone(self.embedding)
            self.embedding_ = made.fit(graphs)
            points = self.embedding_.transform(graphs)
            # One factor for all dimensions keeps the ratios of distances.
            self.spread_ = float(points.std(axis=0).max()) or 1.0
        columns = read_columns(samples, tuple(self.parts))
        self.features_ = Features(tuple(self.parts)).fit(columns)

    def encode(self, samples: Sequence[Sample]) -> Array:
        """Return the matrix (n, columns)."""
        columns = read_columns(samples, tuple(self.parts), self.features_.score_names_)
        matrix = self.features_.transform(columns)
        if self.embedding_ is None:
            return matrix
        points = self.embedding_.transform([sample.graph for sample in samples])
        return np.concatenate([points / self.spread_, matrix], axis=1)

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        self.fit_encoder(samples)
        self.fit_matrix(self.encode(samples), labels)

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        return self.predict_matrix(self.encode(samples))

    # --- learning -----------------------------------------------------------------------------

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        """Learn from the matrix (n, columns) and standardised labels."""
        if self.members < 2:
            raise InputError(f"members: got {self.members!r}, expected at least 2, to differ")
        rng = torch.Generator().manual_seed(self.random_state)
        taught = torch.from_numpy(self._taught(matrix))
        inputs, targets = torch.from_numpy(matrix), torch.from_numpy(labels)
        layers = self._initial(matrix.shape[1], rng)
        optimiser = torch.optim.AdamW(
            [
                {"params": [weights for weights, _ in layers], "weight_decay": self.penalty},
                {"params": [biases for _, biases in layers], "weight_decay": 0.0},
            ],
            lr=self.rate,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        with torch.enable_grad():
            for _ in range(self.steps):
                mean, variance = _forward(inputs, layers)
                loss = 0.5 * (variance.log() + (targets - mean) ** 2 / variance)
                loss = (loss * variance.detach() ** _STEEP * taught).sum() / taught.sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        self.layers_ = [[p.detach().numpy() for p in layer] for layer in layers]
        self.scale_ = 1.0
        self._calibrate(inputs, labels, taught)

    def _taught(self, matrix: Array) -> Array:
        """Return which labels each member learns from, as 0 and 1; equal rows are in one fold."""
        _, group = np.unique(matrix, axis=0, return_inverse=True)
        groups = int(group.max()) + 1
        if groups < _LEAST_FOLDED:
            return np.ones((self.members, len(matrix)))
        order = np.random.default_rng(self.random_state).permutation(groups)
        fold = (order % _FOLDS)[group.ravel()]
        taught: Array = (np.arange(self.members)[:, None] % _FOLDS != fold).astype(np.float64)
        return taught

    def _initial(self, width: int, rng: torch.Generator) -> list[list[Tensor]]:
        """Return initial weights for rectifiers, which predict that all labels are noise."""
        layers = []
        for before, after in pairwise([width, *self.hidden, 2]):
            draw = torch.randn(self.members, before, after, generator=rng, dtype=torch.float64)
            weights = draw * math.sqrt(2.0 / max(before, 1))
            layers.append([weights, torch.zeros(self.members, 1, after, dtype=torch.float64)])
        return [[p.requires_grad_() for p in layer] for layer in layers]

    def _calibrate(self, inputs: Tensor, labels: Array, taught: Tensor) -> None:
        """Scale deviations by the errors on labels that members left out."""
        left_out = 1.0 - taught.numpy()
        known = left_out.sum(axis=0) > 0
        if not known.any():
            return
        with torch.no_grad():
            means, variances = (t.numpy() for t in _forward(inputs, self._tensors()))
        share = left_out[:, known] / left_out[:, known].sum(axis=0)
        mean = (share * means[:, known]).sum(axis=0)
        total = (share * variances[:, known]).sum(axis=0) + means[:, known].var(axis=0, ddof=1)
        self.scale_ = Calibration.of(mean, np.sqrt(total), labels[known]).scale

    # --- predicting ---------------------------------------------------------------------------

    def moments(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means, aleatoric and epistemic deviations, each (n,), of standardised labels.

        The results are differentiable with respect to ``points`` (n, columns).
        """
        means, variances = _forward(points, self._tensors())
        epistemic = (means.var(dim=0, correction=1) + _LEAST_VARIANCE).sqrt()
        aleatoric = variances.mean(dim=0).sqrt()
        return means.mean(dim=0), self.scale_ * aleatoric, self.scale_ * epistemic

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        """Return means and total deviations, both (n,), of standardised labels."""
        mean, aleatoric, epistemic = self._moments(matrix)
        return mean, np.hypot(aleatoric, epistemic)

    def predict_apart(self, X: Any) -> Apart:
        """Return predictions with both standard deviations; all graphs are in memory at once.

        Raises:
            NotFittedError: the predictor was not fitted.
            InputError: ``X`` is not what ``fit`` takes.
        """
        check_is_fitted(self)
        samples = self._read(X)
        if not samples or not self.label_std_:
            nothing = np.zeros(len(samples))
            return Apart(nothing + self.label_mean_, nothing, nothing)
        mean, aleatoric, epistemic = self._moments(self.encode(samples))
        std = self.label_std_
        return Apart(mean * std + self.label_mean_, aleatoric * std, epistemic * std)

    def _moments(self, matrix: Array) -> tuple[Array, Array, Array]:
        with torch.no_grad():
            mean, aleatoric, epistemic = self.moments(torch.from_numpy(matrix))
        return mean.numpy(), aleatoric.numpy(), epistemic.numpy()

    def _tensors(self) -> list[list[Tensor]]:
        return [[torch.from_numpy(p) for p in layer] for layer in self.layers_]


def _forward(rows: Tensor, layers: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """Return means and variances (members, n) of labels."""
    state = rows.expand(len(layers[0][0]), *rows.shape)
    for at, (weights, biases) in enumerate(layers):
        state = (torch.nn.functional.silu(state) if at else state) @ weights + biases
    return state[..., 0], torch.nn.functional.softplus(state[..., 1]) + _LEAST_VARIANCE
