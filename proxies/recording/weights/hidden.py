"""Weights that a network applies where modes that look at layers do not see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ....errors import ScoreError
from ....graphs import Graph
from ....graphs.arguments import storage_of
from .applying import POSITIONS
from .parameters import LAYERS, distance_weights
from .products import MULTIPLYING
from .provenance import tensors_among

_SEEN_TO_APPLY = LAYERS - {"deform_conv"}


class _Reads(TorchDispatchMode):
    """A mode that notes which of some tensors any operator reads."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        self._names = {tensor.data_ptr(): name for name, tensor in tensors.items()}
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for argument in args:
            if isinstance(argument, Tensor) and argument.layout is torch.strided:
                name = self._names.get(argument.data_ptr())
                self.names.update(() if name is None else (name,))
        return func(*args, **(kwargs or {}))


class MappedWeights:
    """What layers apply under ``torch.vmap`` where it is mapped over, as members of ensembles are.

    Such a tensor stands for all that it is one of. Of a parameter, or of a view of one, gradients
    are known; whatever else it is made of parameters alone, nothing can be put in its place.

    Attributes:
        computed: the parameters of which layers apply something else.
    """

    def __init__(self, parameters: dict[str, Tensor], names: dict[int, tuple[str, ...]]):
        self._names = names
        self._memory = {storage_of(parameter) for parameter in parameters.values()}
        self._made: dict[int, tuple[str, ...]] = {}
        self._keep: list[Any] = []
        self.computed: set[str] = set()

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """See a function that was called."""
        tensors = [*tensors_among((args, kwargs))]
        if not any(map(is_functorch_wrapped_tensor, tensors)):
            return
        sources = [self._sources(tensor) for tensor in tensors]
        if None not in sources:
            self._keep.append(result)
            names = tuple(dict.fromkeys(name for one in sources for name in one or ()))
            self._made.update((id(made), names) for made in tensors_among(((result,), None)))
        elif func in POSITIONS or func in MULTIPLYING:
            for tensor, own in zip(tensors, sources, strict=True):
                wrapped = is_functorch_wrapped_tensor(tensor) and tensor.dim() > 1
                if own and wrapped and storage_of(_whole(tensor)) not in self._memory:
                    self.computed.update(own)

    def _sources(self, tensor: Tensor) -> tuple[str, ...] | None:
        """Return the parameters of which alone a tensor is made; None of any other."""
        known = self._made.get(id(tensor), self._names.get(id(tensor)))
        if known is None and is_functorch_wrapped_tensor(tensor):
            return self._sources(get_unwrapped(tensor))
        return known


def _whole(tensor: Tensor) -> Tensor:
    """Return what a tensor under ``torch.vmap`` is one of."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def layers(graph: Graph) -> set[str]:
    """Return the parameters of which the graph shows that a layer applies them."""
    shown = [node for node in graph.nodes if node.operator in _SEEN_TO_APPLY]
    return {name for node in shown for name in node.parameters} | distance_weights(graph)


def refuse_hidden(
    graph: Graph, leaves: dict[str, Tensor], seen: Collection[str], run: Callable[[], Any]
) -> None:
    """Refuse features of a network in which a layer was not seen that runs all the same.

    Args:
        graph: of the network.
        leaves: its weights.
        seen: names of the weights that layers were seen to apply.
        run: runs the network once more.

    Raises:
        ScoreError: an operator reads a weight of another layer.
    """
    missing = {name: leaves[name] for name in _missing(graph, leaves, seen)}
    if missing:
        with torch.no_grad(), _Reads(missing) as reads:
            run()
        _refuse(name for name in missing if name in reads.names)


def refuse_learning_unseen(
    graph: Graph, gradients: dict[str, Tensor], seen: Collection[str]
) -> None:
    """Refuse outputs of layers among which one is missing of which the weight has a gradient.

    Args:
        graph: of the network.
        gradients: of its weights.
        seen: names of the weights of which the layers' outputs are known.

    Raises:
        ScoreError: there is one.
    """
    _refuse(name for name in _missing(graph, gradients, seen) if bool(gradients[name].any()))


def _missing(graph: Graph, names: Iterable[str], seen: Collection[str]) -> list[str]:
    """Return the names of weights that layers apply and were not seen to, in their order."""
    of_layers = layers(graph)
    return [name for name in names if name in of_layers and name not in seen]


def refuse_computed(names: Iterable[str]) -> None:
    """Refuse weights that are computed where they are mapped over.

    Args:
        names: of the parameters that they are made of.

    Raises:
        ScoreError: there are any.
    """
    for name in sorted(names):
        raise ScoreError(
            f"a layer under torch.vmap applies weights that are made of {name!r}, which holds "
            "other numbers than these; map over parameters that hold the weights themselves, or "
            "loop over members that have parameters of their own"
        )


def _refuse(hidden: Iterable[str]) -> None:
    for name in hidden:
        raise ScoreError(
            f"{name!r} is applied where the output cannot be seen (compiled by TorchScript, in a "
            "custom operator, an exported program, torch.vmap, or in distances to centres), so the "
            "features of its layer would be left out; call torch.nn.functional or a module of "
            "torch.nn there"
        )
