"""Screening of a stream of candidates within a time limit."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from ..data.spaces.contract import Space
from ..errors import InputError
from .scoring import scored, scorer

Candidate = TypeVar("Candidate")

_SHARE = 0.05  # the share of the budget that scoring a batch may take


class Screener:
    """A filter that scores a stream and passes the best fraction.

    The stream is cut into windows. The best ``keep`` of a window pass, best first, before the next
    window is drawn. Candidates are drawn only when needed, so the stream may be endless.
    Candidates without a score (NaN, or an error) never pass. The budget counts the seconds spent
    on drawing and scoring, but not the time between candidates. When it is used up, no more
    candidates are drawn; the best of the current window still pass. The budget is checked between
    batches, which start with one candidate and double while a batch takes less than 5 % of the
    budget. One slow score can exceed the budget.

    Args:
        score: the same as in ``assist``.
        keep: the share that passes, above 0 and at most 1; at least one of each window.
        window: the number of candidates that are compared with each other.
        seconds: the budget; None for no limit.
        space, task: the space and the task of the architecture strings, if ``score`` names proxies.

    Attributes:
        seen, passed, failed, spent: the candidates scored, passed and without a score, and the
            seconds spent, for the latest stream.

    Raises:
        InputError: an argument is invalid.

    Example:
        >>> screener = Screener(lambda numbers: numbers, keep=0.2, window=10)
        >>> list(screener.screen(range(20))), screener.seen
        ([9, 8, 19, 18], 20)
        >>> screener.best(range(100), 3)
        [99, 98, 97]
    """

    def __init__(
        self,
        score: Any,
        keep: float = 0.1,
        window: int = 100,
        seconds: float | None = None,
        *,
        space: str | Space | None = None,
        task: str | None = None,
    ):
        if not 0 < keep <= 1:
            raise InputError(f"keep: got {keep!r}, expected a share above 0 and at most 1")
        if not isinstance(window, int) or window < 1:
            raise InputError(f"window: got {window!r}, expected a whole number of at least 1")
        if seconds is not None and not seconds > 0:
            raise InputError(f"seconds: got {seconds!r}, expected a time above 0, or None")
        self.keep = keep
        self.window = window
        self.seconds = seconds
        self._score = scorer(score, space, task)
        self._begin()

    def screen(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Yield the best of each window, which is drawn when needed."""
        self._begin()
        scores = self._scores(iter(candidates))
        while part := list(islice(scores, self.window)):
            count = math.ceil(self.keep * len(part))
            good = [(value, one) for value, one in part if not math.isnan(value)]
            # sorted is stable: among equal scores, the first drawn comes first
            for _, one in sorted(good, key=lambda pair: -pair[0])[:count]:
                self.passed += 1
                yield one

    def best(self, candidates: Iterable[Candidate], n: int = 1) -> list[Candidate]:
        """Return the ``n`` best of the stream, best first; an endless stream needs a budget."""
        self._begin()
        good = (
            (value, -number, one)
            for number, (value, one) in enumerate(self._scores(iter(candidates)))
            if not math.isnan(value)
        )
        chosen = heapq.nlargest(n, good, key=lambda entry: entry[:2])
        self.passed = len(chosen)
        return [one for _, _, one in chosen]

    def _begin(self) -> None:
        self.seen = self.passed = self.failed = 0
        self.spent = 0.0

    def _scores(self, candidates: Iterator[Candidate]) -> Iterator[tuple[float, Candidate]]:
        """Yield candidates with their scores until the stream or the budget ends."""
        size = self.window if self.seconds is None else 1
        while self.seconds is None or self.spent < self.seconds:
            start = time.perf_counter()
            left = self.window - self.seen % self.window  # a batch is of one window
            batch = list(islice(candidates, min(size, left)))
            values = scored(self._score, batch) if batch else np.empty(0)
            took = time.perf_counter() - start
            self.spent += took
            if not batch:
                return
            if self.seconds is not None and took < _SHARE * self.seconds:
                size *= 2
            self.seen += len(batch)
            self.failed += int(np.isnan(values).sum())
            yield from zip(values.tolist(), batch, strict=True)
