"""Assistance for any search: it uses the best-scored of several draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..data.spaces.contract import Space
from ..errors import InputError
from .scoring import scored, scorer

P = ParamSpec("P")
Arch = TypeVar("Arch")


def assist(
    ask: Callable[P, Arch],
    score: Any,
    k: int = 10,
    *,
    space: str | Space | None = None,
    task: str | None = None,
) -> Callable[P, Arch]:
    """Return a function that calls ``ask`` ``k`` times and returns the draw with the best score.

    Use it wherever a search draws one architecture (at random, by mutation, or from a policy);
    nothing else in the search changes. Among equal scores the first draw wins.

    Errors of ``ask`` are raised. A draw whose score is NaN or raises an error loses against every
    draw with a score. If no draw has a score, the first is returned, as without assistance. If
    scoring raised an error for every draw, that error is raised.

    Source: Zhang and Jia, GradSign, ICLR 2022, section 5 (assisted random search, regularised
    evolution, REINFORCE and BOHB).

    Args:
        ask: returns one architecture; it is called ``k`` times with the same arguments.
        score: a function from a list of architectures to numbers (larger is better), a fitted
            predictor, a mapping from architectures to numbers, ``"auto"``, or names of proxies.
        k: the number of draws; 1 changes nothing.
        space, task: the space and task of the architecture strings, if proxies are named.

    Raises:
        InputError: an argument is invalid.

    Example:
        >>> import random
        >>> draw = assist(random.Random(0).random, lambda numbers: numbers, k=100)
        >>> draw() > 0.9
        True
    """
    if not isinstance(k, int) or k < 1:
        raise InputError(f"k: got {k!r}, expected a whole number of at least 1")
    score_of = scorer(score, space, task)

    @wraps(ask)
    def assisted(*args: P.args, **kwargs: P.kwargs) -> Arch:
        drawn = [ask(*args, **kwargs) for _ in range(k)]
        if k == 1:
            return drawn[0]
        values = scored(score_of, drawn)
        return drawn[int(np.nanargmax(values))] if np.isfinite(values).any() else drawn[0]

    return assisted
