"""What every operator of a network asks of a device: multiply-adds, bytes, and their shapes.

Costs of devices that you do not have are sums over these rows (``roofline``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...basics import Array, IntArray
from ...graphs import ATTRIBUTES, Graph
from ...graphs.features import output_elements, owned_parameters, resolution
from ...graphs.operators import CANONICAL, CANONICAL_ID, NORMS
from ...predictors.features.cache import once_per_graph

CLASSES = (
    *("conv", "conv_pointwise", "conv_strided", "conv_grouped", "depthwise", "depthwise_large"),
    *("linear", "matmul", "attention", "attention_biased", "batch_norm", "layer_norm"),
    *("other_norm", "softmax", "relu", "smooth_activation", "add", "mul", "concat", "max_pool"),
    *("avg_pool", "global_pool", "move", "interpolate", "reduction", "recurrent", "other"),
)
"""Classes of operators that run on kernels of the same kind."""

COUNTS = ("work", "read", "written", "weights")

_NAMED = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "deform_conv"), "conv"),
    **{f"conv_transpose{dims}d": "conv" for dims in (1, 2, 3)},
    "depthwise_conv": "depthwise",
    "linear": "linear",
    **dict.fromkeys(("matmul", "cdist", "sparse_matmul", "linear_algebra"), "matmul"),
    "attention": "attention",
    **dict.fromkeys((*NORMS, "norm"), "other_norm"),
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "softmax": "softmax",
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "hardtanh", "threshold", "clamp"), "relu"),
    **dict.fromkeys(
        (
            *("prelu", "elu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "sigmoid"),
            *("tanh", "softplus", "glu", "exp", "log", "pow", "sqrt", "trigonometric"),
        ),
        "smooth_activation",
    ),
    **dict.fromkeys(("add", "sub"), "add"),
    **dict.fromkeys(("mul", "div", "where"), "mul"),
    **dict.fromkeys(("concat", "stack"), "concat"),
    "max_pool": "max_pool",
    "avg_pool": "avg_pool",
    "global_avg_pool": "global_pool",
    **dict.fromkeys(("mean", "sum", "extremum", "variance", "cumulative", "sort"), "reduction"),
    **dict.fromkeys(
        (
            *("pad", "roll", "repeat", "pixel_shuffle", "pixel_unshuffle", "unfold", "fold"),
            *("gather", "scatter", "embedding"),
        ),
        "move",
    ),
    **dict.fromkeys(("interpolate", "grid_sample"), "interpolate"),
    **dict.fromkeys(("lstm", "gru", "rnn"), "recurrent"),
}
_AT = {name: i for i, name in enumerate(CLASSES)}
_LARGE_KERNEL = 3
_OPERANDS = 3  # of attention without a bias or mask


class Loads(NamedTuple):
    """The operators of one network, equal ones once; of one sample.

    Attributes:
        classes: (n,) position in ``CLASSES``.
        counts: (n, 4) multiply-adds, elements read (without weights), written, and of weights.
        shapes: (n, 5) positions of the output, inner and outer channels of a group, groups, and
            kernel positions.
        times: (n,) how often each occurs.
    """

    classes: IntArray
    counts: Array
    shapes: Array
    times: Array

    def __len__(self) -> int:
        return len(self.classes)


@once_per_graph
def loads(graph: Graph) -> Loads:
    """Read the operators of a graph.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.ReLU())
        >>> rows = loads(archrank.trace(net, (3, 32, 32)))
        >>> [CLASSES[i] for i in rows.classes], rows.times.tolist()
        (['conv', 'relu'], [1.0, 2.0])
        >>> rows.counts[0].astype(int).tolist()
        [194400, 3072, 7200, 224]
    """
    ends = [CANONICAL_ID["input"], CANONICAL_ID["output"]]
    here = ~np.isin(graph.operator, ends)
    table = np.concatenate(
        [_classes(graph)[:, None], _counts(graph), _shapes(graph)], axis=1, dtype=np.int64
    )
    apart = _unfused(graph)
    parts = [part for i in np.flatnonzero(apart).tolist() for part in _attention_parts(table[i])]
    whole = table[here & ~apart]
    table = np.concatenate([whole, np.array(parts, dtype=np.int64).reshape(-1, table.shape[1])])
    rows, times = np.unique(table, axis=0, return_counts=True)
    return Loads(
        rows[:, 0],
        rows[:, 1 : 1 + len(COUNTS)].astype(np.float64),
        rows[:, 1 + len(COUNTS) :].astype(np.float64),
        times.astype(np.float64),
    )


def _classes(graph: Graph) -> IntArray:
    """Return the position in ``CLASSES`` of each node."""
    classes = _class_of_operator()[graph.operator]
    kernel = graph.attributes[:, :3].max(axis=1)
    stride = graph.attributes[:, ATTRIBUTES.index("stride0")]
    groups = graph.attributes[:, ATTRIBUTES.index("groups")]
    conv, depthwise = (classes == _AT[name] for name in ("conv", "depthwise"))
    classes[conv & (stride > 1)] = _AT["conv_strided"]
    classes[conv & (kernel == 1) & (stride <= 1)] = _AT["conv_pointwise"]
    classes[conv & (groups > 1)] = _AT["conv_grouped"]
    classes[depthwise & (kernel > _LARGE_KERNEL)] = _AT["depthwise_large"]
    operands = np.bincount(graph.edges[:, 1], minlength=len(graph)) + np.diff(graph.uses_offsets)
    attention = classes == _AT["attention"]
    classes[attention & (operands > _OPERANDS)] = _AT["attention_biased"]
    return classes


def _unfused(graph: Graph) -> npt.NDArray[np.bool_]:
    """Return which nodes are attention that no fused kernel takes: torch's want four dimensions."""
    dimensions = np.diff(graph.out_offsets)
    unfused: npt.NDArray[np.bool_] = (graph.operator == CANONICAL_ID["attention"]) & (
        dimensions != 4
    )
    return unfused


def _attention_parts(row: IntArray) -> list[list[int]]:
    """Return the rows of the two products, the softmax and, where there is one, the bias of an
    attention."""
    work, read, written = row[1:4].tolist()
    queries, inner, outer, heads = row[5:9].tolist()
    scores = work // (inner + outer)
    keys = max(scores // (heads * queries), 1)
    half = read // 3
    inside = [queries, keys, keys, heads, 1]
    made = [
        [_AT["matmul"], scores * inner, 2 * half, scores, 0, queries, inner, keys, heads, 1],
        [_AT["softmax"], 3 * scores, scores, scores, 0, *inside],
        [_AT["matmul"], scores * outer, scores + half, written, 0, queries, keys, outer, heads, 1],
    ]
    if row[0] == _AT["attention_biased"]:
        made.append([_AT["add"], scores, 2 * scores, scores, 0, *inside])
    return made


@lru_cache(maxsize=1)
def _class_of_operator() -> IntArray:
    return np.array([_AT[_NAMED.get(name, "other")] for name in CANONICAL])


def _counts(graph: Graph) -> IntArray:
    """Return (n, 4) multiply-adds, elements read, written, and of weights, of each node."""
    written = output_elements(graph)
    read = np.zeros(len(graph), dtype=np.int64)
    source, target = graph.edges.astype(np.int64).T
    np.add.at(read, target, written[source])
    return np.stack([graph.node_flops, read, written, owned_parameters(graph)], axis=1)


def _shapes(graph: Graph) -> IntArray:
    """Return (n, 5) as in ``Loads``; of what has no weight, 1 stands for what it does not have.

    Products of two tensors have no channels: their positions are the rows of a product, inner and
    outer its length and columns, groups the number of products.
    """
    sizes = resolution(graph).astype(np.int64)  # height, width, channels; before and after
    groups = np.maximum(graph.attributes[:, ATTRIBUTES.index("groups")], 1).astype(np.int64)
    kernel = np.maximum(graph.attributes[:, :3].astype(np.int64), 1).prod(axis=1)
    shapes = np.stack(
        [sizes[:, 1] * sizes[:, 3], sizes[:, 4] // groups, sizes[:, 5] // groups, groups, kernel],
        axis=1,
    )
    for i in np.flatnonzero(np.isin(graph.operator, _last_is_channels())).tolist():
        taken = graph.in_shapes[graph.in_offsets[i] : graph.in_offsets[i + 1]]
        made = graph.out_shapes[graph.out_offsets[i] : graph.out_offsets[i + 1]]
        if len(taken) and len(made) > 1:
            apart = graph.operator[i] in _products()
            products = int(made[:-2].prod()) if apart else 1
            rows = int(made[:-1].prod()) // max(products, 1)
            shapes[i] = rows, taken[-1], made[-1], products, 1
    made_of_one: IntArray = np.maximum(shapes, 1)
    return made_of_one


@lru_cache(maxsize=1)
def _products() -> frozenset[int]:
    return frozenset(CANONICAL_ID[name] for name in ("matmul", "attention"))


@lru_cache(maxsize=1)
def _last_is_channels() -> list[int]:
    return [*_products(), CANONICAL_ID["linear"], CANONICAL_ID["layer_norm"]]
