"""ParZC, which mixes zero-cost statistics of a network's layers by a Bayesian network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ...graphs.features import owned_parameters
from ...graphs.operators import CANONICAL_ID
from ..contract import Predictor
from ..features.rank_transform import normal_scores
from ..reading import Sample
from .batches import GraphBatch, GraphTensors
from .encoders import encoder as encoder_by_name
from .encoders.reading import positions_of, tensor_reader
from .learning.plan import TrainingPlan
from .learning.seeds import seeded
from .learning.training import even_batching, train
from .learning.weights import State, arrays_of, load_arrays
from .losses import loss as loss_by_name
from .losses import tell_epoch
from .mixer import MABN, monte_carlo

SCALINGS = ("minmax", "log")
POSITIONS = ("order", "module")
_LAYERS = ("conv1d", "conv2d", "conv3d", "depthwise_conv", "linear")
_MEANS = ("snip", "synflow", "plain", "grasp")  # a layer's value is the mean over its parameters
_CHANNEL_MEANS = ("fisher",)
_JOINT_WIDTH = 64  # the size of the mixer's output for the encoder: our choice


def layers_of(sample: Sample) -> npt.NDArray[np.intp]:
    """Return the nodes that ParZC reads: convolutions and linear layers, in execution order."""
    wanted = [CANONICAL_ID[name] for name in _LAYERS]
    return np.flatnonzero(np.isin(sample.graph.operator, wanted))


def layer_statistics(sample: Sample, name: str, scaling: str = "minmax") -> Array:
    """Return a proxy's statistic of each layer (layers,), scaled within the network; 0 if missing.

    ``snip``, ``synflow``, ``plain`` and ``grasp`` are means over the parameters of a layer, and
    ``fisher`` is a mean over its output channels. Other proxies have one value for the layer.
    ``"minmax"`` is (v - min) / (max - min); it keeps the order along the depth, but no scale.
    ``"log"`` is sign(v) log(1 + |v|); it keeps the scale.

    Source: ParZC (AAAI 2025) and its released code.

    Notes:
        ``"log"`` is our choice.
    """
    layers = layers_of(sample)
    values = np.asarray(sample.node_scores[name], dtype=np.float64)[layers]
    if name in _MEANS:
        values = values / np.maximum(owned_parameters(sample.graph)[layers], 1)
    elif name in _CHANNEL_MEANS:
        values = values / _output_channels(sample.graph, layers)
    finite = np.isfinite(values)
    values = np.where(finite, values, 0.0)
    if scaling == "log":
        logarithm: Array = np.sign(values) * np.log1p(np.abs(values))
        return logarithm
    if not finite.any():
        return values
    low, high = values[finite].min(), values[finite].max()
    scaled: Array = np.where(finite, (values - low) / max(high - low, 1e-300), 0.0)
    return scaled


def _output_channels(graph: Graph, layers: npt.NDArray[np.intp]) -> Array:
    """Return the number of output channels of each layer, (layers,)."""
    linear = CANONICAL_ID["linear"]
    channels = [
        graph.nodes[node].out_shape[-1 if graph.operator[node] == linear else 1]
        for node in layers.tolist()
    ]
    return np.array(channels, dtype=np.float64)


class _Network(nn.Module):
    """The network: the mixer alone, or a graph encoder whose context is the mixer's output."""

    def __init__(self, inputs: int, mixer: Mapping[str, Any], encoder: str | None, seed: int):
        super().__init__()
        self.encoder = self.head = None
        with seeded(seed):
            if encoder is not None:
                self.encoder = encoder_by_name(encoder, context=_JOINT_WIDTH)
                self.head = nn.Linear(self.encoder.width, 1)
            outputs = 1 if encoder is None else _JOINT_WIDTH
            self.mixer = MABN(inputs, **{"outputs": outputs, **mixer})

    def forward(self, statistics: Tensor, graphs: Sequence[GraphTensors]) -> Tensor:
        """Return scores (networks,)."""
        mixed: Tensor = self.mixer(statistics)
        if self.encoder is None or self.head is None:
            return mixed[:, 0]
        scores: Tensor = self.head(self.encoder(GraphBatch.of(list(graphs), context=mixed)))
        return scores[:, 0]


class _OfGraphs(nn.Module):
    """The network with fixed graphs, as a function of only the statistics."""

    def __init__(self, network: _Network, graphs: Sequence[GraphTensors]):
        super().__init__()
        self.network, self.graphs = network, graphs

    def forward(self, statistics: Tensor) -> Tensor:
        return self.network(statistics, self.graphs)  # type: ignore[no-any-return]


class ParZC(Predictor):
    """A predictor that mixes statistics of a network's layers from several proxies.

    Each layer's statistic is scaled within its network (``layer_statistics``). The vectors of all
    proxies are concatenated and go through ``MABN``. Alone, the mixer gives the score. Joined to an
    encoder (``encoder="transformer"``), its output is the context of the graph's vector. The loss
    is DiffKendall's product form on standardised labels. Predictions use the mean of the Bayesian
    weights. The standard deviation is that of predictions with ``draws`` samples of the weights.

    Notes:
        ParZC adds the mixer's output to the tokens of a cell. A context works for graphs of any
        size and is our choice.

    Args:
        encoder: None for the mixer alone, or the name of an encoder to join it to.
        mixer: options of MABN, such as ``{"mixing": "across", "evaluation": "sample"}``.
        scaling: the scaling of statistics, ``"minmax"`` (released) or ``"log"``.
        positions: the places of layers in the vectors. ``"order"`` (released) puts layers in order
            of execution, followed by zeros. So a place belongs to different layers in networks of
            different depth. A network that is deeper than all training networks is read at evenly
            spaced depths (our choice). ``"module"`` gives each module path its own place.
        loss: one of ``LOSSES``, or a module, which cannot be saved.
        loss_options: the options of the loss; by default DiffKendall has the released slope and
            form.
        normal_scores: whether labels are learned as normal scores; the released code standardises
            labels.
        epochs, batch_size, learning_rate, weight_decay: the settings of Adam with a cosine
            schedule; the defaults are those of ParZC on NAS-Bench-201.
        divergence: the weight of the divergence of Bayesian weights from their prior; 0 in the
            released code.
        draws: the number of samples of the weights that give the standard deviation.
        random_state: the seed of everything random.
        proxies: the proxies whose statistics are read; samples that have their values per node are
            not scored again.
        space, task, inputs: see ``Predictor``.

    Raises:
        InputError: from ``fit``: an argument is out of range, or samples have no statistics.

    Source: Dong et al., "ParZC", AAAI 2025, and its released code where the paper is silent.

    Example:
        >>> from archrank.predictors import samples
        >>> from archrank.predictors.checks import small_graphs
        >>> from dataclasses import replace
        >>> given = [replace(s, node_scores={"flops": s.graph.node_flops.astype(float)})
        ...          for s in samples(small_graphs())]
        >>> small = {"length": 16, "segment": 8, "width": 8, "depth": 1}
        >>> predictor = ParZC(mixer=small, proxies=("flops",), scaling="log", epochs=60,
        ...                   learning_rate=0.01)
        >>> labels = [s.graph.flops for s in given]
        >>> predictor.fit(given, labels).score(given, labels) > 0.5
        True
    """

    def __init__(
        self,
        encoder: str | None = None,
        mixer: Mapping[str, Any] | None = None,
        scaling: str = "minmax",
        positions: str = "order",
        loss: str | nn.Module = "diff_kendall",
        loss_options: Mapping[str, Any] | None = None,
        epochs: int = 200,
        batch_size: int = 10,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-3,
        divergence: float = 0.0,
        draws: int = 20,
        random_state: int = 0,
        *,
        normal_scores: bool = False,
        proxies: Sequence[str] = ("grad_norm", "snip", "synflow"),
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
    ):
        self.encoder = encoder
        self.mixer = mixer
        self.scaling = scaling
        self.positions = positions
        self.loss = loss
        self.loss_options = loss_options
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.divergence = divergence
        self.draws = draws
        self.random_state = random_state
        self.normal_scores = normal_scores
        self.proxies = proxies
        self.space = space
        self.task = task
        self.inputs = inputs

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        for name, value, known in (
            ("scaling", self.scaling, SCALINGS),
            ("positions", self.positions, POSITIONS),
        ):
            if value not in known:
                raise InputError(f"{name}: got {value!r}, expected one of {', '.join(known)}")
        self.places_ = self._places(samples)
        table = self._table(samples)
        # Statistics scaled within networks are not scaled again.
        scaled = self.scaling == "minmax"
        self.mean_ = np.zeros(table.shape[1]) if scaled else table.mean(axis=0)
        self.std_ = np.ones(table.shape[1]) if scaled else table.std(axis=0) + 1e-6
        model = self._model()
        wanted = normal_scores(labels) if self.normal_scores else labels
        self._train(model, samples, torch.from_numpy(wanted.astype(np.float32)))
        self.weights_: State = arrays_of(model)
        self._built = model

    def _train(self, model: _Network, samples: list[Sample], labels: Tensor) -> None:
        statistics, graphs = self._inputs(samples), self._graphs(samples, model)
        default = {"form": "product"} if self.loss == "diff_kendall" else {}
        criterion = loss_by_name(self.loss, **{**default, **(self.loss_options or {})})
        plan = TrainingPlan(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule="cosine",
            seed=self.random_state,
        )

        def objective(rows: Sequence[int], epoch: int) -> Tensor:
            tell_epoch(criterion, epoch)
            scores = model(statistics[list(rows)], [graphs[i] for i in rows] if graphs else [])
            value: Tensor = criterion(scores, labels[list(rows)])
            if self.divergence:
                value = value + self.divergence * model.mixer.kl() / len(samples)
            return value

        train(model, objective, even_batching(len(samples), plan), plan)

    @torch.no_grad()
    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        model = self._network()
        model.eval()
        statistics, graphs = self._inputs(samples), self._graphs(samples, model)
        mean = np.empty(len(samples))
        std = np.empty(len(samples))
        for start in range(0, len(samples), 256):
            here = slice(start, start + 256)
            mean[here] = model(statistics[here], graphs[here]).double().numpy()
            bound = _OfGraphs(model, graphs[here])
            drawn = monte_carlo(bound, statistics[here], self.draws, self.random_state)
            std[here] = drawn[1].double().numpy()
        return mean, std

    # --- reading ------------------------------------------------------------------------------

    def _places(self, samples: Sequence[Sample]) -> dict[str, int]:
        """Return the place of each layer in a proxy's vector: by module path, or by order."""
        self._check(samples)
        if self.positions == "module":
            paths = [path for sample in samples for path in _paths(sample)]
            return {path: i for i, path in enumerate(dict.fromkeys(paths))}
        longest = max((len(layers_of(sample)) for sample in samples), default=0)
        return {str(i): i for i in range(longest)}

    def _check(self, samples: Sequence[Sample]) -> None:
        for at, sample in enumerate(samples):
            lacking = [name for name in self.proxies if name not in sample.node_scores]
            if lacking or not self.proxies:
                raise InputError(
                    f"X: architecture {at} brings no values per node of "
                    f"{', '.join(lacking) or 'any proxy'}; pass models or architectures, or "
                    "samples that hold node_scores"
                )

    def _table(self, samples: Sequence[Sample]) -> Array:
        """Return statistics (networks, proxies x places)."""
        self._check(samples)
        table = np.zeros((len(samples), len(self.proxies), max(len(self.places_), 1)))
        for row, sample in enumerate(samples):
            paths = _paths(sample) if self.positions == "module" else None
            for column, name in enumerate(self.proxies):
                values = layer_statistics(sample, name, self.scaling)
                if paths is None:
                    values = _at_most(values, table.shape[2])
                    table[row, column, : len(values)] = values
                    continue
                for path, value in zip(paths, values.tolist(), strict=True):
                    if path in self.places_:
                        table[row, column, self.places_[path]] = value
        return table.reshape(len(samples), -1)

    def _inputs(self, samples: Sequence[Sample]) -> Tensor:
        scaled = (self._table(samples) - self.mean_) / self.std_
        return torch.from_numpy(scaled.astype(np.float32))

    def _graphs(self, samples: Sequence[Sample], model: _Network) -> list[GraphTensors]:
        if model.encoder is None:
            return []
        read = tensor_reader(True, positions_of(model.encoder))
        return [read(sample.graph) for sample in samples]

    def _model(self) -> _Network:
        inputs = len(self.proxies) * max(len(self.places_), 1)
        return _Network(inputs, self.mixer or {}, self.encoder, self.random_state)

    def _network(self) -> _Network:
        if not hasattr(self, "_built"):  # made from fitted attributes, as after loading
            model = self._model()
            load_arrays(model, self.weights_)
            self._built = model
        return self._built


def _at_most(values: Array, places: int) -> Array:
    """Return values (n,), or ``places`` of them at evenly spaced depths if there are more."""
    if len(values) <= places:
        return values
    depths = np.linspace(0, len(values) - 1, places)
    return np.interp(depths, np.arange(len(values)), values)


def _paths(sample: Sample) -> list[str]:
    """Return the module path of each layer, numbered if a module has several layers."""
    graph = sample.graph
    seen: dict[str, int] = {}
    paths = []
    for node in layers_of(sample).tolist():
        path = graph.module_names[graph.module[node]]
        seen[path] = seen.get(path, 0) + 1
        paths.append(f"{path} {seen[path]}" if seen[path] > 1 else path)
    return paths
