"""Scores of architectures in any form, as a function from a list of architectures to numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from ..basics import Array
from ..data.spaces.contract import Space
from ..errors import InputError
from ..predictors.features.evidence import PROXIES
from ..predictors.reading import Reader, Sample
from ..proxies import get
from ..ranking.aggregation import combined

Scorer = Callable[[Sequence[Any]], Array]
"""Maps architectures to one score each; larger is better, and NaN is no score."""


def space_named(space: str | Space) -> Space:
    """Return a space that was given itself or by name.

    Raises:
        InputError: ``space`` is neither a space nor the name of one.
    """
    if isinstance(space, Space):
        return space
    if not isinstance(space, str):
        raise InputError(f"space: got {type(space).__name__}, expected a name or a space")
    from ..data import space as named

    return named(space)


def scorer(score: Any, space: str | Space | None = None, task: str | None = None) -> Scorer:
    """Return the function that a ``score`` stands for.

    Args:
        score: one of

            - a function from a list of architectures to as many numbers;
            - an object whose method ``predict`` is such a function, such as a fitted predictor;
            - a mapping from architectures to numbers; architectures not in it have no score;
            - the name of a proxy, ``"auto"`` for the pretrained predictor of ``archrank.rank``, or
              a sequence of names; then pass ``space``. Several names become the mean of ranks
              among the architectures that are scored together. Each network is scored only once.
        space, task: the space of the architecture strings, and the task of their networks.

    Raises:
        InputError: ``score`` is none of these, or names are given without a space.
    """
    if isinstance(score, str):
        return _evidence(space, task) if score == "auto" else _proxies((score,), space, task)
    if isinstance(score, Mapping):
        return lambda archs: np.array([score.get(arch, np.nan) for arch in archs], dtype=np.float64)
    if callable(getattr(score, "predict", None)):
        return score.predict  # type: ignore[no-any-return]
    if callable(score):
        return score  # type: ignore[no-any-return]
    if isinstance(score, Sequence) and score and all(isinstance(name, str) for name in score):
        return _proxies(score, space, task)
    raise InputError(
        f"score: got {score!r}, expected a function from a list of architectures to numbers, a "
        "fitted predictor, a mapping, or names of proxies"
    )


def _proxies(names: Sequence[str], space: str | Space | None, task: str | None) -> Scorer:
    read = _reading_once(names, space, task)
    signs = np.array([get(name).sign for name in names])

    def score(archs: Sequence[Any]) -> Array:
        scores = [sample.scores for sample in read(archs)]
        values = np.array([[one.get(name, np.nan) for name in names] for one in scores])
        return combined(values.reshape(len(archs), len(names)) * signs, "mean_rank")

    return score


def _evidence(space: str | Space | None, task: str | None) -> Scorer:
    from ..predictors.pretrained.shipped import shipped

    read, predictor = _reading_once(PROXIES, space, task), shipped()
    return lambda archs: predictor.predict(read(archs))


def _reading_once(
    names: Sequence[str], space: str | Space | None, task: str | None
) -> Callable[[Sequence[Any]], list[Sample]]:
    """Return a function that reads architectures with scores of proxies, each network once."""
    if space is None:
        raise InputError(
            f"space: proxies ({', '.join(names)}) need networks; pass the space of the "
            "architectures"
        )
    place = space_named(space)
    reader = Reader(place, task, proxies=tuple(names))
    known: dict[str, Sample] = {}

    def read(archs: Sequence[Any]) -> list[Sample]:
        keys = [place.canonical(arch) for arch in archs]
        for key in keys:
            if key not in known:
                (known[key],) = reader.read([key])
        return [known[key] for key in keys]

    return read


def checked(values: Any, count: int) -> Array:
    """Return scores as numbers (count,), NaN for what is not a finite number.

    Raises:
        InputError: there are not as many numbers as architectures.
    """
    numbers = np.asarray(values, dtype=np.float64)  # None becomes NaN
    if numbers.shape != (count,):
        raise InputError(f"score: gave shape {numbers.shape} for {count} architectures")
    return np.where(np.isfinite(numbers), numbers, np.nan)


def scored(score: Scorer, archs: Sequence[Any]) -> Array:
    """Score architectures; those that make the function raise on their own get NaN.

    Equal architectures are scored once.

    Raises:
        Exception: the error of ``score``, if it raises for every architecture.
    """
    once = list(dict.fromkeys(archs)) if all(isinstance(a, Hashable) for a in archs) else archs
    try:
        values = checked(score(once), len(once))
    except InputError:
        raise
    except Exception as error:
        values = _one_by_one(score, once, error)
    if once is archs:
        return values
    place = {arch: i for i, arch in enumerate(once)}
    return values[[place[arch] for arch in archs]]


def _one_by_one(score: Scorer, archs: Sequence[Any], error: Exception) -> Array:
    """Score architectures one at a time; raise ``error`` if ``score`` raises for every one."""
    values, raised = np.full(len(archs), np.nan), 0
    for i, arch in enumerate(archs):
        try:
            values[i] = checked(score([arch]), 1)[0]
        except Exception:
            raised += 1
    if raised == len(archs):
        raise error
    return values
