"""Types and constants that many rooms share: a leaf module that every room may import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

IntArray = npt.NDArray[np.int64]

Progress = Callable[[int, int, str], None]
"""A function that is called with how many pieces are done, of how many, and the last one's name."""

SIZES = ("params", "flops", "activations")
"""What every graph knows of a network's size, as attributes of ``archrank.Graph``."""


@dataclass(frozen=True)
class Finished:
    """One result of a long run, as it comes.

    Attributes:
        number: how many results there are with this one, from 1; trackers call it the step.
        name: of the candidate or the architecture.
        values: by name what is known of it: proxies (means over seeds) and costs, or what was told.
        failures: name -> why there is no value; ``"all"`` if there is none at all.
        seed: of the scores, where each seed is a result of its own.
    """

    number: int
    name: str
    values: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None


Callback = Callable[[Finished], object]
"""A function that gets each result as it comes; what it raises ends the run."""
