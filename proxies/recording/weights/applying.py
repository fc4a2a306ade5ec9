"""Functions of torch that apply weights, and where among their arguments the weights are."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function


def _seen(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that modes see, as they see those of torch."""

    @wraps(function)
    def seen(input: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        if has_torch_function((input, weight)):
            result: Tensor = handle_torch_function(seen, (input, weight), input, weight, *rest)
            return result
        return function(input, weight, *rest)

    return seen


@_seen
def filtered(input: Tensor, weight: Tensor, *others: Tensor) -> Tensor:
    """Return what filters of spectra made, one beside others, its channels last."""
    return input


@_seen
def filtered_maps(input: Tensor, weight: Tensor, *others: Tensor) -> Tensor:
    """Return what filters of spectra made, one beside others, its channels second."""
    return input


@_seen
def grouped_linear(input: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return a linear layer (..., G I) -> (..., G O) of groups, whose weights are (G O, I).

    Example:
        >>> x, weight = torch.randn(2, 7, 6), torch.randn(8, 3)
        >>> convolved = F.conv1d(x.transpose(1, 2), weight[:, :, None], groups=2)
        >>> torch.allclose(grouped_linear(x, weight, 2), convolved.transpose(1, 2), atol=1e-5)
        True
    """
    apart, weights = input.unflatten(-1, (groups, -1)), weight.unflatten(0, (groups, -1))
    return torch.einsum("...gi,goi->...go", apart, weights).flatten(-2)


SEEN = (filtered, filtered_maps)
"""Functions that return an output as it is, for modes to see it."""

_OWN = (*SEEN, grouped_linear)
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
        *_OWN,
    )
)
"""Functions that apply a weight to what depends on the input."""

PRODUCTS = APPLYING - {F.bilinear, *_OWN}
"""Functions that apply a weight to one input."""

RECURRENT = frozenset((torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu))
"""Functions that apply a list of weights, step by step."""

CELLS = (torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)
"""Functions that apply two weights, to one step."""

POSITIONS: dict[Any, tuple[int, ...]] = {
    **dict.fromkeys((*PRODUCTS, *_OWN), (1,)),
    F.bilinear: (2,),
    **dict.fromkeys(CELLS, (2, 3)),
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


def others_of(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the weights that one of ``APPLYING`` applied beside that of ``weight_of``."""
    return args[2:] if func in SEEN else ()
