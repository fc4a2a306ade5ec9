"""Which ATen calls rectify, and what."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ....graphs.operators import RECTIFIERS, canonical

MAYBE_RECTIFIERS = RECTIFIERS | {"hardtanh", "clamp", "threshold", "where"}
"""Operators that rectify with some arguments at least."""

_LARGER = frozenset(("gt", "ge"))


@cache
def operator_of(func: Any) -> str:
    """Return the canonical operator of an ATen overload."""
    return canonical(f"aten.{func.overloadpacket.__name__}")


class Rectifiers:
    """The rectifiers among the calls of a forward, in whatever way they are written.

    Such are the operators of that name, and ReLU as ``clamp(min=0)``, ``threshold(x, 0, 0)``,
    ``maximum(x, zeros)`` or ``where(x > 0, x, 0)``, and ReLU6 as ``clamp(0, 6)``.

    Example:
        >>> import torch
        >>> x, aten = torch.tensor([-1.0, 2.0]), torch.ops.aten
        >>> Rectifiers().source(aten.clamp.default, (x, 0)) is x
        True
        >>> Rectifiers().source(aten.clamp.default, (x, 1)) is None
        True
    """

    def __init__(self) -> None:
        self._compared: Tensor | None = None  # of the last comparison with 0
        self._mask: Tensor | None = None

    def source(self, func: Any, args: tuple[Any, ...]) -> Tensor | None:
        """Return what a call rectifies; None if it is no rectifier's."""
        operator, name = operator_of(func), func.overloadpacket.__name__.rstrip("_")
        if operator in RECTIFIERS:
            found = args[0]
        elif operator == "hardtanh":
            found = args[0] if tuple(args[1:3]) == (0.0, 6.0) else None  # ReLU6
        elif operator in ("clamp", "threshold"):
            found = _clamped(name, args)
        elif operator == "where" and len(args) == 3 and args[0] is self._mask:
            found = args[1] if args[1] is self._compared and _is_zero(args[2]) else None
        else:
            return None
        return found if found is None or found.is_floating_point() else None

    def see(self, func: Any, args: tuple[Any, ...], result: Any) -> None:
        """See the result of a call, which may be the mask that a later call rectifies by."""
        if func.overloadpacket.__name__ in _LARGER and _is_zero(args[1]):
            self._compared, self._mask = args[0], result


def _clamped(name: str, args: tuple[Any, ...]) -> Tensor | None:
    """Return what a call cuts off below zero."""
    source, *bounds = args
    if name in ("maximum", "fmax"):
        return next((args[1 - i] for i in (1, 0) if _is_zero(args[i])), None)
    if name in ("clamp", "clamp_min"):
        below, above = bounds[0], bounds[1] if len(bounds) > 1 else None
        return source if _is_zero(below) and above in (None, 6) else None
    return source if name == "threshold" and bounds[0] == bounds[1] == 0 else None


def _is_zero(value: Any) -> bool:
    """Return whether a bound is zero everywhere."""
    if not isinstance(value, Tensor):
        return value is not None and value == 0
    if value.is_meta or is_functorch_wrapped_tensor(value):
        return False
    return not bool(value.any())
