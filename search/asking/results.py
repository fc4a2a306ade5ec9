"""Told results as a search keeps them: values by name, or the reason of a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError


def result_of(value: Any, measured: Sequence[str]) -> dict[str, Any]:
    """Return a told value as part of an event: ``{"values": ...}`` or ``{"failed": reason}``.

    Args:
        value: a number, or a mapping from names to numbers. For a failed evaluation: NaN, None or
            an exception.
        measured: the names of the values that are needed.

    Raises:
        InputError: a value is missing or is not a number.

    Example:
        >>> result_of(0.9, ["accuracy"]), result_of(None, ["accuracy"])
        ({'values': {'accuracy': 0.9}}, {'failed': 'no value'})
    """
    if value is None:
        return {"failed": "no value"}
    if isinstance(value, BaseException):
        return {"failed": f"{type(value).__name__}: {value}"}
    if not isinstance(value, Mapping):
        if len(measured) != 1:
            raise InputError(
                f"values: got {value!r}, expected a mapping with {', '.join(measured)}"
            )
        value = {measured[0]: value}
    missing = [name for name in measured if name not in value]
    if missing:
        raise InputError(f"values: {', '.join(missing)} missing of {dict(value)!r}")
    try:
        numbers = {name: float(value[name]) for name in measured}
    except (TypeError, ValueError) as error:
        raise InputError(f"values: expected numbers ({error})") from None
    bad = [name for name, number in numbers.items() if not np.isfinite(number)]
    return {"failed": f"{', '.join(bad)} is not finite"} if bad else {"values": numbers}
