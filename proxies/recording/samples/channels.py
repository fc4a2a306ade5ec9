"""Where the channels of a tensor lie: convolutions have them second, linear layers last.

Views, parts and moves of a tensor take them along, so that a rectifier has the same features before
and after heads, windows or positions are arranged in other dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....graphs.arguments import nested_tensors
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

_ARRANGING = frozenset(
    "view _unsafe_view _reshape_alias permute transpose t unsqueeze squeeze expand slice select "
    "split split_with_sizes unbind flip pixel_shuffle pixel_unshuffle channel_shuffle".split()
)
"""ATen calls that give the numbers of one tensor, or some of them, in other places."""

_REDUCING = frozenset("mean sum amax amin max min logsumexp".split())
_PRODUCTS = frozenset("mm bmm addmm baddbmm addbmm mv dot convolution".split())


class _Numbers:
    """The number of the channel that each element of a tensor is of, made when it is asked for."""

    def __init__(self, make: Callable[[], Any]):
        self._make = make

    @cached_property
    def made(self) -> Any:
        """The numbers, repeated without copies where they can be; None if nothing says them."""
        return self._make()


class Channels:
    """The channels of tensors, by what made the last one of a shape.

    Example:
        >>> seen, signal = Channels(), torch.zeros(2, 8, 30)
        >>> seen.see(torch.conv1d, signal)
        >>> by_channel(signal, Layout(), 2, seen.of(signal)).shape
        torch.Size([2, 30, 8])
        >>> heads = signal.view(2, 4, 2, 30)
        >>> seen.see_step(torch.ops.aten.view.default, (signal, (2, 4, 2, 30)), {}, heads)
        >>> by_channel(heads, Layout(), 2, seen.of(heads)).shape
        torch.Size([2, 30, 8])
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, ...], _Numbers] = {}

    def see(self, func: Any, result: Any) -> None:
        """See the result of a function of torch."""
        if func in SECOND or func in LAST:
            shape = tuple(result.shape)
            place = len(shape) - 1 if func in LAST else 1
            self._numbers[shape] = _Numbers(lambda: _numbered(shape, place))

    def see_step(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        """See the result of an ATen call: channels go where it takes the numbers."""
        name = func.overloadpacket.__name__.rstrip("_")
        read = [(tuple(t.shape), self._numbers.get(tuple(t.shape))) for t in nested_tensors(args)]
        several = isinstance(result, (tuple, list))
        if name in _ARRANGING and func._overloadname != "dtype" and read[0][1] is not None:
            arranged = _arranged(func, args[1:], kwargs, read[0][1])
            for i, made in enumerate(result if several else [result]):
                self._numbers[tuple(made.shape)] = _part(arranged, i) if several else arranged
            return
        made = result[0] if several and result else result
        if not isinstance(made, Tensor) or any(shape == made.shape for shape, _ in read):
            return
        found = _kept(name, args, read, tuple(made.shape))
        if found is None:
            self._numbers.pop(tuple(made.shape), None)
        else:
            self._numbers[tuple(made.shape)] = found

    def of(self, tensor: Tensor) -> Tensor | None:
        """Return the number of the channel that each element is of; None if nothing says so."""
        known = self._numbers.get(tuple(tensor.shape))
        return None if known is None else known.made


def _numbered(shape: tuple[int, ...], place: int) -> Tensor:
    """Return the numbers of channels that lie in one dimension."""
    ones = [1] * len(shape)
    ones[place] = shape[place]
    return torch.arange(shape[place], dtype=torch.int32).view(ones).expand(shape)


def _arranged(
    func: Any, rest: tuple[Any, ...], kwargs: Mapping[str, Any], source: _Numbers
) -> _Numbers:
    """Return the numbers that a call arranges as it does its operand."""
    # a view of numbers that are repeated without copies needs some
    function = torch.ops.aten.reshape if "view" in func.overloadpacket.__name__ else func
    rest = rest[:1] if function is not func else rest

    def make() -> Any:
        return None if source.made is None else function(source.made, *rest, **kwargs)

    return _Numbers(make)


def _part(several: _Numbers, index: int) -> _Numbers:
    return _Numbers(lambda: None if several.made is None else several.made[index])


Read = list[tuple[tuple[int, ...], _Numbers | None]]
"""The shapes of operands, and the numbers of their channels."""


def _kept(name: str, args: tuple[Any, ...], read: Read, shape: tuple[int, ...]) -> _Numbers | None:
    """Return the numbers of a result in which channels lie as in one of the operands."""
    known = [numbers for _, numbers in read if numbers is not None]
    if not known or name in _PRODUCTS:
        return None
    if name == "cat":
        dim = args[1] if len(args) > 1 else 0
        return _Numbers(lambda: _joined(read, dim % len(shape), shape))
    if name in _REDUCING and len(args) > 1 and len(shape) < len(read[0][0]):
        dims = args[1] if isinstance(args[1], (tuple, list)) else [args[1]]
        return _Numbers(lambda: _without(known[0].made, dims))

    def first() -> Tensor | None:
        found = (_spread(one.made, shape) for one in known)
        return next((numbers for numbers in found if numbers is not None), None)

    return _Numbers(first)


def _repeated(numbers: Tensor, dim: int) -> bool:
    return numbers.shape[dim] == 1 or numbers.stride(dim) == 0


def _without(numbers: Tensor | None, dims: Any) -> Tensor | None:
    """Return the numbers without some dimensions; None if channels lie there."""
    if numbers is None:
        return None
    for dim in sorted((d % numbers.dim() for d in dims), reverse=True):
        if not _repeated(numbers, dim):
            return None
        numbers = numbers.select(dim, 0)
    return numbers


def _spread(numbers: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """Return the numbers in a shape that differs where no channels lie; None of any other."""
    if numbers is None or numbers.dim() != len(shape):
        return None
    for dim, size in enumerate(shape):
        if _repeated(numbers, dim):
            numbers = numbers.narrow(dim, 0, 1)
        elif numbers.shape[dim] != size:
            return None
    return numbers.expand(shape)


def _joined(read: Read, dim: int, shape: tuple[int, ...]) -> Tensor | None:
    """Return the numbers of tensors one behind the other: in channels, or in what is none."""
    parts = [(size, None if one is None else one.made) for size, one in read]
    known = [numbers for _, numbers in parts if numbers is not None]
    if not known or _repeated(known[0], dim):
        return _spread(known[0], shape) if known else None
    return _numbered(shape, dim) if all(_only(numbers, dim) for numbers in known) else None


def _only(numbers: Tensor, place: int) -> bool:
    """Return whether channels lie in no dimension but one."""
    return all(d == place or _repeated(numbers, d) for d in range(numbers.dim()))


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


def by_channel(features: Tensor, layout: Layout, samples: int, numbers: Tensor | None) -> Tensor:
    """Return what a rectifier gives as (N, ..., C).

    Args:
        features: of a rectifier.
        layout: where the samples lie.
        samples: how many there are.
        numbers: of the channels, by ``Channels``. Where nothing says otherwise, the last dimension
            is that of the channels of tokens, and of what has its samples second.
    """
    usual = -1 if features.dim() <= 3 or layout.dim == 1 else 1
    if numbers is None:
        return by_sample(features, layout, samples, usual)
    if layout.outer * layout.inner == 1:  # each may have channels of its own
        numbers = numbers.select(layout.dim, 0).unsqueeze(layout.dim).expand(features.shape)
    places = [d for d in range(features.dim()) if not _repeated(numbers, d)]
    others = [d for d in range(features.dim()) if d not in places]
    apart = numbers[tuple(slice(None) if d in places else 0 for d in range(features.dim()))]
    shared = len(places) > 1 and layout.dim in places
    if shared or len(apart.unique()) != apart.numel():  # with samples, or with positions
        found = _gathered(features, layout, samples, numbers)
        return by_sample(features, layout, samples, usual) if found is None else found
    if len(places) == 1:
        return by_sample(features, layout, samples, places[0])
    moved = features.permute(*others, *places)
    moved = moved.flatten(len(others)) if places else moved[..., None]
    return by_sample(moved, replace(layout, dim=others.index(layout.dim)), samples, -1)


def _gathered(features: Tensor, layout: Layout, samples: int, numbers: Tensor) -> Tensor | None:
    """Return (N, positions, C) of channels that lie anywhere; None if their positions differ."""
    element = torch.arange(features.shape[layout.dim]) // layout.inner % samples
    sample = element.view(-1, *[1] * (features.dim() - 1 - layout.dim)).expand(features.shape)
    channels = int(numbers.max()) + 1
    keys = (sample * channels + numbers).flatten()
    counts = torch.bincount(keys, minlength=samples * channels)
    counts = counts[counts > 0]
    if len(counts) % samples or bool((counts != counts[0]).any()):
        return None
    order = keys.argsort(stable=True).to(features.device)
    return features.flatten()[order].view(samples, -1, int(counts[0])).transpose(1, 2)


def real_channels(features: Tensor, dim: int) -> Tensor:
    """Return complex channels as twice as many real ones."""
    pairs = torch.view_as_real(features.movedim(dim, -1).resolve_conj())
    return pairs.flatten(-2).movedim(-1, dim)
