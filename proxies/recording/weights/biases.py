"""Biases that a network adds by itself: ``x W' + b`` is the linear layer of weight W and bias b."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ....graphs import Graph
from ....graphs.operators import WEIGHTED

_SUM = frozenset(("add", "__add__", "__radd__", "__iadd__", "add_"))
_RESHAPE = frozenset(("view", "reshape", "unflatten", "flatten", "view_as", "reshape_as"))


def is_sum_of_two(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a function adds two tensors and does nothing else."""
    two = len(args) == 2 and all(isinstance(a, Tensor) for a in args)
    return two and not kwargs and getattr(func, "__name__", "") in _SUM


def keeps_outputs(func: Any, source: Tensor, result: Any) -> bool:
    """Return whether a function only changes the dimensions before the last one."""
    if getattr(func, "__name__", "") not in _RESHAPE or not isinstance(result, Tensor):
        return False
    return source.shape[-1:] == result.shape[-1:]


class Biases:
    """What is known, in one forward, of parameters that are added to products without a bias."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, int]] = {}  # product -> its weight, dimension of outputs
        self._made: Counter[str] = Counter()
        self._added: dict[str, Counter[str]] = {}
        self._read: set[str] = set()  # weights whose products something else reads
        self._keep: list[Any] = []

    def multiplied(self, weight: str, result: Tensor, outputs: int) -> None:
        """See a product with a weight, and in which dimension its outputs lie."""
        self._made[weight] += 1
        self._open[id(result)] = weight, outputs % result.dim()
        self._keep.append(result)

    def called(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        result: Any,
        parameter_in: Callable[[Tensor], tuple[str, Tensor] | None],
    ) -> None:
        """See any other function.

        Args:
            func: the function.
            args, kwargs: its arguments.
            result: of it.
            parameter_in: returns the parameter, by name, of which alone a tensor is made.
        """
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        read = [t for t in tensors if id(t) in self._open]
        if not read or not isinstance(result, (Tensor, tuple, list)):
            return
        self._keep += [args, result]
        if is_sum_of_two(func, args, kwargs) and len(read) == 1:
            weight, outputs = self._open[id(read[0])]
            (other,) = (t for t in args if t is not read[0])
            added = parameter_in(other)
            if added is not None and _is_bias(other, added[1], read[0], outputs):
                self._added.setdefault(weight, Counter())[added[0]] += 1
                if result is read[0]:
                    del self._open[id(result)]
                return
        for tensor in read:
            weight, outputs = self._open[id(tensor)]
            last = outputs == tensor.dim() - 1
            if last and isinstance(result, Tensor) and keeps_outputs(func, tensor, result):
                self._open[id(result)] = weight, result.dim() - 1
            else:
                self._read.add(weight)

    def result(self) -> dict[str, str]:
        """Return weight -> bias, of weights whose products are read by a sum with it alone."""
        return {
            weight: next(iter(added))
            for weight, added in self._added.items()
            if len(added) == 1 and added.total() == self._made[weight] and weight not in self._read
        }


def _is_bias(added: Tensor, parameter: Tensor, product: Tensor, outputs: int) -> bool:
    """Return whether what is added is a parameter, one number for each output."""
    if parameter.numel() != product.shape[outputs] or added.dim() > product.dim():
        return False
    shape = [1] * product.dim()
    shape[outputs] = -1
    alike = parameter.reshape(shape).expand_as(product)
    return bool((added.expand_as(product) == alike).all())


def may_be_biased(graph: Graph, parameters: Mapping[str, Tensor]) -> bool:
    """Return whether a parameter of one number for each output is added to a layer's output."""
    nodes = {node.index: node for node in graph.nodes}
    layers = WEIGHTED - {"embedding"}
    return any(
        parameters[name].numel() in nodes[source].out_shape[1:]
        for source, target in graph.edges.tolist()
        if nodes[target].operator == "add" and nodes[source].operator in layers
        for name in nodes[target].parameters
    )


def bias_names(model: nn.Module, graph: Graph) -> set[str]:
    """Return the parameters called bias, and vectors that layers add to their outputs."""
    of_layers = {
        name
        for node in graph.nodes
        if node.operator == "linear" or "conv" in node.operator
        for name in node.parameters
    }
    return {
        name
        for name, parameter in model.named_parameters()
        if name.endswith("bias") or (parameter.dim() == 1 and name in of_layers)
    }
