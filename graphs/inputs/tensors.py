"""What users give as inputs of a forward pass: shapes, tensors, arrays, and nested ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from .models import float_type

Inputs = Any
"""A shape without batch dimension, a tensor with one, or forward's tuple or dict of tensors."""


def is_shape(inputs: Inputs) -> bool:
    """Return whether ``inputs`` is a shape: a sequence of whole numbers."""
    return (
        isinstance(inputs, Sequence)
        and not isinstance(inputs, str)
        and len(inputs) > 0
        and all(isinstance(n, Integral) and not isinstance(n, bool) for n in inputs)
    )


def as_tensors(value: Any) -> Any:
    """Return a value with its arrays as tensors, and real numbers in torch's default precision.

    Example:
        >>> as_tensors({"x": np.zeros((2, 3))})["x"].dtype
        torch.float32
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        tensor = torch.as_tensor(value)
        return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
    if type(value) is dict:
        return {key: as_tensors(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(as_tensors(item) for item in value)
    return value


def is_list_of_tensors(value: Any) -> bool:
    """Return whether a value is a list of tensors, as detectors take images.

    Example:
        >>> is_list_of_tensors([torch.ones(2)]), is_list_of_tensors(torch.ones(2))
        (True, False)
    """
    return type(value) is list and value != [] and all(isinstance(one, Tensor) for one in value)


def check_inputs(inputs: Inputs) -> None:
    """Refuse what is no input of any forward pass; None stands for an input that is not given.

    Raises:
        InputError: it is neither a shape, nor a tensor of samples, nor a tuple or dict.
    """
    if is_shape(inputs):
        if min(inputs) < 1:
            raise InputError(f"inputs: shape {tuple(inputs)} has a size below 1")
    elif isinstance(inputs, Tensor):
        if inputs.dim() == 0 or inputs.shape[0] == 0:
            raise InputError(
                f"inputs: a tensor of shape {tuple(inputs.shape)} holds no sample; expected a "
                "batch dimension first"
            )
        if inputs.layout is not torch.strided:
            raise InputError(
                f"inputs: samples cannot be taken from a tensor of layout {inputs.layout}; pass "
                "inputs.to_dense(), or a dictionary of it if its rows go together, as edges do"
            )
    elif inputs is not None and (not _is_several(inputs) or _are_numbers(inputs)):
        raise _no_input(inputs)


def _no_input(inputs: Any) -> InputError:
    return InputError(
        f"inputs: got {inputs!r}, expected a shape without batch dimension such as (3, 32, 32), a "
        "tensor with one, or the tuple or dict of tensors that forward takes"
    )


def _is_several(inputs: Inputs) -> bool:
    listed = isinstance(inputs, Sequence) and not isinstance(inputs, str) and len(inputs) > 0
    return listed or isinstance(inputs, Mapping)


def _are_numbers(inputs: Inputs) -> bool:
    """Return whether they are numbers, of which some are not whole, as (3, 32.0, 32)."""
    return not isinstance(inputs, Mapping) and all(isinstance(n, Real) for n in inputs)


def arguments_of(model: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of one forward pass, of one sample where that is well defined.

    Raises:
        InputError: see ``check_inputs``; there must be an input.
    """
    check_inputs(inputs)
    if inputs is None:
        raise _no_input(inputs)
    if is_shape(inputs):
        return (torch.empty(1, *inputs, dtype=float_type(model), device="meta"),), {}
    if isinstance(inputs, Tensor):
        return (inputs[:1],), {}
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


def placed(value: Any, device: torch.device) -> Any:
    """Return the same arguments with a copy of every tensor on ``device``, to be written to."""

    def copied(tensor: Tensor) -> Tensor:
        if tensor.device == device:
            return tensor.clone()
        if tensor.is_meta:  # a shape, now wanted with values
            return torch.randn(tensor.shape, dtype=tensor.dtype).to(device)
        if device.type == "meta" and not tensor.is_sparse:
            return torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device
            )
        return tensor.to(device)

    return changed(value, copied)


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return the same arguments with every tensor of nested lists and mappings changed.

    Example:
        >>> changed({"x": [torch.ones(2), 3]}, lambda tensor: 2 * tensor)
        {'x': [tensor([2., 2.]), 3]}
    """
    if isinstance(value, Tensor):
        return change(value)
    if type(value) is dict:
        return {key: changed(item, change) for key, item in value.items()}
    if isinstance(value, MutableMapping):  # what packages return, and take again
        result = copy.copy(value)
        for key, item in value.items():
            result[key] = changed(item, change)
        return result
    if type(value) in (list, tuple):
        return type(value)(changed(item, change) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Return all tensors of nested sequences, mappings and plain objects, each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop(0)
        if item is None or isinstance(item, (str, bytes, int, float, complex, nn.Module)):
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, Mapping):
            waiting[:0] = list(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting[:0] = list(item)
        else:
            waiting[:0] = list(attributes_in(item).values())


def attributes_in(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, including those in slots.

    Example:
        >>> class Output:
        ...     __slots__ = ("logits",)
        >>> output = Output()
        >>> output.logits = 3
        >>> attributes_in(output), attributes_in(3)
        ({'logits': 3}, {})
    """
    found: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name != "__dict__":
                found[name] = getattr(value, name)
    return found
