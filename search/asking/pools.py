"""Sources of candidates: the whole space, draws, neighbours of the best, or evolution."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from ...basics import Array
from ...data.spaces.contract import Space
from ...errors import InputError

Worth = Callable[[Sequence[str]], Array]
"""Maps architectures to the worth (n,) of measuring them; minus infinity if one cannot be built."""

STRATEGIES = ("all", "evolution", "local", "random")
LISTED = 20_000
"""The largest number of architectures for ``"all"``."""
_PARENTS = 20
_GENERATIONS = 8
_FRESH = 0.25  # the share of random draws in the first generation, and beside neighbours


class Listing:
    """The networks that a search may choose from, listed if they are few enough.

    Args:
        space: the space of the architectures.
        pool: the architectures to choose from; None for all.

    Attributes:
        keys: canonical architectures, one for each network; None if there are too many.

    Raises:
        InputError: the pool is empty, or holds something that is not an architecture of the space.
    """

    def __init__(self, space: Space, pool: Iterable[str] | None):
        self.space = space
        self._names: dict[str, str] | None = None
        if pool is not None:
            self._names = {}
            for arch in pool:
                self._names.setdefault(space.canonical(arch), space.normalise(arch))
            if not self._names:
                raise InputError("pool: got no architectures, expected at least one")
        self.keys = _listed(space) if self._names is None else list(self._names)

    @property
    def pool(self) -> list[str] | None:
        """The architectures of the pool, one for each network."""
        return None if self._names is None else list(self._names.values())

    def named(self, key: str) -> str:
        """Return the architecture that stands for a network."""
        return key if self._names is None else self._names[key]

    def draw(self, rng: random.Random) -> str:
        """Draw a random architecture."""
        if self._names is not None and self.keys is not None:
            return self._names[rng.choice(self.keys)]
        return self.space.normalise(self.space.draw(rng))

    def strategy(self, given: str | None) -> str:
        """Return the strategy, checked; the default is ``"all"`` where that is possible.

        Raises:
            InputError: there is no such strategy, or it is impossible here.
        """
        if given is None:
            return "evolution" if self.keys is None else "all"
        if given not in STRATEGIES:
            raise InputError(f"strategy: got {given!r}, expected one of {', '.join(STRATEGIES)}")
        if given == "all" and self.keys is None:
            raise InputError(
                f"strategy: 'all' needs a space with at most {LISTED:,} architectures, and "
                f"{self.space.name} is larger; pass a pool, or take 'evolution'"
            )
        if given != "all" and self._names is not None:
            raise InputError(f"strategy: with a pool it is 'all', got {given!r}")
        return given


def _listed(space: Space) -> list[str] | None:
    if space.size is None or space.size > LISTED:
        return None
    try:
        return list(dict.fromkeys(map(space.canonical, space)))
    except TypeError:
        return None


def drawn(space: Space, rng: random.Random, size: int) -> list[str]:
    """Draw random architectures; there are fewer than ``size`` if networks repeat."""
    return list(dict.fromkeys(space.canonical(space.draw(rng)) for _ in range(size)))


def around(space: Space, rng: random.Random, size: int, best: Sequence[str]) -> list[str]:
    """Return neighbours of the best architectures, those of the very best first, and random
    draws."""
    found = dict.fromkeys(drawn(space, rng, max(int(_FRESH * size), 1)))
    for arch in best:
        neighbours = space.neighbours(arch)
        rng.shuffle(neighbours)
        for other in neighbours:
            if len(found) >= size:
                return list(found)
            found[space.canonical(other)] = None
    return list(found)


def evolved(
    space: Space, rng: random.Random, size: int, best: Sequence[str], worth: Worth
) -> list[str]:
    """Return all architectures of a short evolution towards those worth measuring.

    The first generation consists of the best measured architectures and random draws. Each later
    generation consists of neighbours of the 20 with the largest worth so far. Half of it are
    neighbours of such neighbours.
    """
    first = [*best[:_PARENTS], *drawn(space, rng, max(int(_FRESH * size), _PARENTS))]
    found = dict.fromkeys(map(space.canonical, first))
    values = dict(zip(found, worth(list(found)), strict=True))
    for _ in range(_GENERATIONS):
        parents = sorted(values, key=lambda arch: -values[arch])[:_PARENTS]
        children: dict[str, None] = {}
        for _ in range(max((size - len(first)) // _GENERATIONS, 1)):
            child = rng.choice(parents)
            for _ in range(rng.choice((1, 2))):
                child = rng.choice(space.neighbours(child) or [child])
            children[space.canonical(child)] = None
        new = [arch for arch in children if arch not in values]
        values.update(zip(new, worth(new), strict=True))
    return list(values)
