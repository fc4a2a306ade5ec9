"""Eigenvalues, or the reason why there are none."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import ScoreError


def finite(values: Tensor, what: str) -> Tensor:
    """The values themselves, if they are numbers.

    Raises:
        ScoreError: ``what`` holds NaN or infinities, of which a solver would only say that it did
            not converge.
    """
    if not bool(torch.isfinite(values).all()):
        raise ScoreError(f"{what} are not finite", "non-finite")
    return values


def eigenvalues(symmetric: Tensor, what: str) -> Tensor:
    """Eigenvalues of a symmetric matrix of ``what``, ascending, in float64."""
    values: Tensor = torch.linalg.eigvalsh(finite(symmetric.double(), what))
    return values
