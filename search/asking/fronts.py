"""Search for several objectives at once: pymoo's NSGA-II on optimistic predictions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...basics import Array
from ...data.spaces.contract import Space
from ...errors import MissingExtraError
from ..choices import Choices

try:
    from pymoo.core.algorithm import Algorithm
    from pymoo.core.problem import Problem
except ImportError as error:
    raise MissingExtraError("searching for several objectives", "pymoo", "pymoo", error) from error

Costs = Callable[[Sequence[str]], Array]
"""Maps architectures to objectives (n, objectives), which are minimised."""

_POPULATION, _GENERATIONS = 60, 15
_UNUSED = np.random.default_rng(0)  # a required argument, which is never drawn from


def decoded(choices: Choices, X: Any) -> list[str]:
    """Return canonical architectures of rows; real numbers are rounded to positions."""
    whole = np.clip(np.round(np.asarray(X, dtype=np.float64)), 0, choices.counts - 1)
    return [choices.space.canonical(choices.arch(row)) for row in whole]


def nsga2(
    problem: Any, starts: Sequence[Sequence[int]] = (), population: int = _POPULATION
) -> Algorithm:
    """Make pymoo's NSGA-II for choices: uniform crossover, mutation to a random option.

    Args:
        problem: a problem of integer variables with bounds.
        starts: the first rows of the initial population; the others are random.
        population: the size of the population.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    class AnyOption(Mutation):  # type: ignore[misc]
        """A mutation of each choice, with probability 1 / choices, to any of its options."""

        def _do(
            self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any
        ) -> Any:
            drawn = random_state.integers(
                problem.xl.astype(int), problem.xu.astype(int) + 1, X.shape
            )
            return np.where(random_state.random(X.shape) < 1 / problem.n_var, drawn, X)

    class Sampling(IntegerRandomSampling):  # type: ignore[misc]
        """An initial population of the starts and random rows."""

        def _do(self, problem: Any, n_samples: int, **kwargs: Any) -> Any:
            rows = super()._do(problem, n_samples, **kwargs)
            first = np.array(list(starts)[:n_samples]).reshape(-1, problem.n_var)
            rows[: len(first)] = first
            return rows

    return NSGA2(
        pop_size=population,
        sampling=Sampling(),
        crossover=UX(),
        mutation=AnyOption(prob=1.0),
        eliminate_duplicates=True,
    )


def evolved_front(
    space: Space, costs: Costs, count: int, front: Sequence[str], rng: random.Random
) -> list[str]:
    """Return all architectures that NSGA-II evaluates on its way to small costs.

    Args:
        space: a space of choices.
        costs: maps architectures to objectives (n, count), which are minimised.
        count: the number of objectives.
        front: the architectures to begin with.
        rng: the generator that NSGA-II's seed is drawn from.
    """
    from pymoo.optimize import minimize

    choices = Choices(space)
    seen: dict[str, None] = {}

    class Hoped(Problem):  # type: ignore[misc]
        """A problem whose objectives are ``costs``."""

        def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            archs = decoded(choices, X)
            seen.update(dict.fromkeys(archs))
            out["F"] = np.nan_to_num(costs(archs), posinf=1e12)

    problem = Hoped(len(choices.counts), count, xl=0, xu=choices.counts - 1, vtype=int)
    starts = [choices.positions(arch).tolist() for arch in front]
    minimize(problem, nsga2(problem, starts), ("n_gen", _GENERATIONS), seed=rng.getrandbits(31))
    return list(seen)


def best_of_fronts(costs: Array, n: int) -> list[int]:
    """Return the ``n`` best positions by fronts, then by distance to others, as NSGA-II does."""
    from pymoo.core.population import Population
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    people = Population.new(X=np.arange(len(costs))[:, None], F=costs)
    survivors = RankAndCrowding().do(
        Problem(1, costs.shape[1]), people, n_survive=min(n, len(costs)), random_state=_UNUSED
    )
    return [int(one.X[0]) for one in survivors]
