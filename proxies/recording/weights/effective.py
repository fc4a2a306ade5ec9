"""Effective weights: what layers apply where that is computed from parameters.

Weight norm, spectral norm, orthogonal parametrisations, weight standardisation and low-rank
adapters merged into a weight do not change what a layer can compute, but its parameters are not its
weight. The proxies read the weight that the layer applies, so the network scores as its folded
twin, whose parameters are the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from ....graphs import Graph
from ....graphs.side_effects import names_read
from .adapters import Adapters, Kind, are_factors, is_sum, kind_of, may_be_adapted
from .biases import Biases, is_sum_of_two, keeps_outputs, may_be_biased
from .filters import FilterOutputs
from .hidden import MappedWeights
from .parameters import SpecialWeights, applied, representative
from .provenance import Provenance, tensors_among

_PLAIN = frozenset(
    (
        *(nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNN, nn.LSTM, nn.GRU),
        *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        *(nn.RNNCell, nn.LSTMCell, nn.GRUCell),
    )
)
"""Layers that apply their parameters as they are."""


_CONVOLUTIONS = frozenset("conv1d conv2d conv3d depthwise_conv".split())
_CHANGING = frozenset(("functional_call", "data", "no_grad", "copy_"))
"""Names in the code of forwards that may give plain layers other weights, or write to theirs."""


def applied_as(leaf: Tensor) -> Tensor:
    """Return the complex weight of pairs of real numbers, which its layer applies."""
    weight = torch.view_as_complex(leaf)
    leaf.applied = weight  # type: ignore[attr-defined]
    return weight


def names_by_weight(leaves: dict[str, Tensor]) -> dict[int, str]:
    """Return the names of leaves by the identity of the tensor that layers apply."""
    return {id(getattr(leaf, "applied", leaf)): name for name, leaf in leaves.items()}


def name_of(names: dict[int, str], weight: Any) -> str | None:
    """Return the name of what a layer applies: a leaf, or made of one; None of anything else."""
    return names.get(id(weight)) or getattr(weight, "made_of", None)


def applied_directly(model: nn.Module, graph: Graph) -> bool:
    """Return whether plain layers alone apply the weights, each its own."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    if any(node.operator in _CONVOLUTIONS and not node.parameters for node in graph.nodes):
        return False  # their kernels are made of the input
    for path, name in applied(graph):
        layer = modules.get(path)
        if layer is None or type(layer) not in _PLAIN or layer._forward_pre_hooks:
            return False
        if not any(parameter is parameters.get(name) for parameter in layer.parameters()):
            return False
    if may_be_adapted(graph) or may_be_biased(graph, parameters):
        return False
    return _CHANGING.isdisjoint(names_read(model))


@dataclass(frozen=True)
class EffectiveWeights:
    """Weights that layers apply and that are not parameters.

    Attributes:
        values: the name of the parameter that stands for a weight -> the weight.
        sources: names of all parameters of which they are made.
        adapters: names of those among them that are beside a layer.
        biases: weight -> the parameter that is added to each product with it.
        in_parts: whether several weights are made of one parameter, as of its slices.
        for_each: whether a weight has a part for each sample, which then lies among channels.
        modulated: the parameters of which each sample applies its own form.
        mapped: the parameters that ``MappedWeights`` found to be computed.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()
    adapters: frozenset[str] = frozenset()
    biases: dict[str, str] = field(default_factory=dict)
    in_parts: bool = False
    for_each: bool = False
    modulated: frozenset[str] = frozenset()
    mapped: frozenset[str] = frozenset()

    @property
    def replace(self) -> bool:
        """Whether layers apply anything else than parameters as they are."""
        return bool(self.values or self.biases or self.in_parts)


class AppliedWeights(Provenance):
    """A mode that notes the parameters that layers apply.

    Attributes:
        names: of them; of a weight made of several, of all.
    """

    def __init__(self, *origins: Any):
        super().__init__(*origins)
        self.names: set[str] = set()

    def _applied(self, weight: Any) -> Any:
        if isinstance(weight, Tensor) and weight.dim() > 1:
            self.names.update(self._names.get(id(weight), ()))
        return super()._applied(weight)


class EffectiveWeightFinder(Provenance):
    """A mode that notes the weights that are not parameters, or to which the forward writes.

    Args:
        given: the parameters as the model was given.
        origins: see ``Provenance``; the parameters among them are leaves.
    """

    def __init__(self, given: dict[str, Tensor], *origins: Any):
        super().__init__(*origins)
        self._given = given
        self._values: dict[str, Tensor] = {}
        self._sources_of: dict[str, tuple[str, ...]] = {}
        self._ambiguous: set[str] = set()
        self._for_each = False
        self._modulated_names: set[str] = set()
        self._adapters = Adapters()
        self._biases = Biases()
        self._mapped = MappedWeights(self._parameters, self._names)
        self._product: Tensor | None = None  # the last one that was written as such

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = super().call(func, args, kwargs)
        self._mapped.called(func, args, kwargs, result)
        self._biases.called(func, args, kwargs, result, self._parameter_in)
        kind = kind_of(func, args, kwargs) if len(args) > 1 else None
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        seen = kind is not None and self._layer(args[0], args[1], kind, bias, result)
        if not seen and result is not self._product:
            self._adapters.called(func, tuple(map(self._number, args)), kwargs, result)
        return result

    def _layer(self, input: Tensor, weight: Any, kind: Kind, bias: Any, result: Tensor) -> bool:
        """See a layer of one parameter, or of several that are factors; return whether it is."""
        name, names = self._alone(weight), self._names.get(id(weight), ())
        if name is not None:
            self._adapters.applied(input, weight, kind, bias, name, result)
        elif bias is None and are_factors(weight, [self._parameters[n] for n in names]):
            self._adapters.multiplied(input, weight, kind, names, result)
        else:
            return False
        return True

    def _alone(self, weight: Any) -> str | None:
        """Return the parameter that a weight is, or is a view of."""
        names = self._names.get(id(weight), ())
        whole = len(names) == 1 and weight.numel() == self._parameters[names[0]].numel()
        return names[0] if whole else None

    def _number(self, value: Any) -> Any:
        """Return a constant of one element as a number, all else as it is."""
        constant = isinstance(value, Tensor) and self._names.get(id(value)) == ()
        return float(value) if constant and value.numel() == 1 else value

    @property
    def repeats(self) -> bool:
        """Whether the second half of some weight is the first once more."""
        halves = [v.tensor_split(2) for v in self._values.values() if len(v) % 2 == 0]
        return any(torch.equal(one, other) for one, other in halves)

    def derived(self, names: tuple[str, ...], weight: Tensor) -> Tensor:
        main = representative(names, weight, self._parameters)
        self._note(main, names, weight)
        learns = any(self._parameters[name].requires_grad for name in names)
        if learns and not weight.requires_grad:  # cut off from what it is made of
            self._ambiguous.add(main)
        return weight

    def _note(self, main: str, names: tuple[str, ...], weight: Tensor) -> None:
        value = weight.detach().clone()
        known = self._values.setdefault(main, value)
        self._sources_of[main] = names
        self._for_each |= known.shape != value.shape
        if known.shape != value.shape or not torch.equal(known, value):
            self._ambiguous.add(main)

    def _applied(self, weight: Any) -> Any:
        own = isinstance(weight, Tensor) and id(weight) in self._own
        name = self._names[id(weight)][0] if own else ""
        if own and weight.dim() > 1 and not weight.is_complex():
            given = self._given[name].detach()
            if given.shape != weight.shape or not torch.equal(given.to(weight), weight):
                self._note(name, (name,), weight)  # the forward wrote to it
                return weight
        return super()._applied(weight)

    def modulated(self, name: str, weight: Tensor) -> Tensor:
        self._modulated_names.add(name)
        return weight

    def direct(self, name: str) -> None:
        self._ambiguous.add(name)

    def multiplied(self, name: str, result: Tensor, outputs: int) -> None:
        self._biases.multiplied(name, result, outputs)

    def mapped(self, name: str, input: Tensor, weight: Tensor, result: Tensor) -> None:
        if self._layer(input, weight, (F.linear,), None, result):
            self._product = result

    def _parameter_in(self, tensor: Tensor) -> tuple[str, Tensor] | None:
        names = self._names.get(id(tensor), ())
        return (names[0], self._parameters[names[0]]) if len(names) == 1 else None

    def result(self) -> EffectiveWeights:
        """Return the weights of which each has one value and no other use as a weight."""
        values = {n: v for n, v in self._values.items() if n not in self._ambiguous}
        sources = {source for name in values for source in self._sources_of[name]}
        adapted = self._adapters.result()
        values.update((name, layer.weight.detach()) for name, layer in adapted.items())
        parts = frozenset(part for layer in adapted.values() for part in layer.parts)
        values = {name: value for name, value in values.items() if name not in parts}
        biases = {w: b for w, b in self._biases.result().items() if w not in adapted}
        modulated = frozenset(self._modulated_names - values.keys())
        several = bool(modulated) or not self._ambiguous.isdisjoint(self._values)
        each = self._for_each or bool(modulated)
        sources.update((*adapted, *parts))
        return EffectiveWeights(
            values,
            frozenset(sources),
            parts,
            biases,
            several,
            each,
            modulated,
            frozenset(self._mapped.computed),
        )


class Replaced(FilterOutputs):
    """A mode in which layers apply given leaves in place of what they compute from parameters."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        constants: Iterable[Tensor],
        special: SpecialWeights,
        leaves: dict[str, Tensor],
        weights: EffectiveWeights,
    ):
        super().__init__(parameters, constants, special)
        own = {name: leaves[name] for name in weights.values}
        self._leaves = {name: getattr(leaf, "applied", leaf) for name, leaf in own.items()}
        self._adapters = weights.adapters
        self._merged: set[int] = set()  # what adapters give, which is in a layer's weight already
        self._biases = weights.biases
        self._biased: dict[int, str] = {}  # product -> the bias that it has already

    def _multiplies(self, args: tuple[Any, ...]) -> bool:
        return super()._multiplies(args) or self._is_merged(args[1:3])

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._biased and any(id(a) in self._biased for a in args):
            return self._read_biased(func, args, kwargs)
        if not self._adapters or not self._is_merged(args):
            return super().call(func, args, kwargs)
        rest = [a for a in args if isinstance(a, Tensor) and id(a) not in self._merged]
        if is_sum(func) and len(rest) == 1:
            return rest[0]
        with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.no_grad():
            result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self._merged.add(id(result))
            self._keep.append(result)
        return result

    def _read_biased(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of a product that has its bias already: not the sum with that bias."""
        product = next(a for a in args if id(a) in self._biased)
        bias = self._biased[id(product)]
        rest = [a for a in args if a is not product]
        if is_sum_of_two(func, args, kwargs) and self._names.get(id(rest[0])) == (bias,):
            return product
        result = super().call(func, args, kwargs)
        if keeps_outputs(func, product, result):
            self._biased[id(result)] = bias
            self._keep.append(result)
        return result

    def bias_of(self, name: str) -> Tensor | None:
        bias = self._biases.get(name)
        return None if bias is None else self._parameters[bias].reshape(-1)

    def multiplied(self, name: str, result: Tensor, outputs: int) -> None:
        if name in self._biases:
            self._biased[id(result)] = self._biases[name]
            self._keep.append(result)

    def _is_merged(self, args: tuple[Any, ...]) -> bool:
        """Return whether a function is an adapter's, or reads what one gave."""
        return any(
            id(a) in self._merged
            or (id(a) in self._own and self._names[id(a)][0] in self._adapters)
            for a in tensors_among((args, None))
        )

    def _applied(self, weight: Any) -> Any:
        if isinstance(weight, Tensor) and id(weight) in self._own:
            return self._leaves.get(self._names[id(weight)][0], weight)
        return super()._applied(weight)

    @property
    def applied_leaves(self) -> list[Tensor]:
        """What layers apply in place of what they compute."""
        return [*self._leaves.values()]

    def derived(self, names: tuple[str, ...], weight: Tensor) -> Tensor:
        main = representative(names, weight, self._parameters)
        if main not in self._leaves:
            weight.made_of = main  # type: ignore[attr-defined]
        return self._leaves.get(main, weight)

    def modulated(self, name: str, weight: Tensor) -> Tensor:
        weight.made_of = name  # type: ignore[attr-defined]
        return weight
