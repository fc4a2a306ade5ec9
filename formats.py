"""Numbers as people read them: a leaf module that every room may import."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: Any, digits: int = 4) -> str:
    """Write a number in few characters; missing ones are a dash, what is not a number stays.

    Example:
        >>> [number(v) for v in (11_689_512, 12_345, 640, 0.12345678, 1e31, float("nan"))]
        ['11.69M', '12.35k', '640', '0.1235', '1e+31', '-']
    """
    if isinstance(value, str):
        return value
    found = math.nan if str(value) == "<NA>" else float(value)
    if math.isnan(found):
        return "-"
    if math.isinf(found):
        return str(found)
    if found == int(found) and abs(found) < 1000:
        return str(int(found))
    for size, unit in _UNITS if abs(found) < 1e15 else ():
        if abs(found) >= max(size, 1e4):
            return f"{found / size:.{digits}g}{unit}"
    return f"{found:.{digits}g}"


def chance(probability: float) -> str:
    """Write a probability in percent; one that is not certain is never written as if it were.

    Example:
        >>> [chance(p) for p in (0.0, 0.001, 0.254, 0.9999, 1.0, float("nan"))]
        ['0%', '<1%', '25%', '>99%', '100%', '-']
    """
    if math.isnan(probability):
        return "-"
    if 0 < probability < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= probability < 1 else f"{probability:.0%}"


def duration(seconds: float) -> str:
    """Write a time about as people say it.

    Example:
        >>> [duration(s) for s in (0.4, 12.3, 100, 6000, 100_000)]
        ['1 s', '12 s', '2 min', '1.7 h', '28 h']
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.2g} h"


def count(value: float, digits: int = 4) -> str:
    """Write a whole number of things, from a thousand on in units.

    Example:
        >>> [count(v) for v in (17, 1_728, 11_689_512)]
        ['17', '1.728k', '11.69M']
    """
    for size, unit in _UNITS:
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


def named(names: Sequence[str], most: int = 3) -> str:
    """Name things, and say how many more there are beside the first ones.

    Example:
        >>> named(["a"]), named(["a", "b", "c"]), named(["a", "b", "c", "d", "e"])
        ('a', 'a, b and c', 'a, b, c and 2 more')
    """
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
