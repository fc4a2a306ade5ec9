"""Products with a weight, written as the linear layers that they are.

``x @ W``, ``addmm`` (the layers of GPT-2), ``bmm``, ``tensordot``, ``inner`` and ``einsum`` compute
what a linear layer does. Written as one they are scored as one. An ``einsum`` of a weight and two
inputs is a bilinear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from string import ascii_letters
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .applying import grouped_linear

MATMUL = frozenset(
    (torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__, torch.linalg.matmul)
) | {torch.bmm, Tensor.bmm}
"""Functions of torch that multiply matrices in the last dimensions."""

_PLUS_IN_PLACE = frozenset((Tensor.addmm_, Tensor.baddbmm_))
_PLUS = frozenset((torch.addmm, Tensor.addmm, torch.baddbmm, Tensor.baddbmm))
_CHAINS = frozenset((torch.einsum, torch.linalg.multi_dot, torch.chain_matmul))
GROUPED: frozenset[Any] = frozenset(
    getattr(home, name)
    for home, name in ((torch, "_grouped_mm"), (F, "grouped_mm"))
    if hasattr(home, name)  # this torch has it
)
"""Functions of torch that multiply groups of rows, each by a matrix of its own."""

PRODUCT_FUNCTIONS = MATMUL | {torch.einsum, torch.tensordot, torch.inner, Tensor.inner}
"""Functions of torch that multiply matrices, and add nothing."""

MULTIPLYING = PRODUCT_FUNCTIONS | _PLUS | _PLUS_IN_PLACE | _CHAINS
"""Functions of torch that multiply matrices."""

_KEYWORDS = ("input", "other", "mat2", "dims")


def in_steps(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[..., Any]
) -> Callable[[], Tensor] | None:
    """Return a product that is added to a tensor, as by ``addmm``, in two steps; None of others.

    Args:
        func: a function of torch.
        args, kwargs: its arguments.
        run: calls a function of torch with arguments.

    Example:
        >>> one, two = torch.ones(2, 2), torch.eye(2)
        >>> run = lambda func, *args, **kwargs: func(*args, **kwargs)
        >>> steps = in_steps(torch.addmm, (one, one, two), {"alpha": 0.5}, run)
        >>> steps().equal(1.5 * one)
        True
    """
    if func not in _PLUS | _PLUS_IN_PLACE or len(args) < 3 or kwargs.keys() - {"beta", "alpha"}:
        return None
    base, one, other = args[:3]
    beta, alpha = (kwargs.get(name, 1) for name in ("beta", "alpha"))
    in_place = func in _PLUS_IN_PLACE

    def steps() -> Tensor:
        product = run(torch.matmul, one, other)
        scaled = base
        if beta != 1:
            scaled = run(Tensor.mul_ if in_place else torch.mul, base, beta)
        summed: Tensor = run(Tensor.add_ if in_place else torch.add, scaled, product, alpha=alpha)
        return summed

    return steps


def in_chain(
    func: Any, args: tuple[Any, ...], run: Callable[..., Any], made: Callable[[Any], Any]
) -> Callable[[], Tensor] | None:
    """Return a product of an input and several weights one by one; None of others.

    Args:
        func: a function of torch, such as ``einsum`` or ``multi_dot``.
        args: its arguments.
        run: calls a function of torch with arguments.
        made: returns whether a tensor is a weight.

    Example:
        >>> x, a, b = torch.ones(2, 3), torch.ones(1, 3), torch.ones(4, 1)
        >>> chain = in_chain(torch.einsum, ("ni,ri,or->no", x, a, b),
        ...                  lambda func, *args: func(*args), lambda t: t is not x)
        >>> chain().equal(x @ a.T @ b.T)
        True
    """
    if func not in _CHAINS or not args:
        return None
    equation = func is torch.einsum and isinstance(args[0], str) and args[0]
    operands = args[1:] if equation else args
    if operands and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    inputs = [i for i, operand in enumerate(operands) if not made(operand)]
    if len(operands) < 3 or len(inputs) != 1 or (func is torch.einsum and not equation):
        return None
    if equation:
        read = _letters(equation, *operands)
        return None if read is None else lambda: _one_by_one(*read, operands, inputs[0], run)

    def products() -> Tensor:
        made: Tensor = operands[inputs[0]]
        for weight in operands[inputs[0] + 1 :]:
            made = run(torch.matmul, made, weight)
        for weight in reversed(operands[: inputs[0]]):
            made = run(torch.matmul, weight, made)
        return made

    return products


def _one_by_one(
    indices: list[str],
    made: str,
    operands: Sequence[Tensor],
    first: int,
    run: Callable[..., Any],
) -> Tensor:
    """Run a sum of products from an operand on, next always one that shares indices with it."""
    waiting = [i for i in range(len(operands)) if i != first]
    result, own = operands[first], indices[first]
    while waiting:
        following = max(waiting, key=lambda i: len({*own} & {*indices[i]}))
        waiting.remove(following)
        needed = {*made}.union(*(indices[i] for i in waiting))
        both = dict.fromkeys(own + indices[following])
        kept = made if not waiting else "".join(i for i in both if i in needed)
        equation = f"{own},{indices[following]}->{kept}"
        result, own = run(torch.einsum, equation, result, operands[following]), kept
    return result


@dataclass(frozen=True)
class LinearForm:
    """A linear layer, or a bilinear one.

    Attributes:
        source: of which the layer's weight is made.
        weight: returns the weight (outputs, inputs), or (outputs, inputs, other inputs), which is
            not a parameter itself.
        run: returns the result, given the weight or what stands for it, and a bias.
        outputs: in which dimension of the result the outputs lie; None if in several, or if the
            layer has a bias already.
        input: what the weight multiplies, None if dimensions are in another order, or of two.
        groups: of inputs, each of which has outputs of its own.
    """

    source: Tensor
    weight: Callable[[], Tensor]
    run: Callable[[Tensor, Tensor | None], Tensor]
    outputs: int | None
    input: Tensor | None
    groups: int = 1


def linear_form(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    weight_in: Callable[[Any], Tensor | None],
) -> LinearForm | None:
    """Return a product as a linear layer, None if it is none.

    Args:
        func: a function of torch.
        args, kwargs: its arguments.
        weight_in: returns an argument that is a weight, without copies of it; None of any other.

    Example:
        >>> x, w = torch.ones(2, 3), torch.ones(3, 5)
        >>> form = linear_form(torch.matmul, (x, w), {}, lambda value: w if value is w else None)
        >>> form.run(form.weight(), None).equal(x @ w)
        True
        >>> linear_form(torch.add, (x, x), {}, lambda value: w) is None
        True
    """
    given = {name: value for name, value in kwargs.items() if value is not None}
    if given.keys() - set(_KEYWORDS):
        return None
    factors = _summed(func, args)
    if len(factors) == 3:
        return _bilinear(args[0], factors, weight_in)
    args = (*args, *(given[name] for name in _KEYWORDS if name in given))
    bias = args[0] if func in _PLUS else None
    read = _read(func, args)
    if read is None:
        return None
    equation, *operands = read
    weights = [weight_in(operand) for operand in operands]
    if (weights[0] is None) == (weights[1] is None):
        return None
    swapped = weights[1] is None
    (of_x, of_w), made = equation[0][:: -1 if swapped else 1], equation[1]
    x, w = operands[swapped], weights[not swapped]
    assert w is not None
    return _contraction(x, w, of_x, of_w[-w.dim() :], made, bias)


Equation = tuple[tuple[str, str], str]
"""The indices of two operands, a letter each, and of what is made of them."""

_NONE: Equation = (("", ""), "")


def _read(func: Any, args: tuple[Any, ...]) -> tuple[Equation, Any, Any] | None:
    """Return a product of two tensors as an equation, and both."""
    if func is torch.einsum:
        operands = _summed(func, args)
        return (_einsum(args[0], *operands), *operands) if len(operands) == 2 else None
    if func in _PLUS:
        args = args[1:]
    if len(args) < 2 or not (isinstance(args[0], Tensor) and isinstance(args[1], Tensor)):
        return None
    one, other = args[:2]
    if func in MATMUL or func in _PLUS:
        return _matmul(one.dim(), other.dim()), one, other
    if func in (torch.inner, Tensor.inner):
        return _tensordot(one.dim(), other.dim(), ([-1], [-1])), one, other
    if func is torch.tensordot:
        return _tensordot(one.dim(), other.dim(), args[2] if len(args) > 2 else 2), one, other
    return None


def _summed(func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the operands of an ``einsum`` with an equation; none of anything else."""
    if func is not torch.einsum or not isinstance(args[0], str):
        return ()
    return tuple(args[1]) if isinstance(args[1], (list, tuple)) else args[1:]


def _matmul(one: int, other: int) -> Equation:
    """Return the equation of matrices in the last dimensions, those before them alike."""
    batch = ascii_letters[: max(one, other, 2) - 2]
    of_one = "I" if one == 1 else batch[len(batch) + 2 - one :] + "YI"
    of_other = "I" if other == 1 else batch[len(batch) + 2 - other :] + "IZ"
    return (of_one, of_other), batch + "Y" * (one > 1) + "Z" * (other > 1)


def _tensordot(one: int, other: int, dims: Any) -> Equation:
    if isinstance(dims, int):
        dims = (range(one - dims, one), range(dims))
    letters, of_other = ascii_letters[:one], [*ascii_letters[one : one + other]]
    for mine, its in zip(*dims, strict=True):
        of_other[its] = letters[mine]
    others = "".join(of_other)
    made = "".join(i for i in letters if i not in others)
    return (letters, others), made + "".join(i for i in others if i not in letters)


def _einsum(equation: str, *operands: Tensor) -> Equation:
    read = _letters(equation, *operands)
    return _NONE if read is None else ((read[0][0], read[0][1]), read[1])


def _letters(equation: str, *operands: Tensor) -> tuple[list[str], str] | None:
    """Return the indices of the operands and of the result, a letter for each dimension."""
    read, arrow, made = equation.replace(" ", "").partition("->")
    indices = read.split(",")
    if not arrow and "..." in read:
        return None
    if not arrow:
        both = "".join(indices)
        made = "".join(sorted(i for i in set(both) if both.count(i) == 1))
    unused = [i for i in ascii_letters if i not in read]
    counts = [
        tensor.dim() - len(one) + 3 if "..." in one else 0
        for one, tensor in zip(indices, operands, strict=True)
    ]
    dots = unused[: max(counts)]
    for i, count in enumerate(counts):  # the last of them are those of all
        indices[i] = indices[i].replace("...", "".join(dots[len(dots) - count :]))
    return indices, made.replace("...", "".join(dots))


def _contraction(
    x: Tensor, w: Tensor, of_x: str, of_w: str, made: str, bias: Tensor | None
) -> LinearForm | None:
    """Return a sum over indices that an input and a weight share.

    All others of the weight are new, but for those of groups, which are in both and in the result.
    """
    x, of_x = _without_copies(x, of_x, w, of_w)
    summed = [i for i in of_w if i in of_x and i not in made]
    groups = [i for i in of_w if i in of_x and i in made]
    new = [i for i in of_w if i not in of_x]
    rest = [i for i in of_x if i not in summed and i not in groups]
    order = [*rest, *groups, *new]
    if not (summed and new and len(summed) + len(groups) + len(new) == w.dim() == len(set(of_w))):
        return None
    if not (x.dim() == len(of_x) == len(set(of_x))) or sorted(made) != sorted(order):
        return None
    sizes = {i: w.shape[of_w.index(i)] for i in of_w}
    if any(x.shape[of_x.index(i)] != sizes[i] for i in groups):
        return None
    outputs = [sizes[i] for i in (*groups, *new)]
    number = prod(sizes[i] for i in groups)
    of_layer = bias is not None and order == [*made] and [*bias.shape] == outputs

    def weight() -> Tensor:
        matrix = w.permute([of_w.index(i) for i in (*groups, *new, *summed)])
        return matrix.reshape(-1, prod(sizes[i] for i in summed))

    def run(weight: Tensor, own: Tensor | None) -> Tensor:
        inputs = (*rest, *groups, *summed)
        last = x if inputs == tuple(of_x) else x.permute([of_x.index(i) for i in inputs])
        last = last.flatten(len(rest))
        if groups:
            result = grouped_linear(last, weight, number)
        else:
            result = F.linear(last, weight, bias if of_layer else own)
        if len(outputs) > 1:
            result = result.unflatten(-1, outputs)
        if order != [*made]:
            result = result.permute([order.index(i) for i in made])
        return result if bias is None or (of_layer and not groups) else result + bias

    place = made.index(new[0]) if bias is None and len(outputs) == 1 else None
    plain = place is not None and [*of_x] == [*rest, *summed] and order == [*made]
    return LinearForm(w, weight, run, place, x if plain else None, number)


def _without_copies(x: Tensor, of_x: str, w: Tensor, of_w: str) -> tuple[Tensor, str]:
    """Return an input without the dimensions of one element that a product repeats."""
    if x.dim() != len(of_x) or w.dim() != len(of_w):
        return x, of_x
    repeated = [
        d
        for d, i in enumerate(of_x)
        if x.shape[d] == 1 and i in of_w and w.shape[of_w.index(i)] > 1
    ]
    kept = "".join(i for d, i in enumerate(of_x) if d not in repeated)
    return (x.squeeze(repeated), kept) if repeated else (x, of_x)


def _bilinear(
    equation: str, operands: tuple[Tensor, ...], weight_in: Callable[[Any], Tensor | None]
) -> LinearForm | None:
    """Return a sum of two inputs times a weight, which has an index of each and a new one."""
    read = _letters(equation, *operands)
    inputs = [i for i, operand in enumerate(operands) if weight_in(operand) is None]
    if read is None or len(inputs) != 2:
        return None
    place = 3 - sum(inputs)
    w, of_w, made = operands[place], read[0][place], read[1]
    of_both = [read[0][i] for i in inputs]
    summed = [[i for i in of_w if i in one and i not in made] for one in of_both]
    new = [i for i in of_w if i in made and not any(i in one for one in of_both)]
    rest = [i for i in made if i not in new]
    order = [*new, *summed[0], *summed[1]]
    if [len(new), *map(len, summed)] != [1, 1, 1] or sorted(order) != sorted(of_w):
        return None
    orders = [[*rest, *one] for one in summed]
    if [*map(sorted, orders)] != [*map(sorted, of_both)]:
        return None
    one, other = (
        operands[i].permute([own.index(j) for j in after])
        for i, own, after in zip(inputs, of_both, orders, strict=True)
    )
    sizes = [w.shape[of_w.index(i)] for i in order]
    if one.shape[:-1] != other.shape[:-1] or [one.shape[-1], other.shape[-1]] != sizes[1:]:
        return None  # a size of one is repeated

    def run(weight: Tensor, bias: Tensor | None) -> Tensor:
        result = F.bilinear(one, other, weight, bias)
        return result.permute([[*rest, *new].index(i) for i in made])

    def weight() -> Tensor:
        return w.permute([of_w.index(i) for i in order])

    return LinearForm(w, weight, run, made.index(new[0]), None)
