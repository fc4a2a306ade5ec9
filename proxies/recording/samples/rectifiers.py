"""Which ATen calls rectify, and what."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ....errors import NotApplicable
from ....graphs.operators import RECTIFIERS, canonical
from .formulas import Formula, Formulas

MAYBE_RECTIFIERS = RECTIFIERS | {"hardtanh", "clamp", "threshold", "where"}
"""Operators that rectify with some arguments at least."""


@cache
def operator_of(func: Any) -> str:
    """Return the canonical operator of an ATen overload."""
    return canonical(f"aten.{func.overloadpacket.__name__}")


class Rectifiers:
    """The rectifiers among the calls of a forward, in whatever way they are written.

    Such are the operators of that name, and ReLU as ``clamp(min=0)``, ``threshold(x, 0, 0)`` or
    ``maximum(x, zeros)``, ReLU6 as ``clamp(0, 6)``, and any function of several calls that passes
    positive and damps negative numbers, as ``x * (x > 0)`` and ``x * torch.sigmoid(x)``.

    Attributes:
        entangled: whether such a function calls another rectifier, which was counted before.

    Example:
        >>> import torch
        >>> x, aten = torch.tensor([-1.0, 2.0]), torch.ops.aten
        >>> Rectifiers().source(aten.clamp.default, (x, 0)) is x
        True
        >>> Rectifiers().source(aten.clamp.default, (x, 1)) is None
        True
    """

    def __init__(self) -> None:
        self.entangled = False
        self._found = 0
        self._formulas = Formulas()
        self._formula: Formula | None = None

    def source(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Tensor | None:
        """Return what a call rectifies; None if it is no rectifier's."""
        formula = self._formulas.of_call(func, args, kwargs or {})
        found = _rectified(func, args)
        if found is not None:
            self._found += 1
            self._formula = formula and replace(formula, rectifies=True, through=self._found)
            return found
        self._formula = formula
        if formula is None or not (formula.merges or formula.cuts) or not formula.is_rectifier:
            return None
        if formula.rectifies:
            # What is made of one rectifier's result alone, as by a norm of responses, is its own.
            self.entangled |= not formula.through
            return None
        self._formula = None  # what follows reads the result, not what it was made of
        return formula.source

    def see(self, result: Any) -> None:
        """See the result of the call that ``source`` was asked for last."""
        self._formulas.see(result, self._formula)

    def refuse_entangled(self) -> None:
        """Refuse a forward of rectifiers made of rectifiers.

        Raises:
            NotApplicable: there was one.
        """
        if self.entangled:
            raise NotApplicable(
                "an activation is written by hand of others, as x * relu6(x + 3) / 6 is, so its "
                "units cannot be told from theirs; call it as one function, as F.hardswish"
            )


def _rectified(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """Return what a call rectifies by itself."""
    operator, name = operator_of(func), func.overloadpacket.__name__.rstrip("_")
    if operator in RECTIFIERS:
        found = args[0]
    elif operator == "hardtanh":
        found = args[0] if tuple(args[1:3]) == (0.0, 6.0) else None  # ReLU6
    elif operator in ("clamp", "threshold"):
        found = _clamped(name, args)
    else:
        return None
    return found if found is None or found.is_floating_point() else None


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
