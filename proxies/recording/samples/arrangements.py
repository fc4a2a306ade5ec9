"""In which ways samples may lie in the tensors of a batch of several."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

import torch
from torch import Tensor

from ..batches import Batch

_MOST = 32

Place = int | None
"""The dimension of the samples in a tensor (-1: the last), None in one that belongs to all."""


def arrangements(batch: Batch, outputs: int) -> Iterator[Batch]:
    """Yield a batch in each of the ways in which its samples may lie, the likeliest first.

    Args:
        batch: as it is given, whose first tensor holds samples.
        outputs: how many samples there are if sequences come first.

    Example:
        >>> sequences, padding = torch.zeros(5, 3, 8), torch.zeros(3, 5)
        >>> found = arrangements(Batch((sequences, padding), {}), 3)
        >>> [([*b.second], [*b.whole]) for b in found]
        [([], [1]), ([0], []), ([0], [1])]
    """
    stacked = batch.stacked()
    if stacked is not None:
        places = [_places(tensor, len(stacked)) for tensor in stacked.tensors[1:]]
        yield from _arranged(stacked, [[0], *places])
    first, *others = batch.tensors
    if not batch.holds_indices:
        yield from _arranged(batch, [[0], *(_places(t, len(batch)) for t in others)])
    if first.layout is torch.strided and first.dim() > 1 and first.shape[1] == outputs:
        yield from _arranged(batch, [[1], *(_places(t, outputs, second=True) for t in others)])
    for dim in (-1, *range(2, first.dim() - 1)) if first.layout is torch.strided else ():
        if first.dim() > 1 and first.shape[dim] == outputs:
            deep: list[list[Place]] = [[dim], *(_other_places(t, outputs, dim) for t in others)]
            yield from _arranged(batch, deep, moved=dim)


def _arranged(batch: Batch, places: list[list[Place]], moved: int = 1) -> Iterator[Batch]:
    for chosen in islice(product(*places), _MOST):
        second = frozenset(i for i, place in enumerate(chosen) if place == moved)
        whole = frozenset(i for i, place in enumerate(chosen) if place is None)
        yield batch.arranged(second, whole, moved)


def _places(tensor: Tensor, samples: int, second: bool = False) -> list[Place]:
    """Return where so many samples may lie in a tensor: of matrices in rows, else where allowed.

    It may belong to all of them, too, as a table does that has as many rows.
    """
    if tensor.layout is not torch.strided:
        return [None]
    dims = (1, 0) if second and tensor.dim() > 2 else (0, 1) if second else (0,)
    return [*(d for d in dims if d < tensor.dim() and tensor.shape[d] == samples), None]


def _other_places(tensor: Tensor, samples: int, dim: int) -> list[Place]:
    """Return where so many samples may lie in a tensor beside one that has them in ``dim``."""
    if tensor.layout is not torch.strided:
        return [None]
    deep = tensor.dim() > max(1, dim)
    moved: list[Place] = [dim] if deep and tensor.shape[dim] == samples else []
    return [*moved, *([0] if len(tensor) == samples else []), None]
