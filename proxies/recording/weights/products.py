"""Products with a matrix, written as the linear layers that they are.

``x @ W``, ``addmm`` (the layers of GPT-2) and ``einsum`` compute what a linear layer does. Written
as one they are scored as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_MATMUL = frozenset(
    (torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__, torch.linalg.matmul)
)
_ADDMM = frozenset((torch.addmm, Tensor.addmm))


@dataclass(frozen=True)
class LinearForm:
    """A linear layer.

    Attributes:
        matrix: of which the layer's weight is made.
        weight: returns the weight (outputs, inputs), which is no parameter itself.
        run: returns the result, given the weight or what stands for it.
    """

    matrix: Tensor
    weight: Callable[[], Tensor]
    run: Callable[[Tensor], Tensor]


def linear_form(
    func: Any, args: tuple[Any, ...], is_weight: Callable[[Any], bool]
) -> LinearForm | None:
    """Return a product as a linear layer, None if it is none.

    Args:
        func: a function of torch.
        args: its arguments.
        is_weight: whether an argument is a matrix of weights.

    Example:
        >>> x, w = torch.ones(2, 3), torch.ones(3, 5)
        >>> form = linear_form(torch.matmul, (x, w), lambda value: value is w)
        >>> form.run(form.weight()).equal(x @ w)
        True
        >>> linear_form(torch.add, (x, x), lambda value: True) is None
        True
    """
    if func in _MATMUL and len(args) == 2 and is_weight(args[1]) and not is_weight(args[0]):
        x, w = args
        return LinearForm(w, lambda: w.mT, lambda weight: F.linear(x, weight))
    if func in _ADDMM and len(args) == 3 and is_weight(args[2]) and not is_weight(args[1]):
        bias, x, w = args
        if bias.dim() == 1:
            return LinearForm(w, lambda: w.mT, lambda weight: F.linear(x, weight, bias))
    if func is torch.einsum and isinstance(args[0], str):
        operands = args[1:] if len(args) == 3 else args[1]
        if len(operands) == 2 and is_weight(operands[0]) != is_weight(operands[1]):
            return _einsum(args[0], operands[0], operands[1], is_weight(operands[0]))
    return None


def _einsum(equation: str, one: Tensor, other: Tensor, first: bool) -> LinearForm | None:
    """Return a sum over one index of an input and a matrix."""
    read, arrow, made = equation.replace(" ", "").partition("->")
    indices, x, w = read.split(","), (other if first else one), (one if first else other)
    if not arrow or len(indices) != 2:
        return None
    of_w, of_x = indices if first else indices[::-1]
    if "..." in of_x:
        dots = ascii_uppercase[: x.dim() - len(of_x) + 3]
        of_x, made = of_x.replace("...", dots), made.replace("...", dots)
    summed, new = (set(of_w) & set(of_x), set(of_w) & set(made))
    if len(of_w) != 2 or len(summed) != 1 or len(new) != 1 or summed == new:
        return None
    (inputs,), (outputs,) = summed, new
    order = of_x.replace(inputs, "") + outputs
    if len(set(of_x)) != x.dim() or len(made) != len(order) or set(made) != set(order):
        return None

    def run(weight: Tensor) -> Tensor:
        last = of_x.index(inputs)
        result = F.linear(x if last == x.dim() - 1 else x.movedim(last, -1), weight)
        return result if made == order else result.permute([order.index(i) for i in made])

    return LinearForm(w, lambda: w.view_as(w) if of_w[0] == outputs else w.mT, run)
