"""The recorder of the features before global pooling, and of batch variances."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ....errors import NotApplicable
from ..samples.rectifiers import operator_of


class PooledRecorder(TorchDispatchMode):
    """A recorder of the features before global pooling and of the batch variances."""

    def __init__(self) -> None:
        super().__init__()
        self.pooled: Tensor | None = None
        self.projected: Tensor | None = None
        self.variances: list[float] = []
        self._signals: set[tuple[int, ...]] = set()  # shapes (N, C, L) of what convolutions make

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = operator_of(func)
        if operator in ("mean", "avg_pool") and isinstance(result, Tensor):
            source = args[0]
            of_maps = source.dim() >= 4 or tuple(source.shape) in self._signals
            if of_maps and result.numel() * 4 <= source.numel() and _is_of_channels(source, result):
                self.pooled = source
        elif operator in ("linear", "matmul"):
            self.projected = next(t for t in args[-2:] if isinstance(t, Tensor))
        elif operator == "batch_norm" and isinstance(result, tuple):
            self._variance(func, args, result)
        elif func.overloadpacket.__name__ == "convolution" and result.dim() == 3:
            self._signals.add(tuple(result.shape))
        return result

    def _variance(self, func: Any, args: tuple[Any, ...], result: tuple[Tensor, ...]) -> None:
        if func is torch.ops.aten.native_batch_norm.default:
            variance = result[2].double().pow(-2) - args[7]  # it saves 1 / sqrt(variance + eps)
        else:
            dims = [d for d in range(args[0].dim()) if d != 1]
            variance = args[0].var(dim=dims, unbiased=False)
        self.variances.append(float(variance.mean()))

    def features(self) -> Tensor:
        """Return the last globally pooled map, else what the last linear layer read."""
        found = self.pooled if self.pooled is not None else self.projected
        if found is None:
            raise NotApplicable("found neither a global pooling nor a linear layer to read before")
        return found


def _is_of_channels(source: Tensor, result: Tensor) -> bool:
    """Return whether a mean is one for each channel of each sample, wherever these lie."""
    rows, *rest = source.shape
    left = sum(size > 1 for size in result.shape)
    return left == 2 or result.numel() in (rows * rest[0], rows * rest[-1])
