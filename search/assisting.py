"""Any search assisted: of several draws, the one that scores best."""

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
    """Return ``ask`` assisted: of ``k`` architectures that it gives, the one that scores best.

    Wherever a search takes one architecture (a random one, a mutation, a sample of its policy), let
    it take an assisted one: nothing else of it changes. Of equal scores the first drawn wins.

    What fails: what ``ask`` raises goes through. A draw whose score is NaN or raises loses
    against every one with a score. If no draw has a score, the first is returned, as without
    assistance; if scoring raised for every single one, that error goes through.

    Source: Zhang and Jia, GradSign, ICLR 2022, section 5 (assisted random search, regularised
    evolution, REINFORCE and BOHB).

    Args:
        ask: gives one architecture; called ``k`` times with the same arguments.
        score: a function from a list of architectures to numbers (larger is better), a fitted
            predictor, a mapping from architectures to numbers, ``"auto"``, or names of proxies.
        k: how many to draw; 1 changes nothing.
        space, task: for names of proxies: what the architecture strings are of.

    Raises:
        InputError: an argument is not as above.

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
