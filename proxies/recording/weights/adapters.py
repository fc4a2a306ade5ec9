"""Low-rank adapters beside a layer: ``x W' + s (x A') B'`` is the layer of weight ``W + s B A``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ....graphs import Graph
from ....graphs.functions import DROPOUTS

_PRODUCT = frozenset(("mul", "__mul__", "__rmul__"))
_SUM = frozenset(("add", "add_", "__add__", "__radd__", "__iadd__"))
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


@dataclass(frozen=True)
class _Map:
    """A tensor that is an input times a weight: of one layer, or of the two of an adapter.

    Once an adapter is added to a layer's output (``whole``), others may read it.
    """

    input: int
    weight: Tensor
    names: tuple[str, ...]
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

    def applied(self, input: Tensor, weight: Tensor, bias: Any, name: str, result: Tensor) -> None:
        """See a linear layer that applies a parameter."""
        self._uses[name] += 1
        self._keep += [input, result]
        below = self._maps.get(id(input))
        plain = below is not None and not (below.adapter or below.biased or below.whole)
        if below is not None and plain and bias is None:
            (outer, rank), inner = weight.shape, below.weight.shape[1]
            if rank < min(outer, inner):
                both = weight.detach() @ below.weight
                names = (*below.names, name)
                self._maps[id(result)] = _Map(below.input, both, names, True)
                return
        if below is not None:
            self._read(below)
        source = self._same.get(id(input), id(input))
        self._maps[id(result)] = _Map(source, weight.detach(), (name,), False, bias is not None)

    def called(self, func: Any, args: tuple[Any, ...], result: Any) -> None:
        """See any other function."""
        if not isinstance(result, Tensor):
            return
        self._keep += [args, result]
        name = getattr(func, "__name__", "")
        tensors = [a for a in args if isinstance(a, Tensor)]
        maps = [m for m in map(self._maps.get, map(id, tensors)) if m is not None]
        if func in DROPOUTS or (name in _COPIES and tensors):
            source = id(tensors[0])
            self._same[id(result)] = self._same.get(source, source)
            if maps:
                self._maps[id(result)] = maps[0]
        elif name in _PRODUCT and len(maps) == 1 and maps[0].scalable and _numbers(args):
            scaled = maps[0].weight * _numbers(args)[0]
            self._maps[id(result)] = replace(maps[0], weight=scaled, scaled=True)
        elif name in _SUM and len(args) == len(maps) == 2 and self._merge(maps, result):
            pass
        else:
            for one in maps:
                self._read(one)

    def _read(self, one: _Map) -> None:
        if not one.whole:
            self._used.update(one.names)

    def _merge(self, maps: list[_Map], result: Tensor) -> bool:
        layer, adapter = sorted(maps, key=lambda one: one.adapter)
        alike = layer.input == adapter.input and layer.weight.shape == adapter.weight.shape
        if layer.adapter or layer.scaled or not adapter.adapter or not alike:
            return False
        (name,) = layer.names
        whole = replace(layer, weight=layer.weight + adapter.weight, whole=True)
        self._maps[id(result)] = whole
        before = self._found.get(name, Adapted(layer.weight))
        parts = tuple(dict.fromkeys((*before.parts, *adapter.names)))
        self._found[name] = Adapted(whole.weight, parts)
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


def _numbers(args: tuple[Any, ...]) -> list[float]:
    return [float(a) for a in args if isinstance(a, (int, float))]


def may_be_adapted(graph: Graph) -> bool:
    """Return whether a linear layer directly follows a narrower one, as adapters' do."""
    linear = {node.index: node for node in graph.nodes if node.operator == "linear"}
    return any(
        source in linear
        and target in linear
        and linear[source].out_shape[-1:] < linear[target].out_shape[-1:]
        for source, target in graph.edges.tolist()
    )


def is_sum(func: Any) -> bool:
    """Return whether a function adds two tensors."""
    return getattr(func, "__name__", "") in _SUM
