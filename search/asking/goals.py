"""The goals of a search: objectives and constraints as short texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...basics import Array
from ...errors import InputError
from .knowledge import Knowledge
from .trials import Trial


@dataclass(frozen=True)
class Objective:
    """A quantity to maximise, or to minimise if its direction is -1."""

    name: str
    direction: float = 1.0

    def __str__(self) -> str:
        return self.name if self.direction > 0 else f"-{self.name}"


@dataclass(frozen=True)
class Constraint:
    """A bound: the quantity times ``direction`` must not exceed ``bound`` times ``direction``."""

    name: str
    direction: float
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.direction > 0 else '>='}{self.bound:g}"


def parsed_objectives(given: str | Sequence[str]) -> tuple[Objective, ...]:
    """Return objectives from names; a minus before one minimises it.

    Raises:
        InputError: there is no objective, one repeats, or one is not a name.

    Example:
        >>> parsed_objectives(["accuracy", "-latency"])[1]
        Objective(name='latency', direction=-1.0)
    """
    texts = [given] if isinstance(given, str) else list(given)
    made = []
    for text in texts:
        found = re.fullmatch(r"(-?)\s*([A-Za-z_][\w.]*)", text) if isinstance(text, str) else None
        if found is None:
            raise InputError(
                f"objectives: got {text!r}, expected a name, with a minus before it to minimise"
            )
        made.append(Objective(found[2], -1.0 if found[1] else 1.0))
    names = [objective.name for objective in made]
    if not names or len(set(names)) < len(names):
        raise InputError(f"objectives: got {texts}, expected at least one name, each once")
    return tuple(made)


def parsed_constraints(given: str | Sequence[str]) -> tuple[Constraint, ...]:
    """Return constraints from texts such as ``"params<=1e6"`` and ``"accuracy>=70"``.

    Raises:
        InputError: a constraint is not such a text.

    Example:
        >>> parsed_constraints("latency <= 5")
        (Constraint(name='latency', direction=1.0, bound=5.0),)
    """
    made = []
    for text in [given] if isinstance(given, str) else given:
        found = re.fullmatch(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=)\s*(\S+)\s*", text)
        try:
            bound = float(found[3]) if found else float("nan")
        except ValueError:
            bound = float("nan")
        if found is None or bound != bound:
            raise InputError(f"constraints: got {text!r}, expected such as 'params<=1e6'")
        made.append(Constraint(found[1], 1.0 if found[2] == "<=" else -1.0, bound))
    return tuple(made)


class Goals:
    """Objectives and constraints, on quantities that are known or measured.

    Args:
        objectives, constraints: the same as in ``Searcher``.
        knowledge: what is known of architectures.

    Raises:
        InputError: an objective or a constraint is not such a text.
    """

    def __init__(
        self,
        objectives: str | Sequence[str],
        constraints: str | Sequence[str],
        knowledge: Knowledge,
    ):
        self.objectives = parsed_objectives(objectives)
        self.constraints = parsed_constraints(constraints)
        self._knowledge = knowledge
        names = [o.name for o in self.objectives] + [c.name for c in self.constraints]
        self.measured = tuple(dict.fromkeys(n for n in names if not knowledge.knows(n)))
        """The names of the quantities that must be measured, in order."""

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    @property
    def directions(self) -> dict[str, float]:
        """Measured name -> 1, or -1 where less is better.

        A quantity that only constraints name has the direction that is safer for them. Failed
        trials count as the worst in that direction.
        """
        ways = {c.name: -c.direction for c in self.constraints}
        ways |= {o.name: o.direction for o in self.objectives}
        return {name: ways[name] for name in self.measured}

    def values(self, trials: Sequence[Trial]) -> Array:
        """Return objectives (trials, objectives) of trials that are done; larger is better."""
        columns = [o.direction * self._quantity(o.name, trials) for o in self.objectives]
        return np.stack(columns, axis=1)

    def excess(self, trials: Sequence[Trial]) -> Array:
        """Return by how much finished trials violate constraints; at most 0 if they do not."""
        columns = [
            c.direction * (self._quantity(c.name, trials) - c.bound) for c in self.constraints
        ]
        return np.max(columns, axis=0) if columns else np.zeros(len(trials))

    def known_excess(self, keys: Sequence[str]) -> Array:
        """Return by how much architectures violate known constraints, relative to bounds.

        The excess is 0 for those that violate none, and infinite for those that cannot be built.
        """
        total = np.full(len(keys), np.inf)
        built = [i for i, key in enumerate(keys) if self._knowledge.can_be_built(key)]
        total[built] = 0.0
        for constraint in self.known_constraints:
            values = self._knowledge.values(constraint.name, [keys[i] for i in built])
            over = constraint.direction * (values - constraint.bound)
            total[built] += np.maximum(over, 0.0) / (abs(constraint.bound) or 1.0)
        return total

    @property
    def known_constraints(self) -> list[Constraint]:
        """The constraints that can be checked without measuring."""
        return [c for c in self.constraints if self._knowledge.knows(c.name)]

    @property
    def measured_constraints(self) -> list[Constraint]:
        """The constraints that need measured values."""
        return [c for c in self.constraints if not self._knowledge.knows(c.name)]

    def front(self, done: Sequence[Trial]) -> list[Trial]:
        """Return the Pareto front of the trials that meet all constraints.

        Raises:
            InputError: no trial meets them; the message says which comes nearest.
        """
        if not done:
            raise InputError("best: nothing was told yet")
        excess = self.excess(done)
        met = [trial for trial, over in zip(done, excess, strict=True) if over <= 0]
        if not met:
            raise InputError(
                f"constraints: none of {len(done)} results meets "
                f"{', '.join(map(str, self.constraints))}; nearest is "
                f"{done[int(np.argmin(excess))].arch!r}"
            )
        table = self.values(met)
        beats = (table[:, None] >= table).all(axis=2) & (table[:, None] > table).any(axis=2)
        front = np.flatnonzero(~beats.any(axis=0))
        return [met[i] for i in front[np.argsort(-table[front, 0], kind="stable")]]

    def _quantity(self, name: str, trials: Sequence[Trial]) -> Array:
        if self._knowledge.knows(name):
            keys = [self._knowledge.space.canonical(trial.arch) for trial in trials]
            return self._knowledge.values(name, keys)
        return np.array([trial.values[name] for trial in trials], dtype=np.float64)
