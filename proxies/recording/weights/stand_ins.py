"""Stand-ins of parameters and buffers, on which a model runs in their place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ....graphs.inputs.models import float_type
from ..batches import as_real, in_precision
from .effective import EffectiveWeights, applied_as
from .parameters import named_parameters

MOST_COPIED = 1 << 26
"""Elements up to which what a model may write to is copied."""

Change = Callable[[str, Tensor], Tensor]
"""(name, parameter) -> what stands in for it."""


@dataclass
class Place:
    """The place of a buffer, or of a frozen parameter, in a model that runs on its stand-in.

    Frozen parameters may be averages of others, which forwards write to, as those of teachers.
    """

    table: dict[str, Any]
    name: str
    original: Tensor
    stand_in: Tensor
    is_parameter: bool = False

    def __post_init__(self) -> None:
        self._version, self._memory = self.stand_in._version, self.stand_in.detach()

    def _is_changed(self) -> bool:
        if not self.is_parameter:
            return self.stand_in._version != self._version
        # What is written to its data counts for no version.
        return not torch.equal(self.stand_in, self.original)

    def rewind(self) -> None:
        """Give it its original values again, if a forward changed them."""
        replaced = self.table.get(self.name) is not self.stand_in
        if self.is_parameter and self.stand_in.data_ptr() != self._memory.data_ptr():
            self.stand_in.data = self._memory
        if replaced or self._is_changed():
            self.stand_in.data.copy_(self.original)  # what a backward may have kept is the same
            self.table[self.name], self._version = self.stand_in, self.stand_in._version


class StandIns(NamedTuple):
    """The tensors on which a model runs.

    Attributes:
        leaves: what gradients are taken of, by name.
        of: id of a parameter or buffer -> its stand-in.
    """

    leaves: dict[str, Tensor]
    of: dict[int, Tensor]

    def put_into(self, model: nn.Module) -> list[Place]:
        """Let a model run on them; return the places of buffers and of frozen parameters.

        Whoever calls restores all.
        """
        places = []
        left = MOST_COPIED
        for module in model.modules():
            tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
            for table in tables:
                for name, tensor in table.items():
                    if tensor is not None:
                        table[name] = self.of[id(tensor)]
                        if table is module._buffers:
                            places.append(Place(table, name, tensor, table[name]))
                        elif not tensor.requires_grad and tensor.numel() <= left:
                            left -= tensor.numel()
                            before = table[name].detach().clone()
                            places.append(Place(table, name, before, table[name], True))
        return places


def stand_ins(
    model: nn.Module,
    folded: EffectiveWeights,
    wanted: Collection[str],
    dtype: torch.dtype,
    gradients: bool,
    change: Change | None,
) -> StandIns:
    """Make stand-ins of all parameters and buffers.

    Those of parameters are copies, since some models write to their weights, unless they are very
    many: then they share memory.

    Args:
        model: the module.
        folded: the weights that layers compute, which have leaves of their own.
        wanted: names of parameters whose stand-ins are leaves.
        dtype: floating type of the stand-ins.
        gradients: whether the leaves require gradients.
        change: (name, parameter in that type) -> stand-in.
    """
    leaves: dict[str, Tensor] = {}
    made: dict[int, Tensor] = {}
    few = sum(parameter.numel() for parameter in model.parameters()) <= MOST_COPIED

    def own(tensor: Tensor) -> Tensor:
        real = in_precision(tensor.detach(), dtype)
        shared = real.data_ptr() == tensor.data_ptr()
        return real.clone() if real.is_inference() or (few and shared) else real

    def stand_in(name: str, tensor: Tensor) -> Tensor:
        real = as_real(own(tensor))
        if change is not None:
            real = change(name, real)
        if name in wanted and real.is_floating_point():
            leaves[name] = real = real.detach().requires_grad_(gradients)
            for hook in (tensor._backward_hooks or {}).values() if gradients else ():
                real.register_hook(hook)  # which changes its gradient, as one that freezes rows
        return applied_as(real) if tensor.is_complex() else real

    for name, parameter in named_parameters(model):
        if name in folded.values:
            stand_in(name, folded.values[name])  # the leaf that layers apply
        if name in folded.sources:
            made[id(parameter)] = own(parameter)
        else:
            made[id(parameter)] = stand_in(name, parameter)
    for buffer in model.buffers():
        made[id(buffer)] = in_precision(buffer.detach().clone(), dtype)
    return StandIns(leaves, made)


def copies_of_others(model: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return what copies tensors that are not parameters and no buffers, floats in that type.

    Once it has copied many elements it copies no more: the model may hold on to whole data sets.
    """
    own, left = float_type(model), MOST_COPIED

    def copied(tensor: Tensor) -> Tensor:
        nonlocal left
        if tensor.numel() > left:
            return tensor
        left -= tensor.numel()
        copy = tensor.detach().clone()
        return copy.to(dtype) if copy.dtype == own else copy

    return copied
