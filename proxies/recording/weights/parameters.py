"""The parameters of a model: in which order, and which are hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ....errors import ScoreError
from ....graphs import Graph, Node
from ....graphs.operators import UNKNOWN, WEIGHTED

_PARAMETRIZATIONS = "parametrizations"
_SPREADS = frozenset(("sqrt", "norm", "variance"))
_INTO = frozenset(("fft_r2c", "stft"))
_BACK = frozenset(("fft_c2r", "istft"))
_EITHER = frozenset(("fft_c2c",))  # the graph does not say which

TRANSFORMS_BACK = _BACK | _EITHER
"""ATen calls that may transform a spectrum back."""

LAYERS = WEIGHTED - {"embedding"} | {"cdist", UNKNOWN}
"""Operators that apply weights; distances to centres are products with them, and norms."""

_SUMMING = frozenset(("sum", "norm"))
_POWERS = frozenset("pow abs square mul add".split())

FILTERING = frozenset(("mul", "div"))
"""Operators that multiply element by element."""


def named_parameters(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Return parameters by name, those that a parametrization holds where its layer's own are.

    So a layer has its place among the weights, by which some proxies draw and weigh, with and
    without a norm of its weight.

    Example:
        >>> net = nn.Sequential(nn.Bilinear(2, 2, 2), nn.Linear(2, 2))
        >>> _ = nn.utils.parametrizations.weight_norm(net[0])
        >>> [name.rpartition(".")[2] for name, _ in named_parameters(net)][:3]
        ['bias', 'original0', 'original1']
    """
    modules = dict(model.named_modules())
    place = {path: i for i, path in enumerate(modules)}

    def key(item: tuple[str, Tensor]) -> tuple[int, int]:
        path, _, name = item[0].rpartition(".")
        parts = path.split(".")
        if _PARAMETRIZATIONS in parts:
            at = parts.index(_PARAMETRIZATIONS)
            path, name = ".".join(parts[:at]), parts[at + 1]
        own = getattr(modules[path], "_flat_weights_names", ())  # of recurrent layers
        return place[path], own.index(name) if name in own else -1

    return sorted(model.named_parameters(), key=key)


def scales_by_hand(graph: Graph) -> set[str]:
    """Return the scales of norms that are written by hand, as RMS norm often is.

    Each multiplies what was just divided by a root, a norm or a deviation.
    """
    nodes = {node.index: node for node in graph.nodes}
    read: dict[int, list[int]] = {}
    for source, target in graph.edges.tolist():
        read.setdefault(target, []).append(source)

    def reads(index: int, operators: frozenset[str], further: int) -> bool:
        sources = read.get(index, ())
        if any(nodes[s].operator in operators for s in sources):
            return True
        sums = [s for s in sources if further and nodes[s].operator in ("add", "clamp")]
        return any(reads(s, operators, further - 1) for s in sums)

    def normalises(index: int) -> bool:
        return nodes[index].operator in ("div", "mul") and reads(index, _SPREADS, 1)

    return {
        node.parameters[0]
        for index, node in nodes.items()
        if node.operator == "mul" and len(node.parameters) == 1
        if any(normalises(source) for source in read.get(index, ()))
    }


def refuse_hidden_weights(model: nn.Module) -> None:
    """Refuse a model whose weights cannot be put in place of others.

    Raises:
        ScoreError: a module of it is compiled TorchScript, or quantised.
    """
    for path, module in model.named_modules():
        where = f"module {path!r}" if path else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise ScoreError(
                f"{where} is TorchScript, which hides its weights; score the eager module"
            )
        if hasattr(module, "_packed_params") or hasattr(module, "_weight_bias"):
            raise ScoreError(
                f"{where} ({type(module).__name__}) is quantised: its whole-number weights have no "
                "gradient; score the model before it is quantised"
            )


def refuse_replaced(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    """Refuse a model whose forward put new parameters in place of those that it had.

    No gradient reaches what is learnt then, and no pass can be told what the new ones are made of.

    Args:
        model: the model after a forward.
        before: its parameters by name before that.

    Raises:
        ScoreError: a forward replaced one.
    """
    for name, parameter in model.named_parameters():
        if before.get(name, parameter) is not parameter:
            raise ScoreError(
                f"the forward puts a new parameter in place of {name!r}, so that what was there is "
                "never learnt; compute a tensor from it instead"
            )


def representative(names: tuple[str, ...], weight: Tensor, parameters: dict[str, Tensor]) -> str:
    """Return the parameter that stands for a weight made of several.

    It is one of the weight's own shape if there is one, else the largest.
    """
    return max(names, key=lambda n: (parameters[n].shape == weight.shape, parameters[n].numel()))


def applied(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield the path of each module that applies weights, and a parameter of its operator."""
    for node in graph.nodes:
        if node.operator in LAYERS:
            for name in node.parameters:
                yield node.module, name


def multiplied_together(graph: Graph, parameters: dict[str, Tensor]) -> set[str]:
    """Return the matrices that meet in one operator: its weights, and maybe an input of it.

    Such an input is a query or a first state that is learnt.
    """
    found: set[str] = set()
    for node in graph.nodes:
        known = [name for name in node.parameters if name in parameters]
        matrices = [name for name in known if parameters[name].dim() > 1]
        foreign = any(name.rpartition(".")[0] != node.module for name in matrices)
        if len(matrices) > 1 and (foreign or node.operator == "linear"):
            found.update(matrices)
    return found


def spectral_weights(
    graph: Graph, parameters: dict[str, Tensor], operators: frozenset[str]
) -> set[str]:
    """Return the matrices that multiply spectra: convolutions, computed in Fourier space.

    Such a product is between a Fourier transform and its inverse, as in GFNet and Hyena. A filter
    may be a spectrum itself, or one that the network transforms.

    Args:
        graph: the network's.
        parameters: its, by name.
        operators: that multiply: those of ``FILTERING``, or also ``linear``, which mixes channels
            as in Fourier neural operators.
    """
    nodes = {node.index: node for node in graph.nodes}
    if not any(node.operator == "fourier" for node in nodes.values()):
        return set()
    read: dict[int, list[int]] = {index: [] for index in nodes}
    for source, target in graph.edges.tolist():
        read[target].append(source)
    in_spectrum: set[int] = set()
    for index in sorted(nodes):
        kind = _transform(nodes[index])
        follows = not in_spectrum.isdisjoint(read[index])
        if kind in _INTO or (follows and kind not in _BACK) or kind in _EITHER:
            in_spectrum.add(index)
    goes_back: set[int] = set()
    for index in sorted(nodes, reverse=True):
        kind = _transform(nodes[index])
        if kind in TRANSFORMS_BACK or (index in goes_back and kind not in _INTO):
            goes_back.update(read[index])
    multiplying = in_spectrum & goes_back
    found = {name for index in multiplying for name in _multiplied(nodes[index], operators)}
    constant = set(nodes) - _dependent(graph, nodes)
    waiting = [s for i in multiplying if nodes[i].operator in operators for s in read[i]]
    while waiting:  # what filters are made of, as the kernels of state spaces are
        source = waiting.pop()
        if source in constant:
            constant.remove(source)
            waiting.extend(read[source])
            layer = nodes[source].aten in ("aten.linear", "aten.convolution")
            found.update(() if layer else nodes[source].parameters)
    return {name for name in found if name in parameters and parameters[name].dim() > 1}


def _dependent(graph: Graph, nodes: dict[int, Node]) -> set[int]:
    """Return the nodes that depend on an input."""
    found = {index for index, node in nodes.items() if node.operator == "input"}
    for source, target in sorted(graph.edges.tolist(), key=lambda edge: edge[1]):
        if source in found:
            found.add(target)
    return found


def _multiplied(node: Node, operators: frozenset[str]) -> tuple[str, ...]:
    """Return the parameters by which a node multiplies."""
    if node.operator in operators:
        return node.parameters
    if node.aten.rpartition(".")[2].strip("_") == "addcmul":
        return node.parameters[-1:]  # of two, the first is added
    return ()


def _transform(node: Node) -> str:
    """Return the Fourier transform that a node is; nothing of any other."""
    return node.aten.rpartition(".")[2].strip("_") if node.operator == "fourier" else ""


def picked_weights(graph: Graph, parameters: dict[str, Tensor]) -> set[str]:
    """Return the stacks of matrices of which values pick those that multiply.

    Such are the weights of experts, of which each token gets a few.
    """
    nodes = {node.index: node for node in graph.nodes}
    edges = graph.edges.tolist()
    by_value = {target for _, target in edges if nodes[target].operator == "gather"}
    return {
        name
        for source, target in edges
        if source in by_value and nodes[target].operator in ("matmul", "linear")
        for name in nodes[source].parameters
        if name in parameters and parameters[name].dim() > 2
    }


def summed_weights(graph: Graph, parameters: dict[str, Tensor]) -> set[str]:
    """Return the matrices that multiply element by element, before the products are summed.

    Such a sum is a linear layer written by hand, as the attention vectors of graph networks are.
    """
    nodes = {node.index: node for node in graph.nodes}
    dependent, of_layers = _dependent(graph, nodes), {name for _, name in applied(graph)}
    found: set[str] = set()
    for source, target in graph.edges.tolist():
        product, total = nodes[source], nodes[target]
        if product.operator == "mul" and total.operator == "sum" and source in dependent:
            over = _summed(product.out_shape, total.out_shape)
            for name in set(product.parameters).intersection(parameters).difference(of_layers):
                shape = _spread(parameters[name].shape, product.out_shape)
                if parameters[name].dim() > 1 and over and all(shape[d] > 1 for d in over):
                    found.add(name)
    return found


def distance_weights(graph: Graph) -> set[str]:
    """Return the centres to which distances are written out: differences whose powers are summed.

    Each row meets all of several centres, so that there are more differences than numbers in it.
    """
    nodes = {node.index: node for node in graph.nodes}
    read: dict[int, list[int]] = {index: [] for index in nodes}
    readers: dict[int, list[int]] = {index: [] for index in nodes}
    for source, target in graph.edges.tolist():
        read[target].append(source)
        readers[source].append(target)

    def is_summed(index: int) -> bool:
        following = [nodes[r] for r in readers[index]]
        return any(
            node.operator in _SUMMING or (node.operator in _POWERS and is_summed(node.index))
            for node in following
        )

    return {
        node.parameters[0]
        for index, node in nodes.items()
        if node.operator == "sub" and len(node.parameters) == 1 and read[index]
        if all(prod(nodes[s].out_shape) < prod(node.out_shape) for s in read[index])
        if is_summed(index)
    }


def _spread(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with as many dimensions as the wanted one; of ones if it does not fit."""
    aligned = (1,) * (len(wanted) - len(shape)) + tuple(shape)
    pairs = zip(aligned, wanted, strict=False)
    fits = len(aligned) == len(wanted) and all(one in (1, size) for one, size in pairs)
    return aligned if fits else (1,) * len(wanted)


def _summed(shape: tuple[int, ...], total: tuple[int, ...]) -> list[int]:
    """Return the dimensions, one of which a sum may have been over."""
    return [
        d
        for d in range(len(shape))
        if total in (shape[:d] + shape[d + 1 :], (*shape[:d], 1, *shape[d + 1 :]))
    ]


class SpecialWeights(NamedTuple):
    """The names of weights that are no matrix of a layer.

    Attributes:
        filters: those that multiply spectra element by element, which are no sums over inputs.
        spectral: all that multiply spectra.
        picked: stacks, of which values pick some matrices.
        recurrent: those of recurrent layers, of which each has several.
        products: those that are written as products, which may be no linear layer.
        summed: those that multiply element by element, before the products are summed.
    """

    filters: frozenset[str] = frozenset()
    spectral: frozenset[str] = frozenset()
    picked: frozenset[str] = frozenset()
    recurrent: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    summed: frozenset[str] = frozenset()

    @property
    def certain(self) -> frozenset[str]:
        """Those that are weights wherever else they are used."""
        return self.filters | self.picked | self.summed

    @classmethod
    def of(cls, graph: Graph, model: nn.Module) -> SpecialWeights:
        """Return those of a model, by its graph."""
        parameters: dict[str, Tensor] = dict(model.named_parameters())
        filters = spectral_weights(graph, parameters, FILTERING)
        spectral = spectral_weights(graph, parameters, FILTERING | {"linear"})
        picked = picked_weights(graph, parameters)
        steps = (node.parameters for node in graph.nodes if node.operator in ("lstm", "gru", "rnn"))
        recurrent = {name for several in steps for name in several}
        by_hand = (n for n in graph.nodes if n.operator == "linear" and n.aten != "aten.linear")
        products = {name for node in by_hand for name in node.parameters}
        summed = summed_weights(graph, parameters)
        return cls(*map(frozenset, (filters, spectral, picked, recurrent, products, summed)))
