"""Predictions as a problem that pymoo's algorithms solve; they are the multi-objective part."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...basics import Array
from ...data.spaces.contract import Space
from ...errors import InputError, MissingExtraError
from ..asking.goals import Goals
from ..asking.knowledge import Knowledge
from ..scoring import scorer
from .arrays import Choices

try:
    from pymoo.core.problem import Problem
except ImportError as error:
    raise MissingExtraError("searching for several objectives", "pymoo", "pymoo", error) from error

if TYPE_CHECKING:
    from pymoo.core.algorithm import Algorithm

Costs = Callable[[Sequence[str]], Array]

_POPULATION, _GENERATIONS = 60, 15  # of NSGA-II on predictions


class PredictedProblem(Problem):  # type: ignore[misc]
    """A vectorised pymoo problem whose objectives are predictions of architectures.

    One integer variable for each choice of the space, from 0 to its options less one
    (:class:`~archrank.search.Choices`); real numbers count as the nearest integers, so that
    algorithms of either kind work. A whole population is predicted at once. Objectives to maximise
    come out negated, since pymoo minimises; inequality constraints are met at 0 or less.

    Args:
        space: a name or a space of choices.
        predictors: name -> a fitted predictor, or a function from a list of architectures to
            numbers. ``params``, ``flops`` and ``activations`` need none.
        objectives, constraints: as :class:`~archrank.search.Searcher` takes.
        task: what networks are built for.

    Raises:
        InputError: an argument is not as above, or a goal has no predictor.
        MissingExtraError: pymoo is not installed.

    Example:
        >>> from pymoo.optimize import minimize
        >>> widths = {"width": lambda archs: [sum(map(int, arch.split(":"))) for arch in archs]}
        >>> problem = PredictedProblem("nats_sss", widths, ["width"], ["width<=160"])
        >>> result = minimize(problem, nsga2(problem), ("n_gen", 20), seed=0)
        >>> sum(map(int, problem.archs(result.X)[0].split(":"))) > 150
        True
    """

    def __init__(
        self,
        space: str | Space,
        predictors: Any,
        objectives: str | Sequence[str] = "accuracy",
        constraints: str | Sequence[str] = (),
        task: str | None = None,
    ):
        self.choices = Choices(space)
        functions = {name: scorer(one, space, task) for name, one in dict(predictors).items()}
        self._knowledge = Knowledge(self.choices.space, task, functions)
        goals = Goals(objectives, constraints, self._knowledge)
        if goals.measured:
            raise InputError(
                f"predictors: got {', '.join(functions) or 'none'}, but the goals name "
                f"{', '.join(goals.measured)}, too"
            )
        self.objectives, self.constraints = goals.objectives, goals.constraints
        super().__init__(
            n_var=len(self.choices.counts),
            n_obj=len(self.objectives),
            n_ieq_constr=len(self.constraints),
            xl=0,
            xu=self.choices.counts - 1,
            vtype=int,
        )

    def archs(self, X: Any) -> list[str]:
        """The architectures of rows of variables (n, choices), or of one row."""
        return decoded(self.choices, np.atleast_2d(X))

    def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        archs = self.archs(X)
        out["F"] = np.stack(
            [-o.direction * self._knowledge.values(o.name, archs) for o in self.objectives], axis=1
        )
        if self.constraints:
            out["G"] = np.stack(
                [
                    c.direction * (self._knowledge.values(c.name, archs) - c.bound)
                    for c in self.constraints
                ],
                axis=1,
            )


def decoded(choices: Choices, X: Any) -> list[str]:
    """Canonical architectures of rows, real numbers as the nearest positions."""
    whole = np.clip(np.round(np.asarray(X, dtype=np.float64)), 0, choices.counts - 1)
    return [choices.space.canonical(choices.arch(row)) for row in whole]


def nsga2(
    problem: Any, starts: Sequence[Sequence[int]] = (), population: int = _POPULATION
) -> Algorithm:
    """pymoo's NSGA-II with operators for choices: uniform crossover, mutation to a random option.

    Args:
        problem: of integer variables with bounds.
        starts: rows that the first population begins with; the rest is random.
        population: its size.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    class AnyOption(Mutation):  # type: ignore[misc]
        """Each choice with chance 1 / choices to any of its options."""

        def _do(
            self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any
        ) -> Any:
            drawn = random_state.integers(
                problem.xl.astype(int), problem.xu.astype(int) + 1, X.shape
            )
            return np.where(random_state.random(X.shape) < 1 / problem.n_var, drawn, X)

    class Sampling(IntegerRandomSampling):  # type: ignore[misc]
        """The starts, then random rows."""

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
    """All architectures that NSGA-II looks at on its way to small costs.

    Args:
        space: of choices.
        costs: architectures to objectives (n, count) to minimise.
        count: of objectives.
        front: architectures to begin with.
        rng: what its seed is drawn from.
    """
    from pymoo.optimize import minimize

    choices = Choices(space)
    seen: dict[str, None] = {}

    class Hoped(Problem):  # type: ignore[misc]
        """What the predictors hope for."""

        def _evaluate(self, X: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            archs = decoded(choices, X)
            seen.update(dict.fromkeys(archs))
            out["F"] = np.nan_to_num(costs(archs), posinf=1e12)

    problem = Hoped(len(choices.counts), count, xl=0, xu=choices.counts - 1, vtype=int)
    starts = [choices.positions(arch).tolist() for arch in front]
    minimize(problem, nsga2(problem, starts), ("n_gen", _GENERATIONS), seed=rng.getrandbits(31))
    return list(seen)


def best_of_fronts(costs: Array, n: int) -> list[int]:
    """Positions of the ``n`` best by fronts, then by how alone they stand: NSGA-II's survival."""
    from pymoo.core.population import Population
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    people = Population.new(X=np.arange(len(costs))[:, None], F=costs)
    survivors = RankAndCrowding().do(
        Problem(1, costs.shape[1]), people, n_survive=min(n, len(costs)), random_state=_UNUSED
    )
    return [int(one.X[0]) for one in survivors]


_UNUSED = np.random.default_rng(0)  # ties that the survival would break at random, it never does
