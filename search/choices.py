"""Architectures as indices of the chosen options, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..basics import IntArray
from ..data.spaces.contract import ChoiceSpace, Space, Values
from ..errors import InputError
from .scoring import space_named


@dataclass(frozen=True)
class Choices:
    """Architectures as positions of the chosen options, one integer for each choice.

    A choice without effect may have any position; ``positions`` returns 0. Every array of
    positions within bounds is an architecture.

    Args:
        space: a space (or its name) whose architectures are lists of choices.

    Raises:
        InputError: the space is of another kind.

    Example:
        >>> choices = Choices("nats_sss")
        >>> choices.positions("8:64:8:8:16").tolist(), choices.arch([0, 7, 0, 0, 1])
        ([0, 7, 0, 0, 1], '8:64:8:8:16')
    """

    space: ChoiceSpace

    def __init__(self, space: str | Space):
        found = space_named(space)
        if not isinstance(found, ChoiceSpace):
            raise InputError(
                f"space: {found.name} is not made of choices; RandomSearch, "
                "RegularisedEvolution, LocalSearch and Searcher take any space"
            )
        object.__setattr__(self, "space", found)

    @property
    def names(self) -> list[str]:
        """The names of the choices."""
        return [choice.name for choice in self.space.choices]

    @property
    def counts(self) -> IntArray:
        """The number of options of each choice."""
        return np.array([len(choice.options) for choice in self.space.choices])

    def positions(self, arch: str) -> IntArray:
        """Return the position (choices,) of each choice's option; 0 where it has no effect."""
        return np.maximum(self.active_positions(arch), 0)

    def active_positions(self, arch: str) -> IntArray:
        """Return positions, with -1 where a choice has no effect."""
        pairs = zip(self.space.choices, self.space.values(arch), strict=True)
        return np.array([-1 if v is None else choice.options.index(v) for choice, v in pairs])

    def arch(self, positions: Any) -> str:
        """Return the architecture of positions.

        Raises:
            InputError: there is not one position for each choice, or one is out of bounds.
        """
        row = np.asarray(positions)
        if row.shape != (len(self.space.choices),):
            raise InputError(
                f"positions: got shape {row.shape}, expected {len(self.space.choices)} numbers"
            )
        whole = row.astype(np.int64)
        wrong = (whole != row) | (whole < 0) | (whole >= self.counts)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"positions: {self.names[at]} is {row[at]}, expected a whole number from 0 to "
                f"{self.counts[at] - 1}"
            )
        options = zip(self.space.choices, whole.tolist(), strict=True)
        return self.of_values(tuple(choice.options[i] for choice, i in options))

    def of_values(self, values: Values) -> str:
        """Return the architecture of values for all choices, including those without effect."""
        return self.space.format(self.space.masked(values))
