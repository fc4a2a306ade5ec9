"""Numbers that cancel out but for rounding: they are zero, in whatever order they are summed.

A norm takes the mean out of what it normalises. So the mean of its output is its bias, and the
gradient that it passes on is zero if what it gets is the same everywhere: the case of an average
behind batch norm of a single sample. Computed, both are some rounding of the terms, of random sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any
from weakref import ref as Reference

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

_ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-11}  # in the largest term; it adds up
_MOST_GAIN = 300  # of a norm that divides by the root of 1e-5 instead of a deviation
_LOOKS = 2  # at how many places of a dimension a first look is taken

_POOLS: dict[Any, int] = {
    F.avg_pool1d: 1,
    F.avg_pool2d: 2,
    F.avg_pool3d: 3,
    F.adaptive_avg_pool1d: 1,
    F.adaptive_avg_pool2d: 2,
    F.adaptive_avg_pool3d: 3,
}
_MEANS = frozenset((torch.mean, Tensor.mean, *_POOLS))
_SUMS = frozenset((torch.sum, Tensor.sum))
_CENTRES = frozenset((torch.mean, Tensor.mean, torch.var_mean, torch.std_mean))
_MINUS = frozenset((torch.sub, torch.subtract, Tensor.sub, Tensor.subtract, Tensor.__sub__))
_BY_CHANNEL = frozenset((F.batch_norm, F.instance_norm, F.group_norm))
_SOFTMAX = frozenset((F.softmax, torch.softmax, Tensor.softmax))


class Cancellation(TorchFunctionMode):
    """A mode in which zero is what would be zero if numbers were exact.

    These are means and sums of numbers that cancel out, and the gradients that norms and softmax
    pass on. What is less than 1e-5 of its terms, 1e-11 in double precision, is taken for rounding.
    Where only a part of a gradient is so small, the limit is what rounding of so many terms makes:
    behind few places, a norm's small constant in its denominator leaves as little.
    """

    def __init__(self) -> None:
        super().__init__()
        self._means: dict[
            int, tuple[Reference[Tensor], Reference[Tensor]]
        ] = {}  # of what each mean is one

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _BY_CHANNEL or func is F.layer_norm or func in _SOFTMAX:
            return _watched(func, args, kwargs)
        result = func(*args, **kwargs)
        if func in _MINUS and len(args) == 2 and self._is_mean(args[1], args[0]):
            _watch_centring(args[0], args[1], result)
        elif func in _CENTRES and args:
            mean = result[1] if isinstance(result, tuple) else result
            self._means[id(mean)] = Reference(mean), Reference(args[0])
        if func in _MEANS or func in _SUMS:
            source, rest, named = _input_of(args, kwargs)
            _cancel(lambda terms: func(terms, *rest, **named), func, source, result)
        elif func is torch.einsum and len(args) == 2:  # a sum, if it has one operand
            _cancel(lambda terms: func(args[0], terms), func, args[1], result)
        return result

    def _is_mean(self, mean: Any, source: Any) -> bool:
        known = self._means.get(id(mean))
        return known is not None and known[0]() is mean and known[1]() is source


def _cancel(again: Callable[[Tensor], Tensor], func: Any, source: Any, result: Any) -> None:
    """Set means or sums of terms to zero, in place, where they are rounding of what they sum.

    Args:
        again: computes them of other terms.
        func: the function of torch that did.
        source: the terms.
        result: of it.
    """
    if not _is_real(source) or not _is_real(result) or result.numel() in (0, source.numel()):
        return
    if func in _POOLS and result.shape[-_POOLS[func] :].numel() > 1:
        return  # few numbers, which may come near zero by chance
    terms = 1.0 if func in _MEANS else source.numel() / result.numel()
    with torch.no_grad(), torch._C.DisableTorchFunction(), _disable_current_modes():
        most = _ROUNDING[result.dtype] * terms * torch.linalg.vector_norm(source, inf)
        if bool(result.abs().min() < most):
            alone = result.abs() < _ROUNDING[result.dtype] * again(source.abs())
            # neither a mean nor a sum needs its result for its backward
            result.data.masked_fill_(alone, 0)


def _watched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a norm or softmax; let its backward pass on no rounding."""
    source, args, kwargs = _input_of(args, kwargs)
    if not (_is_real(source) and source.requires_grad and torch.is_grad_enabled()):
        return func(source, *args, **kwargs)
    alias = source.view_as(source)  # of which the gradient is that of this function alone
    result = func(alias, *args, **kwargs)
    with torch.no_grad(), torch._C.DisableTorchFunction(), _disable_current_modes():
        passed = _passed(func, alias, result, args, kwargs)
    if passed is not None and result.requires_grad:
        result.register_hook(passed.arrive)
        alias.register_hook(passed.without_rounding)
    return result


def _watch_centring(source: Tensor, mean: Tensor, result: Tensor) -> None:
    """Let numbers without their mean pass on no rounding, as a norm written by hand has them."""
    if not (_is_real(result) and result.requires_grad and mean.dim() == source.dim()):
        return
    dims = tuple(d for d, size in enumerate(mean.shape) if size < source.shape[d])
    if dims and source.requires_grad:
        passed = _Passed(dims, source.new_ones((1,) * source.dim()))
        result.register_hook(passed.arrive)
        source.register_hook(passed.without_rounding)


@dataclass
class _Passed:
    """What a function passes on of a gradient: less than ``gain`` times it, but for cancellation.

    Attributes:
        dims: within which terms cancel out.
        gain: what multiplies the largest of the gradient within them.
        scale: of the function's outputs, by which their gradient is multiplied first.
    """

    dims: tuple[int, ...]
    gain: Tensor
    scale: Tensor | None = None
    _arrived: Tensor | None = None

    def arrive(self, gradient: Tensor) -> None:
        """See the gradient of the output."""
        self._arrived = gradient.detach()

    def without_rounding(self, gradient: Tensor) -> Tensor | None:
        """Return the gradient of the input without what is rounding; None if nothing is."""
        arrived, self._arrived = self._arrived, None
        if arrived is None:
            return None
        with torch.no_grad(), torch._C.DisableTorchFunction(), _disable_current_modes():
            if not bool((self._shares(gradient, arrived, True) < _ROUNDING[gradient.dtype]).any()):
                return None
            alone = self._alone(self._shares(gradient, arrived, False), gradient)
            rounding = torch.where(alone, gradient, 0)
        return gradient - rounding

    def _alone(self, shares: Tensor, gradient: Tensor) -> Tensor:
        """Return where shares are rounding: all if all are small, else those that must be."""
        limit = _ROUNDING[gradient.dtype]
        if not bool(((shares < limit) | shares.isnan()).all()):  # NaN: of nothing
            terms = _count(gradient, self.dims)
            limit = min(limit, 4 * torch.finfo(gradient.dtype).eps * math.sqrt(terms))
        return shares < limit

    def _shares(self, gradient: Tensor, arrived: Tensor, looking: bool) -> Tensor:
        """Return the gradient relative to what would pass without cancellation.

        Args:
            gradient: of the input.
            arrived: that of the output.
            looking: whether to look at some places only, instead of all.
        """
        scale, gain = self.scale, self.gain
        if looking:
            gradient, arrived = (_look(t, self.dims) for t in (gradient, arrived))
            scale = None if scale is None else _look(scale, self.dims)
            gain = _look(gain, self.dims)
        arrived = arrived if scale is None else arrived * scale
        largest = torch.linalg.vector_norm(arrived, inf, dim=self.dims, keepdim=True)
        by_place = gain.shape == gradient.shape
        size = gradient.abs()
        if not by_place:
            size = torch.linalg.vector_norm(gradient, inf, dim=self.dims, keepdim=True)
        shares: Tensor = size / (gain * largest)
        return shares


def _passed(
    func: Any, source: Tensor, result: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Passed | None:
    """Return what a norm or softmax passes on; None if it has nothing to cancel."""
    if func in _SOFTMAX:
        dim = args[0] if args else kwargs.get("dim")
        return None if dim is None else _Passed((dim % source.dim(),), result.detach())
    scale = shift = None
    if func is F.layer_norm:
        given = {**dict(zip(("normalized_shape", "weight", "bias"), args, strict=False)), **kwargs}
        count = len(given["normalized_shape"])
        dims = tuple(range(source.dim() - count, source.dim()))
        scale, shift = (_aligned(given.get(name), source) for name in ("weight", "bias"))
    else:
        dims = tuple(range(2, source.dim()))
        if func is F.batch_norm and _count(source, dims) == 1:
            dims = (0, *dims)
    if _count(source, dims) == 1:
        return None
    made = _look(result.detach(), dims)
    if shift is not None:
        made = made - _look(shift, dims)
    if scale is not None:
        made = made / _look(scale, dims)
    # A norm is affine within these dimensions.
    gain = _spread(made, dims) / _spread(_look(source.detach(), dims), dims)
    gain = gain.nan_to_num(_MOST_GAIN)  # of a constant
    return _Passed(dims, gain, scale)


def _aligned(weights: Any, source: Tensor) -> Tensor | None:
    if weights is None:
        return None
    detached: Tensor = weights.detach()
    return detached.reshape((1,) * (source.dim() - detached.dim()) + tuple(detached.shape))


def _look(tensor: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return a few places of each of the dimensions."""
    index = [slice(None)] * tensor.dim()
    for dim in dims:
        index[dim] = slice(None, None, max(1, tensor.shape[dim] // _LOOKS))
    return tensor[tuple(index)]


def _count(tensor: Tensor, dims: tuple[int, ...]) -> int:
    return math.prod(tensor.shape[dim] for dim in dims)


def _spread(tensor: Tensor, dims: tuple[int, ...]) -> Tensor:
    return tensor.amax(dims, keepdim=True) - tensor.amin(dims, keepdim=True)


def _input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Return the input of a function, and its other arguments."""
    if args:
        return args[0], args[1:], kwargs
    return kwargs["input"], args, {n: v for n, v in kwargs.items() if n != "input"}


def _is_real(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.dtype in _ROUNDING
        and tensor.layout == torch.strided
        and not is_functorch_wrapped_tensor(tensor)
    )
