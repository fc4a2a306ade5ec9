"""Layers that ONNX files hold in pieces, put together again.

Exporters write a linear layer as a product and a sum, SiLU as a sigmoid and a product, GELU (before
opset 20) as an error function among arithmetic, attention as two products around a softmax, and
group norm as an instance norm.
Traced as they stand they would not be the operators that the network was written with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isclose, sqrt

import torch.nn.functional as F
from torch import Tensor

from .layers import Attributes, Operator, linear

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """One node: an operator, what it reads and what it makes.

    Attributes:
        operator: its name in ONNX, or of what several became.
        name: of the node in the file.
        run: called with the attributes and the inputs.
        inputs, outputs: names of tensors; an input that is left out is "".
        attributes: by name.
    """

    operator: str
    name: str
    run: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes = field(default_factory=dict)


class Network:
    """Steps in order, and who makes and who reads each tensor."""

    def __init__(
        self, steps: Sequence[Step], learned: Mapping[str, Shape], scalars: Mapping[str, float]
    ):
        self.steps = list(steps)
        self.learned = learned
        self.scalars = scalars
        self.maker = {name: step for step in steps for name in step.outputs}
        self.readers: dict[str, list[Step]] = {}
        for step in steps:
            for name in step.inputs:
                self.readers.setdefault(name, []).append(step)

    def made_by(self, name: str, *operators: str) -> Step | None:
        """Return what makes a tensor, if it is one of these operators."""
        step = self.maker.get(name)
        return step if step is not None and step.operator in operators else None

    def only_reader(self, step: Step, *operators: str) -> Step | None:
        """Return the one that alone reads a step's result, if it is one of these operators."""
        readers = self.readers.get(step.outputs[0], [])
        if len(readers) == 1 and readers[0].operator in operators:
            return readers[0]
        return None

    def is_scalar(self, name: str, value: float) -> bool:
        """Return whether a tensor is this number."""
        return isclose(self.scalars.get(name, float("nan")), value, rel_tol=1e-4)


def whole_layers(
    steps: Sequence[Step],
    learned: Mapping[str, Shape],
    scalars: Mapping[str, float],
    outputs: Collection[str],
) -> list[Step]:
    """Return the steps with pieces put together, and without those that nothing reads.

    Args:
        steps: in order.
        learned: shapes of learned tensors.
        scalars: numbers by the names of their tensors.
        outputs: what the network gives.
    """
    found = list(steps)
    for pattern in _PATTERNS:
        network = Network(found, learned, scalars)
        for old, new in pattern(network):
            at = {step.outputs: place for place, step in enumerate(found)}
            if any(step.outputs not in at for step in old):
                continue  # a piece of what was put together before
            if any(name in outputs for step in old[:-1] for name in step.outputs):
                continue
            found[at[old[-1].outputs]] = new
            gone = {step.outputs for step in old[:-1]}
            found = [step for step in found if step.outputs not in gone]
    return _alive(found, outputs)


def _alive(steps: Sequence[Step], outputs: Collection[str]) -> list[Step]:
    """Return the steps that the outputs are made of."""
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(step)
    return kept[::-1]


Found = Iterator[tuple[Sequence[Step], Step]]
"""Pieces, the last of which makes the result, and what they become."""


def _linear(network: Network) -> Found:
    """Return a product with a learned matrix, and the sum with a learned vector, if one follows."""
    for product in network.steps:
        if product.operator != "MatMul" or len(network.learned.get(product.inputs[1], ())) != 2:
            continue
        total = network.only_reader(product, "Add")
        bias = [n for n in total.inputs if len(network.learned.get(n, ())) == 1] if total else []
        if total is not None and len(bias) == 1:
            inputs = (*product.inputs, *bias)
            yield (product, total), _became("Linear", total, linear, inputs)
        else:
            yield (product,), _became("Linear", product, linear, product.inputs)


def _silu(network: Network) -> Found:
    """Match x sigmoid(x)."""
    for gate in network.steps:
        if gate.operator != "Sigmoid":
            continue
        product = network.only_reader(gate, "Mul")
        if product is not None and gate.inputs[0] in product.inputs:
            yield (gate, product), _became("Swish", product, _of_one(F.silu), gate.inputs)


def _gelu(network: Network) -> Found:
    """Match 0.5 x (1 + erf(x / sqrt(2))), its half at the front or at the end."""
    for error in network.steps:
        if error.operator != "Erf":
            continue
        scaled = network.made_by(error.inputs[0], "Div", "Mul")
        total = network.only_reader(error, "Add")
        if scaled is None or total is None:
            continue
        by = sqrt(2) if scaled.operator == "Div" else sqrt(0.5)
        product = network.only_reader(total, "Mul")
        if product is None or not network.is_scalar(scaled.inputs[1], by):
            continue
        x = scaled.inputs[0]
        (other,) = [name for name in product.inputs if name != total.outputs[0]] or [""]
        first = network.made_by(other, "Mul")
        last = network.only_reader(product, "Mul")
        if first is not None and x in first.inputs and _halves(network, first):
            pieces: tuple[Step, ...] = (scaled, error, total, first, product)
        elif other == x and last is not None and _halves(network, last):
            pieces = (scaled, error, total, product, last)
        else:
            continue
        yield pieces, _became("Gelu", pieces[-1], _of_one(F.gelu), (x,))


def _halves(network: Network, step: Step) -> bool:
    return any(network.is_scalar(name, 0.5) for name in step.inputs)


def _attention(network: Network) -> Found:
    """Match softmax(a Q (b K)^T + mask) V, as exporters write torch's attention."""
    for share in network.steps:
        if share.operator != "Softmax":
            continue
        value = network.only_reader(share, "MatMul")
        masked = network.made_by(share.inputs[0], "Add")
        product = network.made_by(share.inputs[0], "MatMul")
        mask: tuple[str, ...] = ()
        if masked is not None:
            product = network.made_by(masked.inputs[0], "MatMul")
            mask = masked.inputs[1:]
        if value is None or product is None or value.inputs[0] != share.outputs[0]:
            continue
        query, key = (network.made_by(name, "Mul") for name in product.inputs)
        if query is None or key is None:
            continue
        inputs = (query.inputs[0], key.inputs[0], value.inputs[1], query.inputs[1], key.inputs[1])
        pieces = [query, key, product, *([masked] if masked else []), share, value]
        yield list(dict.fromkeys(pieces)), _became("Attention", value, _attend, (*inputs, *mask))


def _attend(
    of: Attributes,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    by: Tensor,
    times: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    scale = float(by) * float(times)
    return F.scaled_dot_product_attention(query, key.mT, value, mask, scale=scale)


def _group_norm(network: Network) -> Found:
    """Match an instance norm of groups as channels, and what each channel is scaled and shifted
    by."""
    for norm in network.steps:
        if norm.operator != "InstanceNormalization":
            continue
        before = network.made_by(norm.inputs[0], "Reshape")
        after = network.only_reader(norm, "Reshape")
        scaled = after and network.only_reader(after, "Mul")
        shifted = scaled and network.only_reader(scaled, "Add")
        if before is None or after is None or scaled is None or shifted is None:
            continue
        weight = [name for name in scaled.inputs if name in network.learned]
        bias = [name for name in shifted.inputs if name in network.learned]
        if len(weight) == len(bias) == 1:
            inputs = (before.inputs[0], before.inputs[1], *weight, *bias)
            new = _became("GroupNormalization", shifted, _normalised, inputs)
            yield (before, norm, after, scaled, shifted), replace(new, attributes=norm.attributes)


def _normalised(of: Attributes, x: Tensor, shape: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    groups = int(shape[1])  # of (batch, groups, the rest)
    return F.group_norm(x, groups, weight.reshape(-1), bias.reshape(-1), of.get("epsilon", 1e-5))


def _of_one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda of, x: function(x)


def _became(operator: str, last: Step, run: Operator, inputs: Sequence[str]) -> Step:
    return Step(operator, last.name, run, tuple(inputs), last.outputs)


_PATTERNS: tuple[Callable[[Network], Found], ...] = (
    _linear,
    _silu,
    _gelu,
    _attention,
    _group_norm,
)
