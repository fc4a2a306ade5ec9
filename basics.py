"""Types and constants that many rooms share: a leaf module that every room may import."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Progress = Callable[[int, int, str], None]
"""A function that is called with how many pieces are done, of how many, and the last one's name."""

SIZES = ("params", "flops", "activations")
"""What every graph knows of a network's size, as attributes of ``archrank.Graph``."""
