"""Predictions as a problem for the algorithms of pymoo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.spaces.contract import Space
from ...errors import InputError, MissingExtraError
from ..asking.fronts import decoded
from ..asking.goals import Goals
from ..asking.knowledge import Knowledge
from ..choices import Choices
from ..scoring import scorer

try:
    from pymoo.core.problem import Problem
except ImportError as error:
    raise MissingExtraError("a problem for pymoo", "pymoo", "pymoo", error) from error


class PredictedProblem(Problem):  # type: ignore[misc]
    """A vectorised pymoo problem whose objectives are predictions of architectures.

    There is one integer variable for each choice of the space, from 0 to the number of its options
    minus one (``Choices``). Real numbers are rounded, so algorithms for integers and for real
    numbers both work. A whole population is predicted at once. Objectives to maximise are negated,
    since pymoo minimises; inequality constraints are met at 0 or less.

    Args:
        space: a name or a space of choices.
        predictors: name -> a fitted predictor, or a function from a list of architectures to
            numbers. ``params``, ``flops`` and ``activations`` need none.
        objectives, constraints: the same as in ``Searcher``.
        task: the task of the networks.

    Raises:
        InputError: an argument is invalid, or a goal has no predictor.
        MissingExtraError: pymoo is not installed.

    Example:
        >>> from pymoo.optimize import minimize
        >>> widths = {"width": lambda archs: [sum(map(int, arch.split(":"))) for arch in archs]}
        >>> problem = PredictedProblem("nats_sss", widths, ["width"], ["width<=160"])
        >>> from archrank.search import nsga2
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
        """Return the architectures of rows of variables (n, choices), or of one row."""
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
