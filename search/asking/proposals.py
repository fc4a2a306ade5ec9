"""Proposals of what to measure next: candidates, their worth, and which to measure together."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from ...basics import Array
from ...errors import InputError, NothingLeftError
from . import pools
from .acquisition import acquire, choose
from .goals import Goals
from .knowledge import Knowledge
from .models import Models
from .trials import Trials

_TRIES = 300  # random draws until one may be asked for
_FORBIDDEN = 1e6  # the cost of a violated constraint, far beyond any prediction


class Proposals:
    """The part of a search that proposes; it keeps no state besides fitted predictors.

    Args:
        trials: the trials asked for and told so far.
        listing: the networks that may be asked for.
        knowledge, goals, models: those of the search.
        strategy, acquisition, candidates, seed: the same as in ``Searcher``.
    """

    def __init__(
        self,
        trials: Trials,
        listing: pools.Listing,
        knowledge: Knowledge,
        goals: Goals,
        models: Models,
        strategy: str,
        acquisition: str,
        candidates: int,
        seed: int,
    ):
        self._trials = trials
        self._listing = listing
        self._space = listing.space
        self._knowledge = knowledge
        self._goals = goals
        self._models = models
        self._strategy = strategy
        self._acquisition = acquisition
        self._candidates = candidates
        self._seed = seed

    def first(self, n: int) -> list[str]:
        """Draw random architectures; each draw depends only on the number of its trial."""
        found: dict[str, str] = {}
        while len(found) < n and (arch := self._random_beside(found)) is not None:
            found[self._space.canonical(arch)] = arch
        if not found:
            raise self._nothing_left()
        return list(found.values())

    def _random_beside(self, found: dict[str, str]) -> str | None:
        rng = random.Random(f"{self._seed}/{len(self._trials) + len(found)}")
        for _ in range(_TRIES):
            arch = self._listing.draw(rng)
            key = self._space.canonical(arch)
            if key not in self._trials.taken and key not in found and self._allowed([key]):
                return arch
        rest = [key for key in self._nearly_allowed(rng) if key not in found]
        left = self._allowed([key for key in rest if key not in self._trials.taken])
        return self._listing.named(rng.choice(left)) if left else None

    def best(self, n: int) -> list[str]:
        """Return the architectures most worth measuring together, according to the fitted
        predictors."""
        rng = random.Random(f"{self._seed}/{len(self._trials)}")
        looked_at = self._looked_at(rng)
        free = [key for key in looked_at if key not in self._trials.taken]
        allowed = self._likely(self._allowed(free))
        if not allowed:
            raise self._nothing_left(free)
        draws = np.random.default_rng(rng.getrandbits(64))
        choice = self._choice_of_several if self._goals.several else self._choice
        return [self._listing.named(allowed[i]) for i in choice(allowed, n, draws)]

    # --- candidates -----------------------------------------------------------------------------

    def _looked_at(self, rng: random.Random) -> list[str]:
        if self._strategy == "all":
            return self._listing.keys or []
        if self._strategy == "random":
            return pools.drawn(self._space, rng, self._candidates)
        done = self._trials.of("done")
        order = np.argsort(-self._goals.values(done)[:, 0], kind="stable")
        best = self._trials.keys([done[i] for i in order])
        if self._strategy == "local":
            return pools.around(self._space, rng, self._candidates, best)
        if self._goals.several:
            from .fronts import evolved_front

            meets = [t for t, over in zip(done, self._goals.excess(done), strict=True) if over <= 0]
            front = self._trials.keys(self._goals.front(meets)) if meets else best
            return evolved_front(self._space, self._costs, len(self._goals.objectives), front, rng)
        return pools.evolved(self._space, rng, self._candidates, best, self._worth)

    def _nearly_allowed(self, rng: random.Random) -> list[str]:
        """Return all architectures, or in large spaces those of an evolution towards the
        constraints."""
        if self._listing.keys is not None:
            return self._listing.keys
        return pools.evolved(
            self._space, rng, self._candidates, (), lambda keys: -self._goals.known_excess(keys)
        )

    def _allowed(self, keys: Sequence[str]) -> list[str]:
        """Return the architectures that can be built and meet the known constraints."""
        over = self._goals.known_excess(keys)
        return [key for key, excess in zip(keys, over, strict=True) if excess <= 0]

    def _likely(self, keys: list[str]) -> list[str]:
        """Return the architectures that likely meet the measured constraints, or else the
        likeliest."""
        constraints = self._goals.measured_constraints
        if not constraints or not keys:
            return keys
        chance = np.prod([self._models.chance(c, keys) for c in constraints], axis=0)
        least = min(0.5, chance.max())
        return [key for key, p in zip(keys, chance, strict=True) if p >= least]

    # --- their worth ----------------------------------------------------------------------------

    def _choice(self, keys: list[str], n: int, rng: np.random.Generator) -> list[int]:
        name = self._goals.objectives[0].name
        pending = [
            key
            for key in dict.fromkeys(self._trials.keys(self._trials.of("pending")))
            if self._knowledge.can_be_built(key)
        ]
        together = [*keys, *pending]
        mean, std = self._models.predict(name, together)
        if std is None and self._acquisition != "mean":
            raise InputError(
                f"acquisition: {self._acquisition!r} needs deviations, which the predictor does "
                "not give; take 'mean' or another predictor"
            )
        return choose(
            self._acquisition,
            mean,
            np.zeros(len(mean)) if std is None else std,
            self._incumbent(),
            n,
            rng,
            self._models.correlate(name, together),
            len(pending),
        )

    def _choice_of_several(self, keys: list[str], n: int, rng: np.random.Generator) -> list[int]:
        from .fronts import best_of_fronts

        return best_of_fronts(self._costs(keys, rng), n)

    def _incumbent(self) -> float:
        """Return the best prediction of told trials, since a measured value may owe much to
        luck."""
        told = dict.fromkeys(self._trials.keys(self._trials.of("done")))
        keys = [key for key in told if self._knowledge.can_be_built(key)]
        return float(self._models.predict(self._goals.objectives[0].name, keys)[0].max())

    def _worth(self, keys: Sequence[str]) -> Array:
        """Return the fitness of candidates in an evolution, lower the more they violate
        constraints."""
        over = self._goals.known_excess(keys)
        worth = np.where(over > 0, -_FORBIDDEN * (1.0 + over), 0.0)
        built = np.flatnonzero(np.isfinite(over))
        mean, std = self._models.predict(
            self._goals.objectives[0].name, [keys[i] for i in built.tolist()]
        )
        std = np.zeros(len(mean)) if std is None else std
        worth[built] += acquire(self._acquisition, mean, std, self._incumbent())
        return worth

    def _costs(self, keys: Sequence[str], rng: np.random.Generator | None = None) -> Array:
        """Return objectives (n, objectives) to minimise, as optimistic as the acquisition."""
        over = self._goals.known_excess(keys)
        forbidden = np.where(over > 0, _FORBIDDEN * (1.0 + over), 0.0)
        costs = np.tile(forbidden[:, None], len(self._goals.objectives))
        built = np.flatnonzero(np.isfinite(over))
        some = [keys[i] for i in built.tolist()]
        for column, objective in enumerate(self._goals.objectives):
            if self._knowledge.knows(objective.name):
                hoped = objective.direction * self._knowledge.values(objective.name, some)
            else:
                hoped, std = self._models.predict(objective.name, some)
                if std is not None and self._acquisition == "ucb":
                    hoped = hoped + std
                elif std is not None and self._acquisition == "thompson" and rng is not None:
                    hoped = hoped + std * rng.standard_normal(len(some))
            costs[built, column] -= hoped
        return costs

    # --- nothing to propose ---------------------------------------------------------------------

    def _nothing_left(self, free: Sequence[str] | None = None) -> InputError:
        if free is None:
            some = self._nearly_allowed(random.Random(self._seed))
            free = [key for key in some if key not in self._trials.taken]
        if not free:
            return NothingLeftError(
                f"space: all candidates of {self._space.name} were asked for "
                f"({len(self._trials)} trials)"
            )
        over = self._goals.known_excess(free)
        nearest = free[int(np.argmin(over))]
        if np.isinf(over).all():
            key, reason = next(iter(self._knowledge.refused.items()))
            return InputError(
                f"space: none of {len(free)} candidates can be built, {key!r} because: {reason}"
            )
        said = ", ".join(
            f"{c.name} {self._knowledge.values(c.name, [nearest])[0]:g} for {c}"
            for c in self._goals.known_constraints
        )
        return InputError(
            f"constraints: none of {int(np.isfinite(over).sum())} candidates meets all of them; "
            f"nearest is {nearest!r}, with {said}"
        )
