"""Where the channels of a tensor lie: convolutions have them second, linear layers last."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SECOND = frozenset(
    (
        *(torch.conv1d, torch.conv2d, torch.conv3d),
        *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        *(F.batch_norm, F.group_norm, F.instance_norm),
    )
)
"""Functions whose results have their channels second: (N, C, ...)."""

LAST = frozenset((F.linear, F.layer_norm, F.rms_norm))
"""Functions whose results have their channels last: (N, ..., C)."""


class Channels:
    """The places of channels, by what made the last tensor of a shape.

    Example:
        >>> seen, signal = Channels(), torch.zeros(2, 8, 30)
        >>> seen.last(signal)   # as tokens (N, T, C)
        True
        >>> seen.see(torch.conv1d, signal)
        >>> seen.last(signal + 1)
        False
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, ...], bool] = {}

    def see(self, func: Any, result: Any) -> None:
        """See the result of a function."""
        if func in SECOND or func in LAST:
            self._last[tuple(result.shape)] = func in LAST

    def last(self, tensor: Tensor) -> bool:
        """Return whether the channels are last: those of tokens are, if nothing says otherwise."""
        return self._last.get(tuple(tensor.shape), tensor.dim() <= 3)


def channels_last(features: Tensor) -> Tensor:
    """Return features (N, C, ...) as (N, ..., C)."""
    return features.movedim(1, -1)


def real_channels(features: Tensor, dim: int) -> Tensor:
    """Return complex channels as twice as many real ones."""
    pairs = torch.view_as_real(features.movedim(dim, -1).resolve_conj())
    return pairs.flatten(-2).movedim(-1, dim)
