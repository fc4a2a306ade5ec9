"""A mode that runs a network in another precision than its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CASTS = frozenset(
    (
        *(Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.to, Tensor.type),
        Tensor.cfloat,  # type: ignore[attr-defined]
    )
)


_GROUPED = frozenset(
    product
    for home, name in ((torch, "_grouped_mm"), (F, "grouped_mm"))
    if (product := getattr(home, name, None)) is not None
)
"""Products of groups of rows, as far as this torch has them: the first came with 2.8."""


def _grouped(rows: Tensor, weights: Tensor, offs: Tensor | None = None, **_: Any) -> Tensor:
    """Multiply groups of rows, which end at ``offs``, by one matrix each, in any precision."""
    if offs is None:
        return rows @ weights
    ends = [int(end) for end in offs]
    groups = zip([0, *ends], ends, weights, strict=False)
    made = [rows[start:end] @ weight for start, end, weight in groups]
    return torch.cat([*made, rows.new_zeros(len(rows) - ends[-1], weights.shape[-1])])


class InPrecision(TorchFunctionMode):
    """A mode that makes numbers in another precision than the network usually runs in.

    A network makes floats itself where it casts whole numbers or fills tensors. They would not fit
    weights in another precision.
    """

    def __init__(self, usual: torch.dtype, wanted: torch.dtype):
        super().__init__()
        self._wanted = {usual: wanted, usual.to_complex(): wanted.to_complex()}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        grouped = func in _GROUPED and args[0].dtype == torch.float64
        result = (_grouped if grouped else func)(*args, **(kwargs or {}))
        wanted = self._wanted.get(result.dtype) if isinstance(result, Tensor) else None
        if wanted is None:
            return result
        if func in _CASTS and args[0].dtype in self._wanted.values():
            return args[0].to(wanted)  # the result was rounded
        return result.to(wanted)
