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
_RESHAPES = frozenset(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"))


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
    a layer's output (``whole``), others may read it. What is read is the input times ``gain``. A
    layer's weight may have several uses.
    """

    input: int
    gain: float
    weight: Tensor
    names: tuple[str, ...]
    kind: Kind
    adapter: bool = False
    biased: bool = False
    whole: bool = False
    scaled: bool = False
    use: int = 0

    @property
    def scalable(self) -> bool:
        """Whether a number may multiply it: it is an adapter, or the first half of one."""
        return self.adapter or not (self.biased or self.whole)

    @property
    def of_rows(self) -> bool:
        """Whether it maps the last dimension, whatever the others are."""
        return self.kind[0] is F.linear


@dataclass(frozen=True)
class _Source:
    """A tensor that another one is a multiple of, or was before it took another shape."""

    tensor: int
    gain: float = 1.0
    reshaped: bool = False


class Adapters:
    """What is known of layers and their adapters in one forward, in the order of its calls."""

    def __init__(self) -> None:
        self._maps: dict[int, _Map] = {}
        self._same: dict[int, _Source] = {}
        self._used: set[str] = set()  # parameters whose layers' outputs are read by others
        self._uses: Counter[str] = Counter()
        self._found: dict[str, dict[int, Adapted]] = {}  # for each use of a layer's weight
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
                self._maps[id(result)] = replace(below, weight=both, names=names, adapter=True)
                return
        if below is not None:
            self._read(below)
        own = self._map(input, weight, (name,), kind, biased=bias is not None)
        self._maps[id(result)] = replace(own, use=self._uses[name])

    def multiplied(
        self, input: Tensor, weight: Tensor, kind: Kind, names: tuple[str, ...], result: Tensor
    ) -> None:
        """See a layer of a weight that is made of several parameters, all of lower rank."""
        self._uses.update(names)
        self._keep += [input, result]
        below = self._maps.get(id(input))
        if below is not None:
            self._read(below)
        self._maps[id(result)] = self._map(input, weight, names, kind, adapter=True)

    def _map(
        self, input: Tensor, weight: Tensor, names: tuple[str, ...], kind: Kind, **facts: bool
    ) -> _Map:
        source = self._source(input)
        if source.reshaped and kind[0] is not F.linear:
            source = _Source(id(input))
        own = (*kind, tuple(weight.shape[2:]))
        matrix = weight.detach().flatten(1)
        return _Map(source.tensor, source.gain, matrix, names, own, **facts)

    def _source(self, tensor: Tensor) -> _Source:
        return self._same.get(id(tensor), _Source(id(tensor)))

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
        if func in DROPOUTS or (tensors and (name in _COPIES or _adds_nothing(name, args))):
            self._same[id(result)] = self._source(tensors[0])
            if maps:
                self._maps[id(result)] = maps[0]
        elif tensors and _keeps_rows(name, args, result):
            self._same[id(result)] = replace(self._source(tensors[0]), reshaped=True)
            for one in maps:
                if one.of_rows:
                    self._maps[id(result)] = one
                else:
                    self._read(one)
        elif factor is not None and len(tensors) == 1:
            source = self._source(tensors[0])
            self._same[id(result)] = replace(source, gain=source.gain * factor)
            for one in maps:
                if one.scalable:
                    self._maps[id(result)] = _scaled(one, factor)
                else:
                    self._read(one)
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
        if layer.gain == 0:
            return False
        alike = (layer.input, layer.kind) == (adapter.input, adapter.kind)
        alike = alike and layer.weight.shape == adapter.weight.shape
        if layer.adapter or layer.scaled or not adapter.adapter or not alike:
            return False
        (name,) = layer.names
        gain = adapter.gain / layer.gain
        whole = replace(layer, weight=layer.weight + gain * adapter.weight, whole=True)
        self._maps[id(result)] = whole
        uses = self._found.setdefault(name, {})
        before = uses[layer.use].parts if layer.use in uses else ()
        parts = tuple(dict.fromkeys((*before, *adapter.names)))
        uses[layer.use] = Adapted(whole.weight.unflatten(1, (-1, *layer.kind[-1])), parts)
        self._merged.update(adapter.names)
        return True

    def result(self) -> dict[str, Adapted]:
        """Return the layers whose adapters serve nothing else, by the name of their weight.

        Each of its uses must have the same adapters.
        """
        found = {}
        for name, of_uses in self._found.items():
            one, *others = of_uses.values()
            count = self._uses[name]
            alike = all(o.parts == one.parts and o.weight.equal(one.weight) for o in others)
            served = all(
                self._uses[part] == self._merged[part] == count and part not in self._used
                for part in one.parts
            )
            if alike and served and len(of_uses) == count and name not in self._used:
                found[name] = one
        return found


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


def _adds_nothing(name: str, args: tuple[Any, ...]) -> bool:
    """Return whether a function adds the number 0, as ``sum`` begins."""
    return name in _SUM and any(isinstance(a, (int, float)) and a == 0 for a in args)


def _keeps_rows(name: str, args: tuple[Any, ...], result: Tensor) -> bool:
    """Return whether a function changes the shape of a tensor, but neither rows nor their order."""
    if not args or not isinstance(args[0], Tensor) or args[0].shape[-1:] != result.shape[-1:]:
        return False
    if args[0].numel() != result.numel():
        return False
    if name == "__getitem__":
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return all(one is None or one is ... or isinstance(one, (int, slice)) for one in index)
    return name in _RESHAPES


def are_factors(weight: Tensor, parameters: list[Tensor]) -> bool:
    """Return whether a weight is made of several matrices that are all of lower rank than it.

    Example:
        >>> are_factors(torch.ones(8, 8), [torch.ones(8, 2), torch.ones(2, 8)])
        True
    """
    most = min(weight.flatten(1).shape)
    return len(parameters) > 1 and all(
        one.dim() > 1 and min(one.flatten(1).shape) < most for one in parameters
    )


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
