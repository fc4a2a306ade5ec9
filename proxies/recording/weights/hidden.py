"""Weights that a network applies where modes that look at layers do not see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ....errors import ScoreError
from ....graphs import Graph
from ....graphs.operators import UNKNOWN, WEIGHTED

_LAYERS = WEIGHTED - {"embedding", "deform_conv"} | {UNKNOWN}


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


def layers(graph: Graph) -> set[str]:
    """Return the parameters of which the graph shows that a layer applies them."""
    return {name for node in graph.nodes if node.operator in _LAYERS for name in node.parameters}


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


def _refuse(hidden: Iterable[str]) -> None:
    for name in hidden:
        raise ScoreError(
            f"{name!r} is applied where the output cannot be seen (compiled by TorchScript, in a "
            "custom operator, an exported program or torch.vmap), so the features of its layer "
            "would be left out; call torch.nn.functional or a module of torch.nn there"
        )
