"""What may be wrong with inputs that a forward pass fails on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .tensors import is_shape

_CHANNELS = (1, 3, 4)
"""How many channels images have, as opposed to sides."""


def hint_about(inputs: Any) -> str:
    """Suggest what may be wrong with an input that a forward pass fails on; empty if unknown.

    Example:
        >>> hint_about((64, 3, 32, 32))
        ' A shape has no batch dimension: did you mean (3, 32, 32)?'
        >>> hint_about(torch.zeros(2, 32, 32, 3))
        ' Channels come last here: did you mean inputs.permute(0, 3, 1, 2)?'
    """
    if isinstance(inputs, Tensor):
        shape = tuple(inputs.shape[1:])
        if _channels_last(shape):
            return " Channels come last here: did you mean inputs.permute(0, 3, 1, 2)?"
        if inputs.dim() == 3 and inputs.shape[0] in _CHANNELS:
            return " The first dimension is the batch: did you mean inputs[None], one image?"
        if inputs.dtype == torch.uint8:
            return " They are whole numbers up to 255: did you mean inputs.float() / 255?"
        return ""
    if not is_shape(inputs):
        return ""
    shape = tuple(inputs)
    if len(shape) == 4:
        return f" A shape has no batch dimension: did you mean {shape[1:]}?"
    if _channels_last(shape):
        return f" Channels come last here: did you mean {(shape[2], *shape[:2])}?"
    return ""


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in _CHANNELS and shape[0] not in _CHANNELS
