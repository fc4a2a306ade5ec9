"""Classes of operators that features of graphs distinguish."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...basics import IntArray
from ...graphs import Graph
from ...graphs.arrays import ATTRIBUTES
from ...graphs.operators import CANONICAL, NORMS, RECTIFIERS
from .cache import once_per_graph

CLASSES = (
    *("conv1", "conv3", "conv5", "depthwise3", "depthwise5", "linear", "product"),
    *("max_pool", "avg_pool", "norm", "activation", "add", "mul", "concat", "other"),
)
"""The classes of operators that statistics distinguish; 5 stands for 5 and more."""
STEPS = CLASSES[:9]
"""The classes that walks consist of."""


@once_per_graph
def classes_of(graph: Graph) -> npt.NDArray[np.int64]:
    """Return the position in ``CLASSES`` of each node."""
    return classes_by_kernel(graph.operator, graph.attributes[:, :3].max(axis=1))


def classes_by_kernel(
    operator: npt.NDArray[np.integer[Any]], kernel: npt.NDArray[np.integer[Any]]
) -> IntArray:
    """Return the positions in ``CLASSES`` of operators (n,) with largest kernel sizes (n,)."""
    classes: IntArray = class_of_operator()[operator]
    convolution = (classes == CLASSES.index("conv1")) & (kernel > 1)
    classes[convolution & (kernel <= 3)] = CLASSES.index("conv3")
    classes[convolution & (kernel > 3)] = CLASSES.index("conv5")
    classes[(classes == CLASSES.index("depthwise3")) & (kernel > 3)] = CLASSES.index("depthwise5")
    return classes


@once_per_graph
def marked_classes(graph: Graph) -> npt.NDArray[np.object_]:
    """Return the class of each node, with ``/`` if it has a stride and ``~`` if it has a
    dilation."""
    marks = np.zeros(len(graph), dtype=np.int64)
    for bit, name in ((1, "stride"), (2, "dilation")):
        columns = [ATTRIBUTES.index(f"{name}{axis}") for axis in range(3)]
        marks |= bit * (graph.attributes[:, columns] > 1).any(axis=1)
    # An array of objects shares strings, while a NumPy string array makes new ones at each access.
    named = np.array([[name + mark for mark in MARKS] for name in CLASSES], dtype=object)
    found: npt.NDArray[np.object_] = named[classes_of(graph), marks]
    return found


MARKS = ("", "/", "~", "/~")


@lru_cache(maxsize=1)
def class_of_operator() -> npt.NDArray[np.int64]:
    named = {
        **{f"conv{dims}d": "conv1" for dims in (1, 2, 3)},
        **{f"conv_transpose{dims}d": "conv1" for dims in (1, 2, 3)},
        **dict.fromkeys(("linear", "embedding", "lstm", "gru", "rnn"), "linear"),
        **dict.fromkeys(("matmul", "attention", "sparse_matmul"), "product"),
        **dict.fromkeys(NORMS, "norm"),
        **dict.fromkeys(RECTIFIERS, "activation"),
        **dict.fromkeys(("sigmoid", "hardsigmoid", "tanh", "softmax", "glu"), "activation"),
        **dict.fromkeys(("avg_pool", "global_avg_pool", "mean"), "avg_pool"),
        "depthwise_conv": "depthwise3",
        "max_pool": "max_pool",
        "add": "add",
        "mul": "mul",
        "concat": "concat",
    }
    return np.array([CLASSES.index(named.get(name, "other")) for name in CANONICAL])
