"""Numbers of any size: operators run on tensors that stand for themselves times a power of 4.

Products over hundreds of layers leave the range of double precision. Multiplying by a power of two
is exact, so a network can run on tensors kept near 1, each with an exponent of its own. How the
exponents of operands become that of the result an operator says itself: if 4^k times an operand
gives 4^dk times the result, bit by bit, then d is its degree in it. Sums are of degree 1 in all
their operands together. What has no degree (gates, norms, softmax) is computed as it is where it
is within range, and as it behaves far out beyond, where it has one again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ....errors import ScoreError
from ....graphs.arguments import (
    covers_storage,
    facts_of,
    mapped,
    nested_tensors,
    storage_of,
    written_by,
)

_FAR = 75
"""Power of 4 beyond which an operator without degree is taken as it behaves there."""
_NEAR = 2.0**50
"""Within this factor of 1 the largest number of every tensor is kept."""

Powers = dict[int, int]
"""id of an operand -> power of 4 by which it is multiplied."""


class WideRange(TorchDispatchMode):
    """A mode whose tensors stand for themselves times 4 to the power of ``power_of``."""

    def __init__(self) -> None:
        super().__init__()
        self._powers: dict[int, int] = {}  # storage -> power

    def power_of(self, tensor: Tensor) -> int:
        """Return the power of 4 by which the tensor is to be multiplied."""
        return self._powers.get(storage_of(tensor), 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        facts, kwargs = facts_of(func), kwargs or {}
        if facts.base == "_to_copy" and args[0].dtype == torch.float64:
            kwargs = {**kwargs, "dtype": _no_less(kwargs.get("dtype"))}
        target = written_by(facts, args, kwargs)
        whole = isinstance(target, Tensor) and not target.is_floating_point()
        if facts.is_view or whole or "empty" in facts.base:
            return func(*args, **kwargs)
        parts = self._in_parts(func, facts.base, args)
        if parts is not None:
            return parts
        call = _Call(func, args, kwargs, target if isinstance(target, Tensor) else None)
        result, powers = self._run(call)
        if call.target is not None:
            (power,) = powers[:1]
            self._write(call.target, *_near_one(result, power))
            return call.target
        known = {storage_of(t) for t in call.operands}
        for tensor, power in zip(_floats((result,)), powers, strict=True):
            if storage_of(tensor) not in known:
                self._set(storage_of(tensor), _near_one(tensor, power)[1])
        return result

    def _set(self, storage: int, power: int) -> None:
        self._powers.pop(storage, None)
        if power:
            self._powers[storage] = power

    def _in_parts(self, func: Any, base: str, args: tuple[Any, ...]) -> Any:
        """Return the result of operators that are products and sums at once, else None."""
        if not any(self.power_of(tensor) for tensor in nested_tensors(args)):
            return None
        if base == "addmm" and func._overloadname == "default":
            with self:
                return torch.mm(args[1], args[2]) + args[0]
        if base == "convolution" and args[2] is not None:
            bias = args[2].view(-1, *[1] * (args[1].dim() - 2))
            with self:
                return func(*args[:2], None, *args[3:]) + bias
        if base.endswith("_norm_backward"):
            return self._norm_backward(func, args)
        return None

    def _norm_backward(self, func: Any, args: tuple[Any, ...]) -> Any:
        """Run the backward of a norm with everything in units of its input's power.

        The gradient of the input is of degree -1 in that unit, those of weight and bias of none.
        """
        unit, moved = self.power_of(args[1]), list(args)
        for i, argument in enumerate(func._schema.arguments[: len(args)]):
            if argument.name in ("rstd", "save_invstd"):
                moved[i] = args[i] * 4.0 ** (self.power_of(args[i]) + unit)
            elif argument.name in ("mean", "save_mean"):
                moved[i] = args[i] * 4.0 ** (self.power_of(args[i]) - unit)
        result = func(*moved)
        power = self.power_of(args[0])
        for tensor, own in zip(result, (power - unit, power, power), strict=False):
            if isinstance(tensor, Tensor):
                self._set(storage_of(tensor), _near_one(tensor, own)[1])
        return result

    def _run(self, call: _Call) -> tuple[Any, list[float]]:
        """Return the result and the power of each of its floating tensors."""
        powers = {id(t): self.power_of(t) for t in call.operands}
        scaled = [key for key, power in powers.items() if power]
        if not scaled:
            result = call()
            return result, [0.0] * len(_floats((result,)))
        result = call()
        degrees = {}
        for key in scaled:
            step = _within(powers[key])
            degrees[key] = _degrees(result, call({key: step}), step)
        own = {key: found for key, found in degrees.items() if found is not None}
        total = _sum(len(_floats((result,))), ((powers[k], found) for k, found in own.items()))
        rest = [key for key in scaled if key not in own]
        if not rest:
            return result, total
        together = [key for key in powers if key not in own]
        unit = max(powers[key] for key in together)
        aligned = {key: powers[key] - unit for key in together}
        result = call(aligned)
        step = _within(unit) or 1
        moved = call({key: shift + step for key, shift in aligned.items()})
        found = _degrees(result, moved, step)
        if found is None:
            return self._far_out(call, {key: powers[key] for key in rest}, total)
        return result, [a + unit * b for a, b in zip(total, found, strict=True)]

    def _far_out(
        self, call: _Call, powers: dict[int, int], total: list[float]
    ) -> tuple[Any, list[float]]:
        """Run an operator that has no degree in some operands, unless they are very large."""
        unit = max(powers.values())
        near = _within(unit)
        shifts = {key: power - unit + near for key, power in powers.items()}
        result = call(shifts)
        if near == unit:
            return result, total
        step = 1 if near > 0 else -1
        other = call({key: shift - step for key, shift in shifts.items()})
        found = [
            _ratio(a, b) * step for a, b in zip(_floats((other,)), _floats((result,)), strict=True)
        ]
        return result, [a + b * (unit - near) for a, b in zip(total, found, strict=True)]

    def _write(self, target: Tensor, value: Tensor, power: int) -> None:
        """Put a value into a tensor, which may be a part of a larger one."""
        storage = storage_of(target)
        if covers_storage(target):
            target.copy_(value)
            self._set(storage, power)
            return
        before = self._powers.get(storage, 0)
        unit = max(before, power)
        if unit > before:
            whole = target.new_empty(0).set_(target.untyped_storage())
            whole.mul_(4.0 ** (before - unit))
            self._set(storage, unit)
        target.copy_(value * 4.0 ** (power - unit))


class _Call:
    """A call of an operator that can be repeated with some operands multiplied."""

    def __init__(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], target: Tensor | None
    ):
        self._func, self._args, self._kwargs, self.target = func, args, kwargs, target
        self.operands = _floats((args, *kwargs.values()))

    def __call__(self, powers: Powers | None = None) -> Any:
        """Run it, on a copy of what it would write to; return what it returns."""

        def change(value: Any) -> Any:
            shift = (powers or {}).get(id(value), 0)
            if shift:
                return value * 4.0**shift
            if isinstance(value, Tensor) and value is self.target:
                return value.clone()
            return value

        kwargs = {name: mapped(value, change) for name, value in self._kwargs.items()}
        return self._func(*mapped(self._args, change), **kwargs)


def _no_less(dtype: torch.dtype | None) -> torch.dtype | None:
    """Return double precision in the place of less, as networks ask for in some of their parts."""
    return torch.float64 if dtype is not None and dtype.is_floating_point else dtype


def _floats(values: Iterable[Any]) -> list[Tensor]:
    return [t for t in nested_tensors(values) if t.is_floating_point()]


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _ratio(one: Tensor, other: Tensor) -> float:
    """Return the degree, in halves, that two results at a factor of 4 are apart by.

    Raises:
        ScoreError: one is not finite, so that the operator has no degree far out.
    """
    before, after = _largest(one), _largest(other)
    if not math.isfinite(before) or not math.isfinite(after):
        raise ScoreError("an operator grows faster than any power", "non-finite")
    if before == 0 or after == 0:
        return 0.0
    return round(math.log2(after / before)) / 2


def _within(power: int) -> int:
    """Return the power, or the one up to which an operator's behaviour is looked at."""
    return max(-_FAR, min(power, _FAR))


def _degrees(result: Any, other: Any, step: int) -> list[float] | None:
    """Return the degrees of results of operands 4^step times those of others, None without any.

    The step leads from numbers near 1 to the true ones: an operator may have a degree within some
    bounds alone.
    """
    ones, others = list(nested_tensors((result,))), list(nested_tensors((other,)))
    degrees = []
    for one, changed in zip(ones, others, strict=True):
        if not one.is_floating_point():
            if not torch.equal(one, changed):
                return None
            continue
        before, after = _largest(one), _largest(changed)
        apart = before > 0 and after > 0 and math.isfinite(before) and math.isfinite(after)
        # 4^(degree * step), the degree in halves.
        degree = round(math.log2(after / before) / step) / 2 if apart else 0.0
        if not torch.equal(changed, one * 4.0 ** (degree * step)):
            return None
        degrees.append(degree)
    return degrees


def _sum(count: int, terms: Iterable[tuple[int, list[float]]]) -> list[float]:
    total = [0.0] * count
    for power, degrees in terms:
        total = [a + power * b for a, b in zip(total, degrees, strict=True)]
    return total


def _near_one(tensor: Tensor, power: float) -> tuple[Tensor, int]:
    """Multiply a tensor by a power of two so that its largest number is near 1; and say by what."""
    if power != math.floor(power):
        tensor.mul_(2.0)
        power = math.floor(power)
    largest = _largest(tensor)
    if largest == 0:
        return tensor, 0
    if not math.isfinite(largest) or 1 / _NEAR <= largest <= _NEAR:
        return tensor, int(power)
    step = round(math.log2(largest) / 2)
    tensor.mul_(2.0**-step).mul_(2.0**-step)
    return tensor, int(power) + step
