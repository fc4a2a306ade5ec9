"""Batch norm that a network writes by hand, as numbers without their mean over the samples."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from ....errors import NotApplicable

_MEANS = frozenset(("mean", "var_mean", "std_mean"))
_MINUS = frozenset(("sub", "sub_", "subtract", "__sub__", "__isub__"))


class NoBatchNormByHand(TorchFunctionMode):
    """A mode that refuses numbers of which their mean over the samples is subtracted.

    Args:
        samples: of which the first dimension is.
    """

    def __init__(self, samples: int):
        super().__init__()
        self._samples = samples
        self._source: dict[int, Tensor] = {}  # mean over the samples -> what it is of
        self._keep: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        tensors = [a for a in args if isinstance(a, Tensor)]
        if name in _MINUS and len(tensors) == 2 and self._source.get(id(args[1])) is args[0]:
            raise NotApplicable(
                "batch norm is written by hand, which this proxy has to leave out or to read: call "
                "it as nn.BatchNorm2d or F.batch_norm"
            )
        result = func(*args, **kwargs)
        if name in _MEANS and tensors and self._is_over_samples(tensors[0], args[1:], kwargs):
            self._note(result if isinstance(result, Tensor) else result[1], tensors[0])
        elif isinstance(result, Tensor) and len(tensors) == 1:
            source = self._source.get(id(tensors[0]))
            if source is not None and result.numel() == tensors[0].numel():  # a view, or a copy
                self._note(result, source)
        return result

    def _is_over_samples(
        self, source: Tensor, rest: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        dims = kwargs.get("dim", kwargs.get("axis", rest[0] if rest else None))
        dims = [dims] if isinstance(dims, int) else dims
        if not isinstance(dims, (list, tuple)) or source.dim() < 2:
            return False
        over = {d % source.dim() for d in dims if isinstance(d, int)}
        return source.shape[0] == self._samples and 0 in over and len(over) < source.dim()

    def _note(self, mean: Tensor, source: Tensor) -> None:
        self._source[id(mean)] = source
        self._keep += [mean, source]
