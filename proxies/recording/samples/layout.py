"""Where the samples lie in a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....graphs.inputs.tensors import tensors_in


@dataclass(frozen=True)
class Layout:
    """The place of the samples in a tensor.

    Dimension ``dim`` has ``outer * samples * inner`` elements, and element ``e`` of it belongs to
    sample ``(e // inner) % samples``: (N, T, C) is dimension 0, (T, N, C) dimension 1, and windows
    or frames folded into the batch, (N * k, ...), dimension 0 with an inner size of k.
    """

    dim: int = 0
    outer: int = 1
    inner: int = 1

    def fits(self, tensor: Tensor, samples: int) -> bool:
        """Return whether a tensor can lie so."""
        if tensor.dim() <= self.dim:
            return False
        return int(tensor.shape[self.dim]) == self.outer * samples * self.inner

    def parts(self, tensor: Tensor, samples: int) -> Tensor:
        """Return the tensor as (N, ...), samples first, what was folded behind its dimension.

        Example:
            >>> Layout(1).parts(torch.zeros(7, 2, 3), 2).shape
            torch.Size([2, 7, 3])
            >>> Layout(0, inner=4).parts(torch.zeros(8, 7, 3), 2).shape
            torch.Size([2, 4, 7, 3])
        """
        folded = self.outer * self.inner
        if folded == 1:
            return tensor.movedim(self.dim, 0) if self.dim else tensor
        apart: Tensor = tensor.unflatten(self.dim, (self.outer, samples, self.inner))
        return apart.movedim(self.dim + 1, 0).flatten(self.dim + 1, self.dim + 2)

    def whole(self, parts: Tensor, shape: torch.Size) -> Tensor:
        """Return what ``parts`` made of a tensor of this shape as it was."""
        folded = self.outer * self.inner
        if folded == 1:
            return parts.movedim(0, self.dim) if self.dim else parts
        apart: Tensor = parts.unflatten(self.dim + 1, (self.outer, self.inner))
        return apart.movedim(0, self.dim + 1).reshape(shape)


ROWS = Layout()
"""Samples are the rows: the first dimension, and nothing else is in it."""


def is_close(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are the same but for rounding."""
    if one.shape != other.shape:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    if one.numel() == 0:
        return True
    scale = max(float(other.abs().max()), 1e-12)
    return not float((one - other).abs().max()) > 3 * torch.finfo(one.dtype).eps ** 0.5 * scale


def layout_of(
    tensor: Tensor, samples: int, alone: Tensor, position: int
) -> tuple[Layout | None, bool]:
    """Return where the samples lie, and whether values prove it.

    One dimension must have grown with the samples; values prove its layout if what lies there for
    sample ``position`` is what the sample gives alone, and nowhere else is.

    Example:
        >>> x = torch.arange(12.0).view(4, 3)    # two samples of two rows each
        >>> layout_of(x, 2, x[2:], 1)
        (Layout(dim=0, outer=1, inner=2), True)
        >>> layout_of(x, 2, x[1::2], 1)
        (Layout(dim=0, outer=2, inner=1), True)
        >>> layout_of(x - x.mean(0), 2, x[2:], 1)
        (None, False)
    """
    possible = _possible(tensor, samples, alone)
    fitting = [
        layout
        for layout in possible
        if is_close(layout.parts(tensor, samples)[position], layout.parts(alone, 1)[0])
    ]
    if fitting:
        return fitting[0], len(fitting) == 1
    # Of samples that are mixed by values, the shape still says which is which.
    return (possible[0] if len(possible) == 1 else None), False


def lies_elsewhere(tensor: Tensor, samples: int, alone: Tensor, position: int) -> bool:
    """Return whether what a sample gives alone lies where another sample should.

    Example:
        >>> x = torch.arange(12.0).view(4, 3)
        >>> lies_elsewhere(x, 4, x[2:3], 1), lies_elsewhere(x, 4, x[2:3], 2)
        (True, False)
    """
    found = False
    for layout in _possible(tensor, samples, alone):
        parts, own = layout.parts(tensor, samples), layout.parts(alone, 1)[0]
        if is_close(parts[position], own):
            return False
        found = found or any(is_close(part, own) for part in parts)
    return found


def _possible(tensor: Tensor, samples: int, alone: Tensor) -> list[Layout]:
    """Return where samples may lie in a tensor, by the shape that one has alone."""
    if tensor.dim() != alone.dim():
        return []
    grown = [d for d in range(tensor.dim()) if tensor.shape[d] != alone.shape[d]]
    if samples == 1 and not grown and tensor.dim():
        grown = [0]
    if len(grown) != 1 or tensor.shape[grown[0]] != samples * alone.shape[grown[0]]:
        return []
    return [*_candidates(grown[0], int(alone.shape[grown[0]]))]


def _candidates(dim: int, folded: int) -> Iterator[Layout]:
    for inner in range(folded, 0, -1):
        if folded % inner == 0:
            yield Layout(dim, folded // inner, inner)


def independent(output: Any, alone: Any, samples: int, position: int) -> bool:
    """Return whether each tensor of the output holds, as a row, what the sample gives alone."""
    pairs = [*tensors_in(output)], [*tensors_in(alone)]
    if len(pairs[0]) != len(pairs[1]):
        return False
    return all(
        t.dim() > 0 and len(t) == samples and is_close(t[position : position + 1].detach(), one)
        for t, one in zip(*pairs, strict=True)
    )
