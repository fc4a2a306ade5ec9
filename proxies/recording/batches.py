"""Batches: the arguments of one forward, made from the data that the user passed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError, NotApplicable
from ...graphs import Graph, trace
from ...graphs.inputs.models import float_type
from ...graphs.inputs.tensors import is_list_of_tensors, is_shape, tensors_in
from ..given_data import drawn, parted
from .samples.structures import mapped


@dataclass(frozen=True)
class Batch:
    """The arguments of one forward, and the targets of its loss if there are any.

    Attributes:
        args, kwargs: of the forward.
        targets: of its loss.
        together: whether no sample can run alone, as the nodes of a graph cannot.
        whole: the places, among the tensors, of those that belong to all samples. They may have as
            many rows as there are samples, as a mask of as many tokens has.
        second: the places of tensors in which forward takes samples in the second dimension, behind
            a sequence, or in dimension ``place``. In this batch, samples come first all the same.
        by_step: whether outputs and targets also have samples second, behind a sequence, or are
            flattened in that order.
        outputs: the number of samples if samples are not rows: whole graphs, or bags.
        place: the dimension of samples in tensors that are ``second``: 1, -1 for the last one, or
            another.
        listed: the places of tensors that forward takes as lists of rows, as detectors do.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: Any = None
    together: bool = False
    whole: frozenset[int] = frozenset()
    second: frozenset[int] = frozenset()
    by_step: bool = False
    outputs: int | None = None
    place: int = 1
    listed: frozenset[int] = frozenset()

    @property
    def taken(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and keyword arguments as forward takes them."""
        moved = self._moved(self.second, 0, self.place) if self.second else self
        if not self.listed:
            return moved.args, moved.kwargs
        listed = {id(tensor) for tensor in self._at(self.listed)}
        arguments = (moved.args, moved.kwargs)
        args, kwargs = mapped(arguments, lambda t: [*t.unbind()] if id(t) in listed else t)
        return args, kwargs

    @property
    def entries(self) -> int:
        """How many tensors its lists hold, 0 if there is none."""
        given = (*self.args, *self.kwargs.values())
        return next((len(value) for value in given if is_list_of_tensors(value)), 0)

    def stacked(self) -> Batch | None:
        """Return the batch with its lists of tensors as tensors, None if it has none of one shape.

        Example:
            >>> images = [torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]
            >>> batch = Batch((images,), {}).stacked()
            >>> len(batch), batch.args[0].shape, len(batch.rows(1, 2).taken[0][0])
            (2, torch.Size([2, 3, 8, 8]), 1)
        """
        found = [v for v in (*self.args, *self.kwargs.values()) if is_list_of_tensors(v)]
        if not found or any(len({t.shape for t in v}) > 1 or v[0].dim() == 0 for v in found):
            return None

        def stack(value: Any) -> Any:
            return torch.stack(value) if is_list_of_tensors(value) else value

        args = tuple(map(stack, self.args))
        made = replace(self, args=args, kwargs={n: stack(v) for n, v in self.kwargs.items()})
        own = {id(tensor) for tensor in self.tensors}
        return replace(
            made, listed=frozenset(i for i, t in enumerate(made.tensors) if id(t) not in own)
        )

    @property
    def samples(self) -> int:
        """How many samples the outputs are of."""
        return len(self) if self.outputs is None else self.outputs

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments that hold samples; a number belongs to all of them."""
        return [t for t in tensors_in((self.args, self.kwargs)) if t.dim() > 0]

    def __len__(self) -> int:
        return next((int(t.shape[0]) for t in self.tensors), 0)

    @property
    def held(self) -> list[Tensor]:
        """The tensors that hold samples, one in each row; masks and edges do not."""
        size, others = len(self), self.squares if self.together else self._at(self.whole)
        return [
            t
            for t in self.tensors
            if t.shape[0] == size
            and t.layout is torch.strided
            and not any(t is other for other in others)
        ]

    @property
    def squares(self) -> list[Tensor]:
        """Matrices (N, N) beside the first tensor: of samples, or between what there is N of."""
        size = len(self)
        return [t for t in self.tensors[1:] if t.shape == (size, size)]

    @property
    def holds_indices(self) -> bool:
        """Whether it says, by indices or a sparse matrix, which of its rows go together."""
        size = len(self)
        return any(
            t.layout is not torch.strided
            or (t.shape[0] not in (1, size) and t.dtype in (torch.int32, torch.int64))
            for t in self.tensors
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the same batch with ``change`` applied to the inputs of samples.

        Numbers, masks, and tensors that say which samples belong together stay as they are.
        """
        held = {id(tensor) for tensor in self.held}

        def changed(tensor: Tensor) -> Tensor:
            return change(tensor) if id(tensor) in held else tensor

        return self._mapped(changed)

    def copied(self) -> Batch:
        """Return a batch of copies, for a forward to write to."""
        return self._mapped(Tensor.clone)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        args, kwargs = mapped((self.args, self.kwargs), change)
        return replace(self, args=args, kwargs=kwargs)

    def _at(self, places: frozenset[int]) -> list[Tensor]:
        return [tensor for i, tensor in enumerate(self.tensors) if i in places]

    def _moved(self, places: frozenset[int], start: int, stop: int) -> Batch:
        moving = {id(tensor) for tensor in self._at(places)}
        return self._mapped(lambda t: t.movedim(start, stop) if id(t) in moving else t)

    def arranged(
        self, second: frozenset[int], whole: frozenset[int] = frozenset(), place: int = 1
    ) -> Batch:
        """Return the batch with samples first in the tensors at the places ``second``."""
        moved = self._moved(second, place, 0) if second else self
        return replace(moved, second=second, whole=whole, place=place)

    def in_precision(self, dtype: torch.dtype) -> Batch:
        """Return the same batch with all its numbers in the precision of ``dtype``."""

        def changed(tensor: Tensor) -> Tensor:
            return in_precision(tensor, dtype)

        return self._mapped(changed)

    def check_floating(self) -> None:
        """Refuse inputs that cannot be perturbed.

        Raises:
            NotApplicable: all inputs are whole numbers, or one is complex.
        """
        if any(t.is_complex() for t in self.tensors):
            raise NotApplicable("needs a real input to perturb; this one is complex")
        if not any(t.is_floating_point() for t in self.tensors):
            raise NotApplicable("needs a floating-point input to perturb; this one is integer")

    def rows(self, start: int, stop: int) -> Batch:
        """Return samples ``start`` to ``stop`` of inputs and targets."""
        size, kept = len(self), self._at(self.whole)
        args, kwargs = rows_of((self.args, self.kwargs), start, stop, size, kept)
        if self.by_step and isinstance(self.targets, Tensor) and self.targets.dim() > 1:
            targets = self.targets[:, start:stop]
        else:
            targets = rows_of(self.targets, start, stop, size, kept)
        return replace(self, args=args, kwargs=kwargs, targets=targets)


def samples_first(batches: list[Batch], model: nn.Module, graph: Graph, inputs: Any) -> list[Batch]:
    """Return the batches of a model with samples first, wherever its graph shows them to be.

    Args:
        batches: of one tensor each, or others, which come back as they are.
        model: whose they are.
        graph: of one sample.
        inputs: as ``make_batches`` got them; what was made of a shape has samples first.
    """
    if is_shape(inputs):
        if not _takes_sequences_first(model, graph, inputs):
            return batches
        by_step = _outputs_by_step(graph, inputs[0])
        return [replace(b, second=_FIRST, by_step=by_step) for b in batches]
    return [_samples_first(batch, graph) for batch in batches]


def _samples_first(batch: Batch, graph: Graph) -> Batch:
    if _holds_sequences(batch, graph):
        return replace(batch.arranged(_FIRST), by_step=_outputs_by_step(graph, len(batch)))
    place = _other_place(batch, graph)
    return batch if place is None else batch.arranged(_FIRST, place=place)


_FIRST = frozenset({0})


def _outputs_by_step(graph: Graph, steps: int) -> bool:
    shape = next((node.out_shape for node in graph.nodes if node.operator == "output"), ())
    return shape[:1] == (steps,) and (steps > 1 or len(shape) > 2)


def _takes_sequences_first(model: nn.Module, graph: Graph, shape: Sequence[int]) -> bool:
    steps = shape[0]
    if steps == 1:  # of one step and one sample the graph does not say which is which
        if all(getattr(module, "batch_first", True) for module in model.modules()):
            return False
        steps = 2
        graph = trace(model, torch.zeros(steps, *shape, dtype=float_type(model)))
    return [one[:2] for one in graph.input_shapes] == [(steps, 1)]


def _holds_sequences(batch: Batch, graph: Graph) -> bool:
    shapes = graph.input_shapes
    if len(batch.args) != 1 or len(batch.tensors) != 1 or len(shapes) != 1:
        return False
    (tensor,), (shape,) = batch.tensors, shapes
    rows = tensor.shape[:2]
    return tensor.dim() == len(shape) and shape[:2] == (rows[0], 1) and rows.numel() > 1


def _other_place(batch: Batch, graph: Graph) -> int | None:
    """Return the dimension of which one element was traced, if it is not the first."""
    shapes = graph.input_shapes
    if len(batch.args) != 1 or len(batch.tensors) != 1 or len(shapes) != 1 or len(batch) < 2:
        return None
    shape, traced = tuple(batch.tensors[0].shape), shapes[0]
    if len(shape) != len(traced):
        return None
    (*differ,) = (dim for dim, size in enumerate(shape) if traced[dim] != size)
    return differ[0] if len(differ) == 1 and differ[0] > 0 and traced[differ[0]] == 1 else None


def rows_of(value: Any, start: int, stop: int, size: int, kept: Sequence[Tensor] = ()) -> Any:
    """Return ``value`` with only rows ``start`` to ``stop`` of each tensor that has ``size`` rows.

    Tensors that are ``kept`` stay whole. A list with an entry for each row keeps some entries.
    """
    if _lists_rows(value, size):
        return value[start:stop]

    def cut(tensor: Tensor) -> Tensor:
        whole = tensor.dim() == 0 or tensor.shape[0] != size or any(tensor is t for t in kept)
        return tensor if whole else tensor[start:stop]

    return mapped(value, cut)


def _lists_rows(value: Any, size: int) -> bool:
    """Return whether a value is a list of rows, not one of tensors that have ``size`` rows each."""
    if type(value) is not list or len(value) != size:
        return False
    return not all(isinstance(one, Tensor) and one.shape[:1] == (size,) for one in value)


def in_precision(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a floating or complex tensor in the precision of ``dtype``, any other as it is."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def as_real(tensor: Tensor) -> Tensor:
    """Return a complex tensor as pairs of real numbers, as it is trained, any other as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter; the CPU if it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def make_batches(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    seed: int,
    batch_size: int,
    dtype: torch.dtype,
    count: int,
) -> list[Batch]:
    """Return up to ``count`` batches from what the user passed, on the model's device.

    A shape gives normal random inputs, the same for the same seed. A tensor, tuple or dict is one
    batch. ``drawn`` documents all other data, and ``parted`` how targets are told from inputs.
    """
    device = device_of(model)

    def place(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().to(device)
        tensor = tensor.clone() if tensor.is_inference() else tensor
        return in_precision(tensor, dtype)

    if is_shape(inputs):
        generator = torch.Generator().manual_seed(seed)
        rows = [torch.randn(batch_size, *inputs, generator=generator) for _ in range(count)]
        batches = [Batch((r,), {}, targets) for r in rows]
    else:
        given = drawn(inputs, batch_size, count, seed)
        several = isinstance(given, list)
        parts = given[:count] if several else [given]
        # Targets are those of a single batch.
        own = targets if len(parts) == 1 else None
        batches = [_batch(*parted(model, part, own, several)) for part in parts]
    for batch in batches:
        if len(batch) == 0:
            raise InputError("inputs: a batch holds no sample; expected a batch dimension first")
    return [Batch(mapped(b.args, place), mapped(b.kwargs, place), b.targets) for b in batches]


def _batch(given: Any, targets: Any) -> Batch:
    if isinstance(given, Mapping):
        return Batch((), dict(given), targets)
    return Batch(given if isinstance(given, tuple) else (given,), {}, targets)
