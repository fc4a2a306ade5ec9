"""Effective weights: what layers apply where that is computed from parameters.

Weight norm, spectral norm, orthogonal parametrisations, weight standardisation and low-rank
adapters merged into a weight do not change what a layer can compute, but its parameters are not its
weight. The proxies read the weight that the layer applies, so the network scores as its folded
twin, whose parameters are the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from ....graphs import Graph
from ....graphs.functions import DROPOUTS
from ....graphs.operators import UNKNOWN, WEIGHTED

APPLYING = frozenset(
    (
        F.linear,
        F.bilinear,
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.conv_transpose2d,
        torch.conv_transpose3d,
    )
)
"""Functions that apply a weight to what depends on the input."""

PRODUCTS = APPLYING - {F.bilinear}
"""Functions that apply a weight to one input."""

_POSITION = {F.bilinear: 2}
_PLAIN = frozenset(
    (
        *(nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNN, nn.LSTM, nn.GRU),
        *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.MultiheadAttention),
        *(nn.RNNCell, nn.LSTMCell, nn.GRUCell),
    )
)
"""Layers that apply their parameters as they are."""


def applied_as(leaf: Tensor) -> Tensor:
    """Return the complex weight of pairs of real numbers, which its layer applies."""
    weight = torch.view_as_complex(leaf)
    leaf.applied = weight  # type: ignore[attr-defined]
    return weight


def names_by_weight(leaves: dict[str, Tensor]) -> dict[int, str]:
    """Return the names of leaves by the identity of the tensor that layers apply."""
    return {id(getattr(leaf, "applied", leaf)): name for name, leaf in leaves.items()}


def applied(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield the path of each module that applies weights, and a parameter of its operator."""
    wanted = WEIGHTED - {"embedding"} | {UNKNOWN}
    for node in graph.nodes:
        if node.operator in wanted:
            for name in node.parameters:
                yield node.module, name


def applied_directly(model: nn.Module, graph: Graph) -> bool:
    """Return whether plain layers alone apply the weights, each its own."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for path, name in applied(graph):
        layer = modules.get(path)
        if layer is None or type(layer) not in _PLAIN or layer._forward_pre_hooks:
            return False
        if not any(parameter is parameters.get(name) for parameter in layer.parameters()):
            return False
    return True


@dataclass(frozen=True)
class EffectiveWeights:
    """Weights that layers apply and that are no parameters.

    Attributes:
        values: the name of the parameter that stands for a weight -> the weight.
        sources: names of all parameters of which they are made.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()


class Provenance(TorchFunctionMode):
    """A mode that knows what is computed from parameters and constants alone.

    Args:
        parameters: name -> tensor that the model holds in its place.
        constants: buffers and other tensors that depend on no input.
    """

    def __init__(self, parameters: dict[str, Tensor], constants: Iterable[Tensor] = ()):
        super().__init__()
        self._names: dict[int, tuple[str, ...]] = {id(t): () for t in constants}
        self._names.update((id(t), (name,)) for name, t in parameters.items())
        self._own = {id(t) for t in parameters.values()}
        self._keep: list[Any] = [parameters]  # a freed tensor's identity must not come back

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in APPLYING:
            position = _POSITION.get(func, 1)
            weight = args[position] if len(args) > position else kwargs["weight"]
            names = self._names.get(id(weight), ())
            if names and id(weight) not in self._own:
                weight = self.derived(names, weight)
                if len(args) > position:
                    args = (*args[:position], weight, *args[position + 1 :])
                else:
                    kwargs = {**kwargs, "weight": weight}
            elif names:
                self.direct(names[0])
            return func(*args, **kwargs)
        sources = self._sources(args, kwargs)
        if sources is None:
            if args and getattr(func, "__name__", "").endswith("_"):  # written to in place
                self._names.pop(id(args[0]), None)
            return func(*args, **kwargs)
        if func in DROPOUTS:
            return args[0] if args else kwargs["input"]
        # The norms and rectifiers that make a weight are none of the network's.
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            result = func(*args, **kwargs)
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor) and id(made) not in self._own:
                self._names[id(made)] = sources
                self._keep.append(made)
        return result

    def _sources(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...] | None:
        """Return the parameters behind all tensors among the arguments; None of any other."""
        found: dict[str, None] = {}
        waiting = [*args, *kwargs.values()] if kwargs else [*args]
        for item in waiting:
            if isinstance(item, Tensor):
                names = self._names.get(id(item))
                if names is None:
                    return None
                found.update(dict.fromkeys(names))
            elif isinstance(item, (list, tuple)):
                waiting.extend(item)
        return tuple(found)

    def derived(self, names: tuple[str, ...], weight: Tensor) -> Tensor:
        """Return what a layer applies in place of a weight made of the parameters ``names``."""
        return weight

    def direct(self, name: str) -> None:
        """See that a layer applies a parameter itself."""


class EffectiveWeightFinder(Provenance):
    """A mode that notes the weights that are no parameters."""

    def __init__(self, parameters: dict[str, Tensor], constants: Iterable[Tensor]):
        super().__init__(parameters, constants)
        self._parameters = parameters
        self._values: dict[str, Tensor] = {}
        self._sources_of: dict[str, tuple[str, ...]] = {}
        self._ambiguous: set[str] = set()

    def derived(self, names: tuple[str, ...], weight: Tensor) -> Tensor:
        main = representative(names, weight, self._parameters)
        value = weight.detach().clone()
        known = self._values.setdefault(main, value)
        self._sources_of[main] = names
        if known.shape != value.shape or not torch.equal(known, value):
            self._ambiguous.add(main)
        return weight

    def direct(self, name: str) -> None:
        self._ambiguous.add(name)

    def result(self) -> EffectiveWeights:
        """Return the weights of which each has one value and no other use as a weight."""
        values = {n: v for n, v in self._values.items() if n not in self._ambiguous}
        sources = frozenset(source for name in values for source in self._sources_of[name])
        return EffectiveWeights(values, sources)


class Replaced(Provenance):
    """A mode in which layers apply given leaves in place of what they compute from parameters."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        constants: Iterable[Tensor],
        leaves: dict[str, Tensor],
        values: dict[str, Tensor],
    ):
        super().__init__(parameters, constants)
        self._parameters = parameters
        self._leaves = {name: leaves[name] for name in values}

    def derived(self, names: tuple[str, ...], weight: Tensor) -> Tensor:
        main = representative(names, weight, self._parameters)
        return self._leaves.get(main, weight)


def representative(names: tuple[str, ...], weight: Tensor, parameters: dict[str, Tensor]) -> str:
    """Return the parameter that stands for a weight made of several.

    It is one of the weight's own shape if there is one, else the largest.
    """
    return max(names, key=lambda n: (parameters[n].shape == weight.shape, parameters[n].numel()))
