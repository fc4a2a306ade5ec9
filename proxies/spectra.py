"""Eigenvalues and their entropy, or the reason why there are none."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ScoreError


def finite(values: Tensor, what: str) -> Tensor:
    """Return the values themselves, if they are numbers.

    Raises:
        ScoreError: ``what`` holds NaN or infinities, of which a solver would only say that it did
            not converge.
    """
    if not bool(torch.isfinite(values).all()):
        raise ScoreError(f"{what} are not finite", "non-finite")
    return values


def eigenvalues(symmetric: Tensor, what: str) -> Tensor:
    """Return the eigenvalues of a symmetric matrix of ``what``, ascending, in float64."""
    values: Tensor = torch.linalg.eigvalsh(finite(symmetric.double(), what))
    return values


def entropy(values: Tensor) -> Tensor:
    """Return the Shannon entropy, in nats, of non-negative float64 values over their sum.

    Example:
        >>> round(float(entropy(torch.tensor([2.0, 2.0, 0.0]).double())), 4)
        0.6931
    """
    shares = values / values.sum().clamp_min(1e-300)
    return -(shares * torch.log(shares.clamp_min(1e-300))).sum()
