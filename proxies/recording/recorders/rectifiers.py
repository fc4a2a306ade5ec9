"""Recorders of rectifiers: which samples switch which units on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ....errors import NotApplicable
from ..samples.layout import ROWS, Layout
from ..samples.rectifiers import Rectifiers
from ..samples.survey import CountedLayouts
from ..signals import ActivationPatterns

_NO_RECTIFIER = (
    "the model has no rectifier (ReLU, GELU, SiLU, ...) as one operator that keeps samples apart"
)
_WORD = 64


class RectifierRecorder(TorchDispatchMode):
    """A mode that sees the input of every rectifier, before it may be overwritten.

    Attributes:
        operators: which calls rectify.
    """

    def __init__(self, layouts: CountedLayouts):
        super().__init__()
        self._layouts = layouts
        self.operators = Rectifiers()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        source = self.operators.source(func, args, kwargs)
        layout = None
        if source is not None:
            layout = self._layouts.next("rectifier", source, needed="a rectifier")
        shape = None
        if source is not None and layout is not None:
            shape = _before_flattening(source, self._layouts.samples)
            layout = layout if shape is None else ROWS
            with _disable_current_modes():  # other recorders would see the comparisons in it
                self.before(_shaped(source.detach(), shape), layout)
        result = func(*args, **(kwargs or {}))
        self.operators.see(result)
        if source is not None and layout is not None:
            made = result[0] if isinstance(result, tuple) else result  # the largest, and where
            with _disable_current_modes():
                self.after(_shaped(made.detach(), shape or source.shape), layout)
        return result

    def refuse_incomplete(self) -> None:
        """Refuse a forward of which not all rectifiers could be read.

        Raises:
            ScoreError: there was one that is made of others, or in which no samples were found.
        """
        self.operators.refuse_entangled()
        self._layouts.refuse_parts()

    def before(self, source: Tensor, layout: Layout) -> None:
        """See the input of a rectifier, and where samples lie in it."""
        self.see(layout.parts(source, self._layouts.samples))

    def after(self, result: Tensor, layout: Layout) -> None:
        """See the output of a rectifier."""

    def see(self, samples: Tensor) -> None:
        """See the input of a rectifier (N, ...)."""


def _before_flattening(source: Tensor, samples: int) -> torch.Size | None:
    """Return the shape, samples first, of what a tensor of one dimension is a view of."""
    base = source._base if source.dim() == 1 else None
    if base is None or base.numel() != source.numel() or not base.is_contiguous():
        return None
    return base.shape if base.dim() > 1 and base.shape[0] == samples else None


def _shaped(tensor: Tensor, shape: torch.Size | None) -> Tensor:
    return tensor if shape is None else tensor.reshape(shape)


class CodeKernel(RectifierRecorder):
    """The sum, over all rectifiers of a forward, of which samples' binary codes agree.

    ``K = sum over units of c c^T + (1 - c)(1 - c)^T``, streamed: no code is kept.
    """

    def __init__(self, layouts: CountedLayouts):
        super().__init__(layouts)
        self._kernel: Tensor | None = None

    def see(self, samples: Tensor) -> None:
        code = (samples.flatten(1) > 0).to(torch.float32)
        both = (code @ code.T).to(torch.float64)  # whole numbers, exact up to 2^24 units
        active = both.diagonal()
        agreements = 2 * both - active[:, None] - active[None, :] + code.shape[1]
        self._kernel = agreements if self._kernel is None else self._kernel + agreements

    def result(self) -> Tensor:
        """Return the kernel (N, N) in float64."""
        self.refuse_incomplete()
        if self._kernel is None:
            raise NotApplicable(_NO_RECTIFIER)
        return self._kernel


class PatternCount(RectifierRecorder):
    """The number of units that differ in the samples for which they are on.

    A unit's pattern is one bit per sample; patterns are packed into words of 64 bits, so that a
    million units cost megabytes, and counted exactly.
    """

    def __init__(self, layouts: CountedLayouts):
        super().__init__(layouts)
        self._found: list[np.ndarray] = []

    def see(self, samples: Tensor) -> None:
        on = samples.flatten(1) > 0
        words = []
        for start in range(0, len(on), _WORD):
            word = torch.zeros(on.shape[1], dtype=torch.int64, device=on.device)
            for bit, row in enumerate(on[start : start + _WORD]):
                word |= row.to(torch.int64) << bit
            words.append(word)
        self._found.append(_distinct(torch.stack(words, dim=1).cpu().numpy()))

    def result(self) -> ActivationPatterns:
        """Return the numbers of distinct patterns, over all and by rectifier."""
        self.refuse_incomplete()
        if not self._found:
            raise NotApplicable(_NO_RECTIFIER)
        total = _distinct(np.concatenate(self._found))
        return ActivationPatterns(len(total), tuple(len(found) for found in self._found))


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Return each row of integers once."""
    packed = rows[:, 0]
    if rows.shape[1] > 1:
        whole = np.dtype((np.void, rows.itemsize * rows.shape[1]))
        packed = np.ascontiguousarray(rows).view(whole)[:, 0]
    ordered = np.sort(packed)  # sooner than np.unique, which hashes integers
    new = np.ones(len(ordered), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new].view(rows.dtype).reshape(-1, rows.shape[1])
