"""Low-rank adapters beside a layer: ``x W' + s (x A') B'`` is the layer of weight ``W + s B A``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....graphs import Graph
from ....graphs.functions import DROPOUTS

_PRODUCT = frozenset(("mul", "mul_", "multiply", "__mul__", "__rmul__", "__imul__"))
_QUOTIENT = frozenset(("div", "div_", "divide", "true_divide", "__truediv__", "__itruediv__"))
_SUM = frozenset(("add", "add_", "__add__", "__radd__", "__iadd__"))
_DIFFERENCE = frozenset(("sub", "sub_", "subtract", "__sub__", "__isub__"))
_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
_SETTINGS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_COPIES = frozenset(("to", "clone", "contiguous", "float", "double", "type"))


@dataclass(frozen=True)
class Adapted:
    """A layer with adapters.

    Attributes:
        weight: of the one layer that they are together.
        parts: names of the adapters' parameters.
    """

    weight: Tensor
    parts: tuple[str, ...] = ()


Kind = tuple[Any, ...]
"""A function that multiplies an input and a weight, and its settings."""


@dataclass(frozen=True)
class _Map:
    """A tensor that is an input times a weight: of one layer, or of the two of an adapter.

    The weight is a matrix of outputs and of all that one output reads. Once an adapter is added to
    a layer's output (``whole``), others may read it.
    """

    input: int
    weight: Tensor
    names: tuple[str, ...]
    kind: Kind
    adapter: bool = False
    biased: bool = False
    whole: bool = False
    scaled: bool = False

    @property
    def scalable(self) -> bool:
        """Whether a number may multiply it: it is an adapter, or the first half of one."""
        return self.adapter or not (self.biased or self.whole)


class Adapters:
    """What is known of layers and their adapters in one forward, in the order of its calls."""

    def __init__(self) -> None:
        self._maps: dict[int, _Map] = {}
        self._same: dict[int, int] = {}  # a copy -> what it is a copy of
        self._used: set[str] = set()  # parameters whose layers' outputs are read by others
        self._uses: Counter[str] = Counter()
        self._found: dict[str, Adapted] = {}
        self._merged: Counter[str] = Counter()
        self._keep: list[Any] = []

    def applied(
        self, input: Tensor, weight: Tensor, kind: Kind, bias: Any, name: str, result: Tensor
    ) -> None:
        """See a layer that applies a parameter to an input."""
        self._uses[name] += 1
        self._keep += [input, result]
        below = self._maps.get(id(input))
        plain = below is not None and not (below.adapter or below.biased or below.whole)
        matrix = weight.detach().flatten(1)
        if below is not None and plain and bias is None and _is_pointwise(weight, kind):
            (outer, rank), inner = matrix.shape, below.weight.shape[1]
            if rank == len(below.weight) < min(outer, inner):
                names = (*below.names, name)
                both = matrix @ below.weight
                self._maps[id(result)] = _Map(below.input, both, names, below.kind, True)
                return
        if below is not None:
            self._read(below)
        source = self._same.get(id(input), id(input))
        own = (*kind, tuple(weight.shape[2:]))
        self._maps[id(result)] = _Map(source, matrix, (name,), own, False, bias is not None)

    def called(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        """See any other function."""
        if not isinstance(result, Tensor):
            return
        self._keep += [args, result]
        name = getattr(func, "__name__", "")
        tensors = [a for a in args if isinstance(a, Tensor)]
        maps = [m for m in map(self._maps.get, map(id, tensors)) if m is not None]
        factor, summands = _factor(name, args), _coefficients(name, args, kwargs)
        if func in DROPOUTS or (name in _COPIES and tensors):
            source = id(tensors[0])
            self._same[id(result)] = self._same.get(source, source)
            if maps:
                self._maps[id(result)] = maps[0]
        elif factor is not None and len(maps) == 1 and maps[0].scalable:
            self._maps[id(result)] = _scaled(maps[0], factor)
        elif summands is not None and len(maps) == 2 and self._merge(maps, summands, result):
            pass
        else:
            for one in maps:
                self._read(one)

    def _read(self, one: _Map) -> None:
        if not one.whole:
            self._used.update(one.names)

    def _merge(self, maps: list[_Map], coefficients: tuple[float, float], result: Tensor) -> bool:
        scaled = [_scaled(m, c) if c != 1 else m for m, c in zip(maps, coefficients, strict=True)]
        layer, adapter = sorted(scaled, key=lambda one: one.adapter)
        alike = (layer.input, layer.kind) == (adapter.input, adapter.kind)
        alike = alike and layer.weight.shape == adapter.weight.shape
        if layer.adapter or layer.scaled or not adapter.adapter or not alike:
            return False
        (name,) = layer.names
        whole = replace(layer, weight=layer.weight + adapter.weight, whole=True)
        self._maps[id(result)] = whole
        before = self._found.get(name, Adapted(layer.weight))
        parts = tuple(dict.fromkeys((*before.parts, *adapter.names)))
        self._found[name] = Adapted(whole.weight.unflatten(1, (-1, *layer.kind[-1])), parts)
        self._merged.update(dict.fromkeys((name, *adapter.names), 1))
        return True

    def result(self) -> dict[str, Adapted]:
        """Return the layers whose adapters serve nothing else, by the name of their weight."""
        return {
            name: found
            for name, found in self._found.items()
            if all(
                self._uses[part] == 1 == self._merged[part] and part not in self._used
                for part in found.parts
            )
            and self._uses[name] == 1
            and name not in self._used
        }


def kind_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Kind | None:
    """Return what kind of layer a function is; None if it is none that has adapters."""
    if func is F.linear:
        return (func,)
    if func not in _CONVOLUTIONS or kwargs.keys() - _SETTINGS.keys() - {"bias"}:
        return None
    given = {**_SETTINGS, **dict(zip(_SETTINGS, args[3:], strict=False)), **kwargs}
    *settings, groups = (given[name] for name in _SETTINGS)
    sides = _CONVOLUTIONS[func]
    spread = [(v,) * sides if isinstance(v, int) else v for v in settings]
    return (func, *(v if isinstance(v, str) else tuple(v) for v in spread)) if groups == 1 else None


def _is_pointwise(weight: Tensor, kind: Kind) -> bool:
    """Return whether a layer mixes the channels of each position alone."""
    if kind[0] is F.linear:
        return True
    stride, padding, _ = kind[1:]
    unpadded = isinstance(padding, str) or set(padding) == {0}
    return {*stride, *weight.shape[2:]} == {1} and unpadded


def _factor(name: str, args: tuple[Any, ...]) -> float | None:
    """Return the number by which a function multiplies a tensor."""
    numbers = [float(a) for a in args if isinstance(a, (int, float))]
    if name in ("neg", "__neg__", "negative"):
        return -1.0
    if len(args) != 2 or len(numbers) != 1:
        return None
    if name in _PRODUCT:
        return numbers[0]
    return 1 / numbers[0] if name in _QUOTIENT and args[1] == numbers[0] else None


def _coefficients(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Return with which numbers a function adds two tensors."""
    if len(args) != 2 or kwargs.keys() - {"alpha"} or name not in _SUM | _DIFFERENCE:
        return None
    alpha = float(kwargs.get("alpha", 1))
    return 1.0, alpha if name in _SUM else -alpha


def _scaled(one: _Map, factor: float) -> _Map:
    return replace(one, weight=one.weight * factor, scaled=True)


def may_be_adapted(graph: Graph) -> bool:
    """Return whether a layer directly follows a narrower one of its kind, as adapters' do."""
    channels = {
        node.index: (node.operator, node.out_shape[-1 if node.operator == "linear" else 1])
        for node in graph.nodes
        if (node.operator == "linear" or node.operator.startswith("conv")) and node.out_shape[1:]
    }
    return any(
        source in channels
        and target in channels
        and channels[source][0] == channels[target][0]
        and channels[source][1] < channels[target][1]
        for source, target in graph.edges.tolist()
    )


def is_sum(func: Any) -> bool:
    """Return whether a function adds two tensors, or subtracts one from another."""
    return getattr(func, "__name__", "") in _SUM | _DIFFERENCE
