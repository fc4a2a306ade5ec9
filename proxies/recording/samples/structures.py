"""Nested structures of tensors: what users pass to a forward, and what it returns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ....graphs.inputs.tensors import attributes_in, tensors_in

Change = Callable[[Tensor], Any]
"""Returns what stands for a tensor: a tensor, or a list of its rows."""


def mapped(value: Any, change: Change) -> Any:
    """Return the same structure, of the same types, with each tensor changed.

    Named tuples, dataclasses, outputs of other packages and plain objects stay what they are, since
    a user's loss or forward reads them by their own names. Nothing is written to ``value``.

    Example:
        >>> from collections import namedtuple
        >>> import torch
        >>> pair = namedtuple("pair", "logits note")(torch.ones(2), "kept")
        >>> mapped(pair, lambda t: 2 * t)
        pair(logits=tensor([2., 2.]), note='kept')
    """
    return _mapped(value, change, {})


def _mapped(value: Any, change: Change, made: dict[int, Any]) -> Any:
    if id(value) in made:  # an object that holds itself, or a tensor that is there twice
        return made[id(value)]
    if isinstance(value, Tensor):
        made[id(value)] = change(value)
        return made[id(value)]
    if isinstance(value, nn.Module) or next(tensors_in(value), None) is None:
        return value
    if isinstance(value, tuple):
        items = [_mapped(item, change, made) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping) and not (isinstance(value, dict) or hasattr(value, "__copy__")):
        return {key: _mapped(item, change, made) for key, item in value.items()}
    result = made[id(value)] = copy.copy(value)
    if isinstance(value, Mapping):
        for key, item in value.items():
            result[key] = _mapped(item, change, made)
    elif isinstance(value, list):
        result[:] = [_mapped(item, change, made) for item in value]
    elif isinstance(value, (set, frozenset)):
        return type(value)(_mapped(item, change, made) for item in value)
    else:
        for name, item in attributes_in(value).items():
            object.__setattr__(result, name, _mapped(item, change, made))  # it may be frozen
    return result
