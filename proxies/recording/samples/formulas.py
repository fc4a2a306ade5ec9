"""Functions of one number that a forward applies element by element, in several calls.

Activations written by hand, as ``x * (x > 0)`` or ``x * torch.sigmoid(x)``, are such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from ....graphs.arguments import mapped, nested_tensors

_BY_ELEMENT = frozenset(
    "add sub rsub mul div neg abs pow square sqrt rsqrt exp exp2 expm1 log log1p erf tanh sigmoid "
    "softplus sign sgn heaviside reciprocal gt ge lt le eq ne where masked_fill index_put "
    "_index_put_impl clamp clamp_min clamp_max maximum minimum fmax fmin relu leaky_relu elu gelu "
    "silu mish hardswish hardsigmoid hardtanh threshold logical_not logical_and logical_or "
    "bitwise_not bitwise_and bitwise_or _to_copy clone alias detach zeros_like ones_like full_like "
    "log_sigmoid_forward addcmul".split()
)
_MAY_FILL = frozenset("where maximum minimum fmax fmin".split())
_CUTTING = frozenset("clamp clamp_min clamp_max hardtanh threshold".split())
_EXTREMES = frozenset("amax amin max min".split())

_SORTS = frozenset("sort topk cummax cummin".split())
_POOLS = frozenset("max_pool2d_with_indices max_pool3d_with_indices".split())  # max_pool1d too
_DIMENSIONS = {"topk": 2}  # where the dimension is among the arguments, if not second

_STEP, _STEPS = 0.01, 600
_STEEPEST = 5.0


@dataclass(frozen=True)
class Formula:
    """What a tensor is of another one, its root, element by element.

    Attributes:
        root: the tensor that it is made of.
        version: of the root when it was read.
        function: the same function of any tensor.
        rectifies: whether a rectifier is among its calls.
        through: the number of the rectifier of whose result it is a function; 0 if of more.
        merges: whether its last call reads the root in two ways.
        cuts: whether its last call cuts off numbers.
        stacked: the dimension in which a result holds several functions of the root.
    """

    root: TensorWeakRef
    version: int
    function: Callable[[Tensor], Any]
    rectifies: bool = False
    through: int = 0
    merges: bool = False
    cuts: bool = False
    stacked: int | None = None

    @property
    def source(self) -> Tensor | None:
        """The root, as it was when it was read; None if it was overwritten."""
        found: Tensor | None = self.root()
        return found if found is not None and version_of(found) == self.version else None

    @cached_property
    def is_rectifier(self) -> bool:
        """Whether the function passes positive numbers and damps negative ones, without a jump.

        If its last call reads the root once, all negative ones must become zero. That is found by
        its values at numbers from -6 to 6.
        """
        like = self.source
        if like is None or not like.is_floating_point():
            return False
        x = torch.arange(-_STEPS, _STEPS + 1, dtype=torch.float64) * _STEP
        with _disable_current_modes(), torch.no_grad():
            try:
                y = self.function(x.to(like))
            except (RuntimeError, TypeError, ValueError, IndexError):  # it needs the root's shape
                return False
        shaped = isinstance(y, Tensor) and y.is_floating_point() and y.shape == x.shape
        if not shaped or (not self.merges and bool(y[:_STEPS].any())):
            return False
        return _rectifies(y.double().tolist())


def _rectifies(values: list[float]) -> bool:
    at = {t: values[_STEPS + round(t / _STEP)] for t in (-6, -3, 0, 0.5, 1, 2, 3, 6)}
    slope = abs(at[3]) / 3
    jumps = max(abs(b - a) for a, b in pairwise(values))
    return (
        abs(at[0]) < 1e-6 < slope
        and jumps < _STEEPEST * _STEP * slope
        and all(0.3 < abs(at[t]) / t / slope < 1.7 for t in (0.5, 1, 2))
        and 0.3 < abs(at[6]) / 6 / slope < 1.7
        and abs(at[-3]) < 0.75 * abs(at[3])
        and abs(at[-6]) < 0.5 * abs(at[6])
    )


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written to; 0 of those of inference mode."""
    return 0 if tensor.is_inference() else tensor._version


class Formulas:
    """The formulas of the tensors of one forward.

    Example:
        >>> aten, x, known = torch.ops.aten, torch.randn(3), Formulas()
        >>> gate = x.sigmoid()
        >>> known.see(gate, known.of_call(aten.sigmoid.default, (x,), {}))
        >>> found = known.of_call(aten.mul.Tensor, (x, gate), {})
        >>> found.merges, found.source is x, found.is_rectifier
        (True, True, True)
    """

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()

    def of_call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Formula | None:
        """Return the formula of what a call will make; None if it is no function of one tensor."""
        base = func.overloadpacket.__name__
        if base == "stack":
            return self._stack(*args, **kwargs)
        if base in ("unsqueeze", "cat", "select") or base in _SORTS:
            return self._of_stack(func, base, args, kwargs)
        if base in _EXTREMES and len(args) > 1 and not isinstance(args[1], Tensor):
            return self._extreme(func, args[0], args[1])
        if base in _POOLS or base.rstrip("_") == "masked_scatter":
            return self._by_values(func, base in _POOLS, args, kwargs)
        if base not in _BY_ELEMENT and base.rstrip("_") not in _BY_ELEMENT:
            return None
        operands = [*nested_tensors(args)]
        if not _are_plain(operands):
            return None
        size = max(t.numel() for t in operands)
        read = [t for t in operands if t.numel() == size > 1]
        if base.rstrip("_") in _MAY_FILL:
            read = [t for t in read if t in self._known or bool(t.any())]
        made = {id(t): self._formula(t) for t in read}
        functions = {key: one.function for key, one in made.items()}
        run = _repeated(func, args, kwargs, functions)
        joined = _joined([*made.values()], run)
        cuts = base.rstrip("_") in _CUTTING
        return joined and replace(joined, merges=len(made) > 1, cuts=cuts)

    def _stack(self, tensors: list[Tensor], dim: int = 0) -> Formula | None:
        """Return the formula of several functions of one tensor, as one tensor."""
        if not _are_plain(tensors):
            return None
        functions = [
            self._formula(t) if t in self._known or bool(t.any()) else None for t in tensors
        ]
        made = [one for one in functions if one is not None]

        def run(x: Tensor) -> Tensor:
            return torch.stack([x * 0 if one is None else one.function(x) for one in functions])

        joined = _joined(made, run)
        return joined and replace(joined, stacked=dim % (tensors[0].dim() + 1))

    def _of_stack(
        self, func: Any, base: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Formula | None:
        """Return the formula of what makes, joins, sorts or takes apart a stack of functions."""
        first, place = args[0], _DIMENSIONS.get(base, 1)
        if base == "unsqueeze":
            return self._stack([first], args[1])
        dim = kwargs.get("dim", args[place] if len(args) > place else -1 if base != "cat" else 0)
        if base == "cat":
            return self._joined_stacks(first, dim % first[0].dim())
        found: Formula | None = self._known.get(first)
        if found is None or found.stacked is None or dim % first.dim() != found.stacked:
            return None
        several = found.function
        if base == "select":
            taken = replace(found, function=lambda x: several(x)[args[2]], merges=True)
            return replace(taken, stacked=None)
        rest = [0 if i == place else a for i, a in enumerate(args) if i > 0]
        named = {name: 0 if name == "dim" else value for name, value in kwargs.items()}
        if len(args) <= place:
            named["dim"] = 0
        return replace(found, function=lambda x: func(several(x), *rest, **named)[0])

    def _joined_stacks(self, stacks: list[Tensor], dim: int) -> Formula | None:
        """Return the formula of stacks of functions of one tensor, one behind the other."""
        if not _are_plain(stacks):
            return None
        known = [self._known.get(stack) for stack in stacks]
        made = [one for one in known if one is not None and one.stacked == dim]
        zero = [s for s, one in zip(stacks, known, strict=True) if one not in made]
        if not made or any(s.shape[dim] != 1 or bool(s.any()) for s in zero):
            return None

        def run(x: Tensor) -> Tensor:
            return torch.cat([one.function(x) if one in made else x[None] * 0 for one in known])

        joined = _joined(made, run)
        return joined and replace(joined, stacked=dim)

    def _extreme(self, func: Any, stack: Tensor, dim: Any) -> Formula | None:
        """Return the formula of the largest or smallest of several functions of one tensor."""
        found: Formula | None = self._known.get(stack)
        dims = dim if isinstance(dim, (list, tuple)) else [dim]
        if found is None or [d % stack.dim() for d in dims] != [found.stacked]:
            return None
        several = found.function

        def run(x: Tensor) -> Any:
            made = func(several(x), 0 if isinstance(dim, int) else [0])
            return made[0] if isinstance(made, tuple) else made

        return replace(found, function=run, merges=True, stacked=None)

    def _by_values(
        self, func: Any, pools: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Formula | None:
        """Return the formula of a call by what it gives: it must be what that formula gives.

        The call takes the largest of a view of a stack, or puts numbers where a mask says.
        """
        if not _are_plain([*nested_tensors(args)]):
            return None
        read = args[1] if not pools else args[0] if args[0]._base is None else args[0]._base
        found: Formula | None = self._known.get(read)
        source = None if found is None else found.source
        if found is None or source is None or pools == (found.stacked is None):
            return None
        inner = found.function

        def largest(x: Tensor) -> Any:
            return inner(x).amax(0)

        def kept(x: Tensor) -> Any:
            return x * (inner(x) == inner(torch.ones_like(x)))

        function = largest if pools else kept
        with _disable_current_modes(), torch.no_grad():
            made = func(args[0].clone(), *args[1:], **kwargs)
            made = made[0] if pools else made
            alike = torch.equal(made.flatten(), function(source).flatten())
        return replace(found, function=function, merges=True, stacked=None) if alike else None

    def _formula(self, tensor: Tensor) -> Formula:
        found: Formula | None = self._known.get(tensor)
        if found is not None and found.source is not None and found.stacked is None:
            return found
        return Formula(TensorWeakRef(tensor), version_of(tensor), lambda x: x)

    def see(self, result: Any, formula: Formula | None) -> None:
        """See the result of a call, which is a root itself if it has no formula."""
        if isinstance(result, (tuple, list)) and formula is not None:
            result = result[0]  # what is sorted, and where it was
        if not isinstance(result, Tensor):
            return
        source = None if formula is None else formula.source
        shaped = source is not None and source.shape == result.shape
        if source is not result and (shaped or (formula and formula.stacked is not None)):
            self._known[result] = formula
        else:
            self._known.pop(result, None)


def _are_plain(operands: list[Tensor]) -> bool:
    """Return whether there are operands, all of them with values."""
    hidden = any(is_functorch_wrapped_tensor(t) or t.is_meta for t in operands)
    return bool(operands) and not hidden


def _joined(made: list[Formula], function: Callable[[Tensor], Any]) -> Formula | None:
    """Return a function of what are functions of one root; None if the roots differ."""
    sources = [one.source for one in made]
    if not sources or any(source is not sources[0] for source in sources):
        return None
    rectifies = any(one.rectifies for one in made)
    through = made[0].through if len({one.through for one in made}) == 1 else 0
    return Formula(made[0].root, made[0].version, function, rectifies, through)


def _repeated(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], functions: dict[int, Any]
) -> Callable[[Tensor], Any]:
    """Return the call as a function of what its operands are functions of."""
    in_place = func.overloadpacket.__name__.endswith("_")

    def number(tensor: Tensor) -> Tensor:
        """Return a constant, or the mean of one for each channel."""
        mean = tensor.detach().double().mean()
        return mean > 0.5 if tensor.dtype == torch.bool else mean.to(tensor.dtype)

    # Nothing here holds a tensor of the size of the root.
    constants = {
        id(t): t for t in nested_tensors((*args, *kwargs.values())) if id(t) not in functions
    }
    places = mapped(args, lambda v: _Place(id(v)) if isinstance(v, Tensor) else v)

    def run(x: Tensor) -> Any:
        def put(value: Any) -> Any:
            if not isinstance(value, _Place):
                return value
            if value.key in functions:
                made = functions[value.key](x)
                return made.clone() if in_place else made
            return number(constants[value.key])

        return func(*mapped(places, put), **kwargs)

    return run


@dataclass(frozen=True)
class _Place:
    """The place of a tensor among arguments."""

    key: int
