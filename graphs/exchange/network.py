"""An ONNX file as a torch module that is traced, scored and ranked like any other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import InputError, MissingExtraError, UnsupportedModelError
from .functions import FUNCTIONS, dtype_of, tensor_of
from .layers import LAYERS, Operator
from .patterns import Step, whole_layers

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_OPERATORS: Mapping[str, Operator] = {**LAYERS, **FUNCTIONS}
_LEARNED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "BatchNormalization"), (1, 2)),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization", "GroupNormalization"), (1, 2)),
    **dict.fromkeys(("PRelu", "RMSNormalization"), (1,)),
    **dict.fromkeys(("LSTM", "GRU"), (1, 2, 3)),
    **dict.fromkeys(("MatMul", "Add", "Sub", "Mul", "Div"), (0, 1)),
    **dict.fromkeys(("Gather", "Expand", "Tile"), (0,)),
    "Concat": tuple(range(64)),
}
"""Which inputs of an operator are learned, where the file holds them."""
_MOVED = frozenset("Gather Expand Tile Concat".split())
"""Operators that take constants, too, which torch calls ``val_`` and a number."""


class OnnxNetwork(nn.Module):
    """The network of an ONNX file.

    Parameters have the names and values of the file.

    Notes:
        A file does not say which of its tensors were learned. Initialisers of more than one element
        count as learned if they are weights, biases, embeddings, or operands of sums, products and
        concatenations (our choice). Statistics of batch norms and constants do not count.

    Args:
        model: the model that ``onnx.load`` returns.
        folder: the folder of the files in which the model keeps tensors outside itself. If such a
            file is missing, its weights are on the meta device; they have shapes only, which is
            enough for tracing.

    Raises:
        UnsupportedModelError: an operator has no counterpart here.
    """

    def __init__(self, model: ModelProto, folder: Path):
        super().__init__()
        graph = model.graph
        tensors = {one.name: _values(one, folder) for one in graph.initializer}
        steps, constants = [], set()
        versions = {one.domain: one.version for one in model.opset_import}
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                tensors[node.output[0]] = _constant(node, folder)
                constants.add(node.output[0])
            elif node.op_type == "Identity" and node.input[0] in tensors:
                # Exporters write equal weights once; where they are untrained, many are equal.
                tensors[node.output[0]] = tensors[node.input[0]].clone()
            else:
                steps.append(_step(node, versions.get("", 1)))
        self.given = [one.name for one in graph.input if one.name not in tensors]
        self.results = [one.name for one in graph.output]
        learned = _learned(steps, tensors) - constants
        scalars = {n: float(t) for n, t in tensors.items() if t.numel() == 1 and not t.is_meta}
        shapes = {name: tuple(tensors[name].shape) for name in learned}
        self.steps = whole_layers(steps, shapes, scalars, self.results)
        self._constants: dict[str, Tensor] = {}  # whole numbers: shapes, axes, places
        self._places: dict[str, str] = {}
        for name in dict.fromkeys(name for step in self.steps for name in step.inputs):
            if name in tensors:
                self._keep(name, tensors[name], name in learned)
        self._last = {name: at for at, step in enumerate(self.steps) for name in step.inputs}

    def _keep(self, name: str, tensor: Tensor, learned: bool) -> None:
        if not learned and (not tensor.is_floating_point() or not tensor.dim()):
            self._constants[name] = tensor
            return
        place = re.sub(r"\W", "_", name)
        while hasattr(self, place):
            place += "_"
        self._places[name] = place
        if learned:
            self.register_parameter(place, nn.Parameter(tensor))
        else:
            self.register_buffer(place, tensor)

    def forward(self, *inputs: Tensor) -> Any:
        """Return the output of the file, or a tuple of several."""
        if len(inputs) != len(self.given):
            raise InputError(
                f"inputs: got {len(inputs)}, expected {len(self.given)}: {', '.join(self.given)}"
            )
        known: dict[str, Any] = {"": None, **self._constants}
        known |= {name: getattr(self, place) for name, place in self._places.items()}
        known |= dict(zip(self.given, inputs, strict=True))
        for at, step in enumerate(self.steps):
            made = _run(step, [known[name] for name in step.inputs])
            known |= zip(step.outputs, made, strict=False)
            for name in step.inputs:  # what nothing reads any more
                if name and self._last[name] == at and name not in self.results:
                    known.pop(name, None)
        results = tuple(known[name] for name in self.results)
        return results[0] if len(results) == 1 else results


def load_onnx(path: Path) -> tuple[OnnxNetwork, Any]:
    """Return the network of an ONNX file, and its declared input in the form that ``trace`` takes.

    Raises:
        InputError: the file does not exist or is not an ONNX file.
        MissingExtraError: onnx is not installed.
        UnsupportedModelError: an operator has no counterpart here.
    """
    try:
        import onnx
        from onnx import inliner
    except ImportError as error:
        raise MissingExtraError("reading ONNX files", "onnx", "onnx", error) from error
    if not path.is_file():
        raise InputError(f"candidates: there is no file {str(path)!r}; check the path")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever a file of something else makes onnx raise
        raise InputError(
            f"candidates: {str(path)!r} is no ONNX file that onnx reads "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        ) from error
    if not model.graph.node or not model.opset_import:
        raise InputError(f"candidates: {str(path)!r} holds no network of ONNX")
    if model.functions:
        model = inliner.inline_local_functions(model)
    network = OnnxNetwork(model, path.parent)
    return network.eval(), _example(model.graph, network.given)


def _example(graph: GraphProto, names: Sequence[str]) -> Any:
    """Return a shape without batch dimension, or tensors where that says too little.

    Sizes that a file leaves open are 1.
    """
    tensors = []
    for one in graph.input:
        if one.name in names:
            kind = one.type.tensor_type
            sizes = [dim.dim_value or 1 for dim in kind.shape.dim]
            tensors.append(torch.zeros(sizes, dtype=dtype_of(kind.elem_type)))
    if len(tensors) == 1 and tensors[0].is_floating_point() and tensors[0].dim() > 1:
        return tuple(tensors[0].shape[1:])
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _step(node: NodeProto, version: int) -> Step:
    from onnx import helper

    if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
        home = f"{node.domain}." if node.domain else ""
        raise UnsupportedModelError(
            f"the ONNX operator {home}{node.op_type} (node {node.name or node.output[0]!r}) has no "
            "counterpart here; export the network again without it, or trace it in torch"
        )
    attributes = {one.name: _plain(helper.get_attribute_value(one)) for one in node.attribute}
    attributes |= {"version": version, "outputs": len(node.output)}
    run = _OPERATORS[node.op_type]
    return Step(node.op_type, node.name, run, (*node.input,), (*node.output,), attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return _values(value) if hasattr(value, "data_type") else value


def _constant(node: NodeProto, folder: Path) -> Tensor:
    from onnx import helper

    (one,) = node.attribute
    value = helper.get_attribute_value(one)
    if one.name == "value":
        return _values(value, folder)
    if one.name in ("value_float", "value_floats", "value_int", "value_ints"):
        return torch.tensor(value)
    raise UnsupportedModelError(f"Constant {node.name!r}: {one.name} is not read")


def _values(tensor: TensorProto, folder: Path = Path()) -> Tensor:
    """Return a tensor of a file; without values where these lie in a file that is not there."""
    from onnx import external_data_helper, numpy_helper

    if external_data_helper.uses_external_data(tensor):
        place = external_data_helper.ExternalDataInfo(tensor).location
        if not (folder / place).is_file():
            return torch.empty(*tensor.dims, dtype=dtype_of(tensor.data_type), device="meta")
    return tensor_of(numpy_helper.to_array(tensor, str(folder)))


def _learned(steps: Iterable[Step], tensors: Mapping[str, Tensor]) -> set[str]:
    """Return the names of tensors that were learned."""
    found = set()
    for step in steps:
        for place in _LEARNED.get(step.operator, ()):
            name = step.inputs[place] if place < len(step.inputs) else ""
            tensor = tensors.get(name)
            is_weight = tensor is not None and tensor.is_floating_point() and tensor.numel() > 1
            if is_weight and not (step.operator in _MOVED and re.match(r"val_\d+$", name)):
                found.add(name)
    return found


def _run(step: Step, inputs: Sequence[Any]) -> Sequence[Any]:
    """Return what a step makes.

    Raises:
        UnsupportedModelError: its operator cannot be run on what it gets.
    """
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    try:
        made = step.run(step.attributes, *inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsupportedModelError(
            f"{step.operator} (node {step.name or step.outputs[0]!r} of the ONNX file): {said}; a "
            "file that was exported for one size of batch runs on no other: export it with "
            "dynamic_shapes"
        ) from error
    return made if isinstance(made, (tuple, list)) else (made,)
