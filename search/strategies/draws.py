"""Searches that use no predictor themselves, but that a predictor can assist."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ...basics import Array
from ...data.spaces.contract import Space
from ...errors import InputError, NothingLeftError
from ..choices import Choices
from ..scoring import space_named


class Strategy(ABC):
    """A search by ``ask`` and ``tell``; larger values are better.

    Attributes:
        draw: the function that returns one new architecture; ``ask`` calls it. To assist the
            search, replace it: ``search.draw = assist(search.draw, score, k=10)``.
    """

    draw: Callable[[], str]

    def __init__(self, space: str | Space, seed: int = 0):
        self.space = space_named(space)
        self._rng = random.Random(seed)
        self.draw = self._draw

    def ask(self) -> str:
        """Return the architecture to evaluate next; you can ask for several before you tell a
        value."""
        return self.draw()

    @abstractmethod
    def tell(self, arch: str, value: float) -> None:
        """Take the value of any architecture; NaN if its evaluation failed."""

    @abstractmethod
    def _draw(self) -> str:
        """Draw one new architecture by this strategy, without assistance."""


class RandomSearch(Strategy):
    """Architectures drawn independently.

    Args:
        space: a name or a space.
        seed: same seed and values, same search.

    Example:
        >>> search = RandomSearch("nats_sss", seed=0)
        >>> search.ask() in search.space
        True
    """

    def tell(self, arch: str, value: float) -> None:
        """Ignore the value."""

    def _draw(self) -> str:
        return self.space.draw(self._rng)


class RegularisedEvolution(Strategy):
    """Ageing evolution: the best of a random few is mutated, and the oldest leaves.

    The first ``population`` architectures are random. Afterwards, ``tournament`` members of the
    population are drawn without replacement, and a random neighbour of the best one is proposed. A
    new result joins the population, and the oldest member leaves. A failed architecture joins as
    the worst. You can ask for several before you tell a value.

    Source: Real et al., "Regularized evolution for image classifier architecture search", AAAI
    2019. There, some mutations change nothing; here, each one changes something.

    Args:
        space: a name or a space.
        population, tournament: the sizes of the population and of a tournament.
        seed: same seed and values, same search.

    Raises:
        InputError: a size is below 1, or the tournament is larger than the population.

    Example:
        >>> search = RegularisedEvolution("nats_sss", population=5, tournament=3, seed=0)
        >>> for _ in range(60):
        ...     arch = search.ask()
        ...     search.tell(arch, sum(map(int, arch.split(":"))))
        >>> max(search.population)[0] > 250
        True
    """

    def __init__(
        self, space: str | Space, population: int = 10, tournament: int = 3, seed: int = 0
    ):
        super().__init__(space, seed)
        if not 1 <= tournament <= population:
            raise InputError(
                f"tournament: got {tournament} of a population of {population}, expected at least "
                "1 and at most all"
            )
        self.size = population
        self.tournament = tournament
        self.population: deque[tuple[float, str]] = deque(maxlen=population)
        self._asked = 0

    def ask(self) -> str:
        arch = super().ask()
        self._asked += 1
        return arch

    def tell(self, arch: str, value: float) -> None:
        self.population.append((-math.inf if math.isnan(value) else value, arch))

    def _draw(self) -> str:
        if not self.population or max(self._asked, len(self.population)) < self.size:
            return self.space.draw(self._rng)
        few = self._rng.sample(self.population, min(self.tournament, len(self.population)))
        parent = max(few, key=lambda member: member[0])[1]
        return self._rng.choice(self.space.neighbours(parent))


class LocalSearch(Strategy):
    """Local search: it starts at the best of some random architectures and moves to the first
    better neighbour.

    If no neighbour is better, it restarts from a random architecture. It never proposes an
    architecture twice. Tell the value of an architecture before you ask for the next. Do not assist
    this search: it visits every neighbour, and assistance would lose the neighbours that are drawn
    but not used.

    Source: White et al., "Exploring the loss landscape in neural architecture search", UAI 2021,
    in the variant that takes the first improvement.

    Args:
        space: a name or a space.
        starts: number of random architectures to begin with.
        seed: same seed and values, same search.

    Example:
        >>> search = LocalSearch("nats_sss", starts=3, seed=0)
        >>> for _ in range(120):
        ...     arch = search.ask()
        ...     search.tell(arch, sum(map(int, arch.split(":"))))
        >>> search.best[0]
        320.0
    """

    def __init__(self, space: str | Space, starts: int = 10, seed: int = 0):
        super().__init__(space, seed)
        self.starts = starts
        self.best: tuple[float, str] = (-math.inf, "")
        self._here = -math.inf  # the value of the current architecture
        self._left: list[str] = []  # neighbours not proposed yet
        self._seen: set[str] = set()

    def tell(self, arch: str, value: float) -> None:
        value = -math.inf if math.isnan(value) else float(value)
        self._seen.add(arch)
        self.best = max(self.best, (value, arch), key=lambda pair: pair[0])
        if len(self._seen) < self.starts:
            return
        if len(self._seen) == self.starts:
            value, arch = self.best
        if value > self._here:
            self._here = value
            self._left = self.space.neighbours(arch)
            self._rng.shuffle(self._left)

    def _draw(self) -> str:
        while self._left and len(self._seen) >= self.starts:
            if (arch := self._left.pop()) not in self._seen:
                return arch
        self._here = -math.inf
        for _ in range(1000):
            if (arch := self.space.draw(self._rng)) not in self._seen:
                return arch
        raise NothingLeftError(f"space: all of {self.space.name} that draws can find was evaluated")


class Reinforce(Strategy):
    """A policy of one categorical distribution for each choice, trained by REINFORCE.

        theta_c <- theta_c + rate * (r - b) / s * (onehot(a_c) - softmax(theta_c)),

    where r is the value told, b the moving average of earlier values and s the moving deviation of
    values from b. Dividing by s makes the unit of values irrelevant. The update applies to all
    choices c that have an effect.

    Source: Williams, "Simple statistical gradient-following algorithms", 1992; used to search cells
    in Dong and Yang, NAS-Bench-201, ICLR 2020.

    Notes:
        Dividing by s is our choice.

    Args:
        space: a name or a space of choices.
        rate: the learning rate.
        memory: the weight of the old average when a new value arrives.
        seed: same seed and values, same search.

    Example:
        >>> search = Reinforce("nats_sss", seed=0)
        >>> for _ in range(300):
        ...     arch = search.ask()
        ...     search.tell(arch, sum(map(int, arch.split(":"))))
        >>> sum(map(int, search.ask().split(":"))) > 200
        True
    """

    def __init__(self, space: str | Space, rate: float = 0.2, memory: float = 0.9, seed: int = 0):
        super().__init__(space, seed)
        self.choices = Choices(self.space)
        self.rate = rate
        self.memory = memory
        self.logits: list[Array] = [np.zeros(count) for count in self.choices.counts]
        self._average: float | None = None
        self._square = 0.0

    def tell(self, arch: str, value: float) -> None:
        if math.isnan(value):
            return
        if self._average is None:
            self._average = value
            return
        ahead = value - self._average
        self._square = self.memory * self._square + (1 - self.memory) * ahead**2
        self._average = self.memory * self._average + (1 - self.memory) * value
        if not ahead:
            return
        step = self.rate * ahead / math.sqrt(self._square)
        for logits, at in zip(self.logits, self.choices.active_positions(arch), strict=True):
            if at >= 0:
                gradient = -_softmax(logits)
                gradient[at] += 1.0
                logits += step * gradient

    def _draw(self) -> str:
        rows = [_softmax(logits).tolist() for logits in self.logits]
        picked = [self._rng.choices(range(len(row)), row)[0] for row in rows]
        return self.choices.arch(np.array(picked))


def _softmax(logits: Array) -> Any:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()
