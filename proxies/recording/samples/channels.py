"""Where the channels of a tensor lie: convolutions have them second, linear layers last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
        >>> seen.place(signal)   # as tokens (N, T, C)
        -1
        >>> seen.see(torch.conv1d, signal)
        >>> seen.place(signal + 1)
        1
        >>> cube = torch.zeros(3, 3, 3, 3)
        >>> seen.see(F.layer_norm, cube)
        >>> seen.see(torch.movedim, cube.movedim(-1, 0), (cube, -1, 0))
        >>> seen.place(cube)
        0
    """

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}

    def see(
        self,
        func: Any,
        result: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """See the result of a function."""
        if func in SECOND or func in LAST:
            self._places[tuple(result.shape)] = -1 if func in LAST else 1
        elif func in MOVING and args and tuple(args[0].shape) in self._places:
            place = _moved(func, args, kwargs or {}, self._places[tuple(args[0].shape)])
            self._places[tuple(result.shape)] = place

    def place(self, tensor: Tensor, layout: Layout | None = None) -> int:
        """Return the dimension of the channels, -1 for the last.

        The last are those of tokens, and of what has its samples second, if nothing says otherwise.
        """
        tokens = tensor.dim() <= 3 or (layout is not None and layout.dim == 1)
        return self._places.get(tuple(tensor.shape), -1 if tokens else 1)


def _moved(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int) -> int:
    """Return where a dimension is once one of ``MOVING`` changed their order, -1 for the last."""
    before = list(range(1, args[0].dim() + 1))
    after = [*func(torch.empty(before, device="meta"), *args[1:], **kwargs).shape]
    found = after.index(before[place])
    return -1 if found == len(after) - 1 else found


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
    place = _moved(func, args, kwargs, -1 if last else 1)
    return place == -1 if place in (-1, 1) else None


def by_sample(features: Tensor, layout: Layout, samples: int, place: int) -> Tensor:
    """Return features as (N, ..., C), samples first and channels last.

    Args:
        features: of a layer or a rectifier.
        layout: where the samples lie. They may lie among the channels, where each has weights of
            its own in one grouped convolution.
        samples: how many there are.
        place: the dimension of the channels, -1 for the last.

    Example:
        >>> by_sample(torch.zeros(1, 5 * 8, 7, 7), Layout(1, inner=8), 5, place=1).shape
        torch.Size([5, 7, 7, 8])
        >>> by_sample(torch.zeros(8, 7, 5), Layout(2), 5, place=0).shape
        torch.Size([5, 7, 8])
    """
    if place == -1:
        return layout.parts(features, samples)
    if layout.dim == place:
        return layout.parts(features, samples).flatten(1, 2).movedim(1, -1)
    behind = replace(layout, dim=layout.dim - (layout.dim > place))
    return behind.parts(features.movedim(place, -1), samples)


def real_channels(features: Tensor, dim: int) -> Tensor:
    """Return complex channels as twice as many real ones."""
    pairs = torch.view_as_real(features.movedim(dim, -1).resolve_conj())
    return pairs.flatten(-2).movedim(-1, dim)
