"""Functions of torch that apply weights, and where among their arguments the weights are."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function


def filtered(input: Tensor, weight: Tensor) -> Tensor:
    """Return what a filter of spectra made, which modes see as a layer's, its channels last."""
    if has_torch_function((input, weight)):
        seen: Tensor = handle_torch_function(filtered, (input, weight), input, weight)
        return seen
    return input


def filtered_maps(input: Tensor, weight: Tensor) -> Tensor:
    """Return what a filter of spectra made, which modes see as a layer's, its channels second."""
    if has_torch_function((input, weight)):
        seen: Tensor = handle_torch_function(filtered_maps, (input, weight), input, weight)
        return seen
    return input


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
        filtered,
        filtered_maps,
    )
)
"""Functions that apply a weight to what depends on the input."""

PRODUCTS = APPLYING - {F.bilinear, filtered, filtered_maps}
"""Functions that apply a weight to one input."""

RECURRENT = frozenset((torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu))
"""Functions that apply a list of weights, step by step."""

_CELLS = (torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)
POSITIONS: dict[Any, tuple[int, ...]] = {
    **dict.fromkeys((*PRODUCTS, filtered, filtered_maps), (1,)),
    F.bilinear: (2,),
    **dict.fromkeys(_CELLS, (2, 3)),
}
"""Functions that apply weights -> where among their arguments those are."""


def weight_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the weight that one of ``APPLYING`` was called with.

    Example:
        >>> x, weight = torch.ones(2, 3), torch.ones(4, 3, 3)
        >>> weight_of(F.bilinear, (x, x, weight), {}) is weight
        True
    """
    (place,) = POSITIONS[func]
    return args[place] if len(args) > place else kwargs["weight"]
