"""Where the channels of a tensor lie: convolutions have them second, linear layers last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..weights.applying import filtered, filtered_maps, grouped_linear
from .layout import Layout

SECOND = frozenset(
    (
        *(torch.conv1d, torch.conv2d, torch.conv3d),
        *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        *(F.batch_norm, F.group_norm, F.instance_norm, filtered_maps),
    )
)
"""Functions whose results have their channels second: (N, C, ...)."""

LAST = frozenset((F.linear, F.bilinear, F.layer_norm, F.rms_norm, filtered, grouped_linear))
"""Functions whose results have their channels last: (N, ..., C)."""

MOVING = frozenset(
    (
        *(torch.transpose, torch.swapaxes, torch.swapdims, torch.permute, torch.movedim),
        *(Tensor.transpose, Tensor.swapaxes, Tensor.swapdims, Tensor.permute, Tensor.movedim),
        *(torch.moveaxis, Tensor.moveaxis, Tensor.mT.__get__),  # type: ignore[attr-defined]
    )
)
"""Functions that change the order of dimensions and nothing else."""


class Channels:
    """The places of channels, by what made the last tensor of a shape.

    Example:
        >>> seen, signal = Channels(), torch.zeros(2, 8, 30)
        >>> seen.last(signal)   # as tokens (N, T, C)
        True
        >>> seen.see(torch.conv1d, signal)
        >>> seen.last(signal + 1)
        False
        >>> cube = torch.zeros(2, 3, 3, 3)
        >>> seen.see(F.layer_norm, cube)
        >>> seen.see(torch.movedim, cube.movedim(-1, 1), (cube, -1, 1))
        >>> seen.last(cube)
        False
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, ...], bool] = {}

    def see(
        self,
        func: Any,
        result: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """See the result of a function."""
        if func in SECOND or func in LAST:
            self._last[tuple(result.shape)] = func in LAST
        elif func in MOVING and args and tuple(args[0].shape) in self._last:
            last = moved_last(func, args, kwargs or {}, self._last[tuple(args[0].shape)])
            if last is not None:
                self._last[tuple(result.shape)] = last

    def last(self, tensor: Tensor, layout: Layout | None = None) -> bool:
        """Return whether the channels are last.

        Those of tokens are, and of what has its samples second, if nothing says otherwise.
        """
        otherwise = tensor.dim() <= 3 or (layout is not None and layout.dim == 1)
        return self._last.get(tuple(tensor.shape), otherwise)


def moved_last(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], last: bool
) -> bool | None:
    """Return whether the channels are last once one of ``MOVING`` changed the order of dimensions.

    Args:
        func: the function.
        args, kwargs: its arguments.
        last: whether they were last before, or else second.

    Returns:
        None if they are neither last nor second.

    Example:
        >>> image = torch.zeros(2, 8, 5, 5)
        >>> moved_last(torch.permute, (image, (0, 2, 3, 1)), {}, last=False)
        True
    """
    before = list(range(1, args[0].dim() + 1))
    after = [*func(torch.empty(before, device="meta"), *args[1:], **kwargs).shape]
    place = after.index(before[-1] if last else before[1])
    return place == len(after) - 1 if place in (1, len(after) - 1) else None


def channels_last(features: Tensor) -> Tensor:
    """Return features (N, C, ...) as (N, ..., C)."""
    return features.movedim(1, -1)


def by_sample(features: Tensor, layout: Layout, samples: int, last: bool) -> Tensor:
    """Return features as (N, ..., C), samples first and channels last.

    Args:
        features: with the channels second, or ``last``.
        layout: where the samples lie. They may lie among the channels, where each has weights of
            its own in one grouped convolution.
        samples: how many there are.

    Example:
        >>> by_sample(torch.zeros(1, 5 * 8, 7, 7), Layout(1, inner=8), 5, last=False).shape
        torch.Size([5, 7, 7, 8])
    """
    if last:
        return layout.parts(features, samples)
    if layout.dim == 1:
        return channels_last(layout.parts(features, samples).flatten(1, 2))
    return layout.parts(channels_last(features), samples)


def real_channels(features: Tensor, dim: int) -> Tensor:
    """Return complex channels as twice as many real ones."""
    pairs = torch.view_as_real(features.movedim(dim, -1).resolve_conj())
    return pairs.flatten(-2).movedim(-1, dim)
