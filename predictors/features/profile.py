"""A profile of a network's work and composition: features for any search space.

``statistics`` counts operators. A profile has the share of each class of operators in
multiply-adds, parameters and outputs. It has the distribution of work, widths and depth over the
stages. It has details of design: gates, attention and its tokens, kernels, groups, normalisation,
rectifiers and residual sums. Shares do not grow with the network, so they are comparable across
families and input sizes.

Notes:
    All of this is our choice.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...graphs import Graph
from ...graphs.features import output_elements, owned_parameters, resolution
from ...graphs.operators import CANONICAL, CANONICAL_ID

STAGES = 6
"""The number of stages, which count halvings of the input's extent; the last holds all smaller
maps."""
CLASSES = (
    *("conv1", "conv3", "conv5", "grouped", "depthwise3", "depthwise5", "linear", "attention"),
    *("product", "norm", "activation", "pool", "add", "mul", "other"),
)
"""The classes of operators whose work is distinguished; 5 stands for kernels of 5 and more."""
RECTIFIERS = ("relu", "clipped", "silu", "gelu", "gated")
NORMS = ("batch_norm", "layer_norm", "group_norm")
_WORK = ("flops", "params", "outputs")
_SIZES = (
    *("params", "flops", "activations", "depth", "nodes", "input extent", "input channels"),
    *("params of the classifier", "features", "flops per parameter", "activations per flop"),
)
_DETAILS = (
    *("gates", "residual sums", "attention layers", "tokens of attention", "width of heads"),
    *("mean kernel", "mean depthwise kernel", "mean group width", "first stride", "last extent"),
    *("widest", "narrowest", "mean width", "expansion", "concatenations", "biases"),
)

_OF_CLASS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "conv1"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "conv1"),
    **dict.fromkeys(("linear", "embedding", "lstm", "gru", "rnn"), "linear"),
    **dict.fromkeys(("matmul", "sparse_matmul", "cdist"), "product"),
    **dict.fromkeys((*NORMS, "instance_norm", "rms_norm"), "norm"),
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu"), "activation"),
    **dict.fromkeys(("mish", "hardswish", "hardsigmoid", "sigmoid", "tanh"), "activation"),
    **dict.fromkeys(("hardtanh", "softplus", "glu", "softmax", "clamp"), "activation"),
    **dict.fromkeys(("avg_pool", "global_avg_pool", "mean", "max_pool"), "pool"),
    "depthwise_conv": "depthwise3",
    "attention": "attention",
    "add": "add",
    "mul": "mul",
}
_RECTIFIER = {
    **dict.fromkeys(("relu", "leaky_relu", "prelu", "elu"), "relu"),
    **dict.fromkeys(("relu6", "hardswish", "hardsigmoid", "hardtanh", "clamp"), "clipped"),
    "silu": "silu",
    "mish": "silu",
    "gelu": "gelu",
    "sigmoid": "gated",
    "glu": "gated",
}
_NORM = {**{name: name for name in NORMS}, "rms_norm": "layer_norm", "instance_norm": "group_norm"}

GROUPS = {
    "flops": "share of flops in",
    "params": "share of params in",
    "outputs": "share of outputs in",
    "work": "log2 flops in",
    "rest": r"(?!share of (flops|params|outputs) in|log2 flops in)",
}
"""Group of columns -> a pattern of the beginning of their names."""


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Return the names of the columns of ``profile``, in order."""
    columns = [f"log2 {name}" for name in _SIZES]
    columns += [f"share of {work} in {name}" for work in _WORK for name in CLASSES]
    columns += [f"log2 flops in {name}" for name in CLASSES]
    columns += [f"stage {i} {what}" for i in range(STAGES) for what in _STAGE]
    columns += [f"share of {name}" for name in (*RECTIFIERS, *NORMS)]
    return (*columns, *_DETAILS)


_STAGE = ("share of flops", "share of params", "layers", "log2 width")


def profile(graph: Graph) -> Array:
    """Return the profile (len(names()),) of one graph.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> values = profile(archrank.trace(net, (3, 32, 32)))
        >>> float(values[names().index("share of params in conv3")])
        1.0
    """
    made = _Reading(graph)
    return np.concatenate(
        [made.sizes(), made.classes(), made.stages(), made.materials(), made.details()]
    )


class _Reading:
    """The arrays of one graph that its profile is computed from."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shape = resolution(graph).astype(np.float64)  # Hin, Hout, Win, Wout, Cin, Cout
        self.flops = graph.node_flops.astype(np.float64)
        self.params = owned_parameters(graph).astype(np.float64)
        self.outputs = output_elements(graph).astype(np.float64)
        self.kernel = graph.attributes[:, :3].max(axis=1).astype(np.float64)
        self.groups = np.maximum(graph.attributes[:, 12].astype(np.float64), 1.0)
        self.kind = self._kinds()
        self.layer = np.isin(self.kind, [CLASSES.index(name) for name in CLASSES[:9]])
        self.extent = np.maximum(self.shape[:, 1], self.shape[:, 3])
        inputs = graph.operator == CANONICAL_ID["input"]
        self.input_extent = float(self.extent[inputs].max(initial=1.0))
        self.input_channels = float(self.shape[inputs, 5].max(initial=1.0))

    def _kinds(self) -> npt.NDArray[np.int64]:
        kind = _class_of_operator()[self.graph.operator].copy()
        dense = kind == CLASSES.index("conv1")
        kind[dense & (self.kernel > 1)] = CLASSES.index("conv3")
        kind[dense & (self.kernel > 3)] = CLASSES.index("conv5")
        kind[dense & (self.groups > 1)] = CLASSES.index("grouped")
        deep = (kind == CLASSES.index("depthwise3")) & (self.kernel > 3)
        kind[deep] = CLASSES.index("depthwise5")
        return kind

    def sizes(self) -> Array:
        graph, layers = self.graph, np.flatnonzero(self.layer)
        last = layers[-1] if len(layers) else 0
        values = [
            *(graph.params, graph.flops, graph.activations, graph.depth, len(graph)),
            *(self.input_extent, self.input_channels, self.params[last], self.shape[last, 4]),
            graph.flops / max(graph.params, 1),
            1000.0 * graph.activations / max(graph.flops, 1),
        ]
        made: Array = np.log2(1.0 + np.array(values, dtype=np.float64))
        return made

    def classes(self) -> Array:
        sums = [
            np.bincount(self.kind, weights=values, minlength=len(CLASSES))
            for values in (self.flops, self.params, self.outputs)
        ]
        shares = [total / max(total.sum(), 1.0) for total in sums]
        return np.concatenate([*shares, np.log2(1.0 + sums[0])])

    def stages(self) -> Array:
        halvings = np.log2(np.maximum(self.input_extent / np.maximum(self.extent, 1.0), 1.0))
        # A sequence of H x W tokens has the extent of a map of H x W.
        tokens = (self.shape[:, 3] == 1) & (self.shape[:, 1] > 1)
        side = np.sqrt(np.maximum(self.shape[:, 1], 1.0))
        ratio = np.maximum(self.input_extent / side, 1.0)
        halvings = np.where(tokens, np.log2(ratio), halvings)
        stage = np.minimum(np.round(halvings), STAGES - 1).astype(np.int64)
        layers = np.bincount(stage[self.layer], minlength=STAGES)
        width = np.bincount(
            stage[self.layer], np.log2(1.0 + self.shape[self.layer, 5]), minlength=STAGES
        )
        columns = [
            np.bincount(stage, self.flops, STAGES) / max(self.flops.sum(), 1.0),
            np.bincount(stage, self.params, STAGES) / max(self.params.sum(), 1.0),
            np.log2(1.0 + layers),
            width / np.maximum(layers, 1),
        ]
        return np.stack(columns, axis=1).ravel()

    def materials(self) -> Array:
        """Return the shares of kinds of rectifiers and normalisation, weighted by their outputs."""
        found = []
        for table, kinds in ((_RECTIFIER, RECTIFIERS), (_NORM, NORMS)):
            ids = {name: CANONICAL_ID[name] for name in table if name in CANONICAL_ID}
            made = np.zeros(len(kinds))
            for name, which in ids.items():
                made[kinds.index(table[name])] += self.outputs[self.graph.operator == which].sum()
            found.append(made / max(self.outputs.sum(), 1.0))
        return np.concatenate(found)

    def details(self) -> Array:
        operator, layer = self.graph.operator, self.layer
        is_ = lambda *names: np.isin(operator, [CANONICAL_ID[name] for name in names])  # noqa: E731
        edges = self.graph.edges
        area = self.shape[:, 1] * self.shape[:, 3]
        # A gate multiplies a map by a function of its pooled values.
        narrow = area[edges[:, 0]] < area[edges[:, 1]]
        gates = len(np.unique(edges[narrow & is_("mul")[edges[:, 1]], 1]))
        attends = is_("attention", "softmax")
        layers = max(int(layer.sum()), 1)
        conv = np.isin(self.kind, [CLASSES.index(n) for n in ("conv1", "conv3", "conv5")])
        depthwise = np.isin(self.kind, [CLASSES.index(n) for n in ("depthwise3", "depthwise5")])
        grouped = self.kind == CLASSES.index("grouped")
        width = np.log2(1.0 + self.shape[layer, 5]) if layer.any() else np.zeros(1)
        first = int(np.flatnonzero(layer)[0]) if layer.any() else 0
        last = int(np.flatnonzero(layer)[-1]) if layer.any() else 0
        features = self.extent[: last + 1][layer[: last + 1]]
        heads = is_("attention")
        sums = is_("add").sum()
        ratios = np.abs(np.log2((1.0 + self.shape[:, 5]) / (1.0 + self.shape[:, 4])))
        return np.array(
            [
                gates / layers,
                sums / layers,
                np.log2(1.0 + attends.sum()),
                _mean(np.log2(1.0 + area), self.outputs * attends),
                _mean(np.log2(1.0 + self.shape[:, 5]), 1.0 * heads),
                _mean(self.kernel, self.flops * conv),
                _mean(self.kernel, self.flops * depthwise),
                _mean(np.log2(self.shape[:, 4] / self.groups + 1.0), self.flops * grouped),
                np.log2(max(self.input_extent / max(self.extent[first], 1.0), 1.0)),
                np.log2(1.0 + (features[features > 1].min() if (features > 1).any() else 1.0)),
                width.max(),
                width.min(),
                _mean(np.log2(1.0 + self.shape[:, 5]), self.flops * layer),
                _mean(ratios, self.flops * layer),
                np.log2(1.0 + is_("concat").sum()),
                float((self.graph.attributes[:, -1] > 0)[layer].mean()) if layer.any() else 0.0,
            ]
        )


def _mean(values: npt.NDArray[Any], weights: npt.NDArray[Any]) -> float:
    """Return the weighted mean, or 0 if all weights are 0."""
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total > 0 else 0.0


@lru_cache(maxsize=1)
def _class_of_operator() -> npt.NDArray[np.int64]:
    """Return the position in ``CLASSES`` of each canonical operator, regardless of its kernel."""
    return np.array([CLASSES.index(_OF_CLASS.get(name, "other")) for name in CANONICAL])
