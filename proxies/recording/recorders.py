"""Recorders: modes that look on while a network runs and keep little of what they see.

Each is a context manager around one forward; ``result()`` is the signal that it made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ...errors import NotApplicable
from ..spectra import gram
from .modes import WithoutDropout
from .samples.channels import Channels
from .samples.layout import ROWS, Layout
from .samples.rectifiers import Rectifiers, operator_of
from .samples.survey import CountedLayouts, Layouts, is_softmax
from .signals import ActivationPatterns, LayerFeatures, Saliency
from .weights.effective import PRODUCTS, names_by_weight

_NO_RECTIFIER = (
    "the model has no rectifier (ReLU, GELU, SiLU, ...) as one operator that keeps samples apart"
)
_WORD = 64


def weight_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the weight that one of ``PRODUCTS`` was called with."""
    return args[1] if len(args) > 1 else kwargs["weight"]


class OutputRecorder(WithoutDropout):
    """A recorder of the outputs of layers, held until their gradient comes by.

    Without layouts it reads the first dimension as samples and the second as channels, even of
    linear layers on tokens.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        layouts: CountedLayouts | None,
        keeping: bool = True,
        copies: bool = False,
    ):
        super().__init__()
        self._layouts = layouts
        self.saliencies: list[Saliency] = []
        self._names = names_by_weight(leaves)
        self._keeping = keeping
        self._copies = copies
        self._listening = False
        self._held: list[tuple[Tensor, int]] = []

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func not in PRODUCTS:
            return result
        name = self._names.get(id(weight_of(args, kwargs)))
        if name is not None and self._layouts is not None:
            self._layouts.see_layer(name, result)
        if self._keeping:
            layout = self._layouts.next("product", result) if self._layouts else ROWS
            if result.requires_grad and layout is not None:
                if result._is_view():  # an operator in place would cut off a view's hook
                    result = torch.ops.aten._unsafe_view(result, result.shape)
                last = func is F.linear and self._layouts is not None
                self._keep_output(result, name, layout, last)
        return result

    def _keep_output(
        self, result: Tensor, name: str | None, layout: Layout, channels_last: bool
    ) -> None:
        held = result.detach().clone() if self._copies else result.detach()
        self._held.append((held, held._version))

        def arrived(gradient: Tensor) -> None:
            if self._listening:
                product = real_product(held, gradient.detach(), -1 if channels_last else 1)
                rows = self._layouts is None or layout == ROWS
                if self._layouts is not None and not rows:
                    last = product if channels_last else _channels_last(product)
                    product = layout.parts(last, self._layouts.samples).flatten(1, -2).sum(dim=1)
                elif product.dim() > 2:
                    positions = (1, -2) if channels_last else (2, -1)
                    product = product.flatten(*positions).sum(dim=positions[0])
                self.saliencies.append(Saliency(name, product))

        result.register_hook(arrived)

    def refuse_parts(self) -> None:
        """Refuse a forward in which layers ran on parts of the samples.

        Raises:
            ScoreError: some layer did.
        """
        if self._layouts is not None:
            self._layouts.refuse_parts()

    def overwritten(self) -> bool:
        """Return whether an in-place operator changed any held output."""
        return any(tensor._version != version for tensor, version in self._held)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the gradients that come by inside for those of the loss."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            self._held.clear()


def real_channels(features: Tensor, dim: int) -> Tensor:
    """Return complex channels as twice as many real ones."""
    pairs = torch.view_as_real(features.movedim(dim, -1).resolve_conj())
    return pairs.flatten(-2).movedim(-1, dim)


def real_product(one: Tensor, other: Tensor, channels: int) -> Tensor:
    """Return the product of two tensors, of their real and imaginary parts each by itself."""
    if not one.is_complex():
        return one * other
    return real_channels(one, channels) * real_channels(other, channels)


class RectifierRecorder(TorchDispatchMode):
    """A mode that sees the input of every rectifier, before it may be overwritten."""

    def __init__(self, layouts: CountedLayouts):
        super().__init__()
        self._layouts = layouts
        self._operators = Rectifiers()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        source = self._operators.source(func, args)
        layout = None if source is None else self._layouts.next("rectifier", source)
        if source is not None and layout is not None:
            with _disable_current_modes():  # other recorders would see the comparisons in it
                self.before(source.detach(), layout)
        result = func(*args, **(kwargs or {}))
        self._operators.see(func, args, result)
        if layout is not None:
            with _disable_current_modes():
                self.after(result.detach(), layout)
        return result

    def before(self, source: Tensor, layout: Layout) -> None:
        """See the input of a rectifier, and where samples lie in it."""
        self.see(layout.parts(source, self._layouts.samples))

    def after(self, result: Tensor, layout: Layout) -> None:
        """See the output of a rectifier."""

    def see(self, samples: Tensor) -> None:
        """See the input of a rectifier (N, ...)."""


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


class FeatureReader(WithoutDropout):
    """What a function reads in the features (N, ..., C) of all layers and rectifiers.

    The function gets the name of the weight that made them, None for a rectifier's; it may return
    None for features in which there is nothing to read.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        layouts: Layouts,
        samples: int,
        read: Callable[[str | None, Tensor], Any],
    ):
        super().__init__()
        self._names = names_by_weight(leaves)
        self._layouts = layouts.counted(samples)
        self._read = read
        self._rectifiers = _RectifiedFeatures(layouts.counted(samples), self._found)
        self._features: list[Any] = []

    def __enter__(self) -> FeatureReader:
        super().__enter__()
        self._rectifiers.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._rectifiers.__exit__(*raised)
        super().__exit__(*raised)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self._rectifiers.channels.see(func, result)
        layout = self._layouts.next("product", result) if func in PRODUCTS else None
        if layout is not None:
            name = self._names.get(id(weight_of(args, kwargs)))
            if name is not None:
                features = result.detach()
                if features.is_complex():
                    features = real_channels(features, -1 if func is F.linear else 1)
                last = features if func is F.linear else _channels_last(features)
                self._found(name, layout.parts(last, self._layouts.samples))
        return result

    def _found(self, name: str | None, features: Tensor) -> None:
        self._features.append(self._read(name, features))

    def result(self) -> list[Any]:
        """Return what was read, in the order of the calls."""
        if not self._features:
            raise NotApplicable("the model has no layer that keeps samples apart")
        return [read for read in self._features if read is not None]


class _RectifiedFeatures(RectifierRecorder):
    """The rectifiers' part of the features.

    Attributes:
        channels: where the layers before a rectifier have their channels.
    """

    def __init__(self, layouts: CountedLayouts, found: Callable[[None, Tensor], None]):
        super().__init__(layouts)
        self._found = found
        self._last = False
        self.channels = Channels()

    def before(self, source: Tensor, layout: Layout) -> None:
        self._last = layout.dim == 1 or self.channels.last(source)

    def after(self, result: Tensor, layout: Layout) -> None:
        last = result if self._last else _channels_last(result)
        self._found(None, layout.parts(last, self._layouts.samples))


def _channels_last(features: Tensor) -> Tensor:
    return features.movedim(1, -1)


def moments(name: str | None, features: Tensor) -> LayerFeatures:
    """Return the moments of features (N, ..., C)."""
    mean = features.mean(dim=tuple(range(features.dim() - 1)))
    # Centred before the product: variances far below the mean would be rounded off.
    rows = torch.sub(features, mean, out=features.new_empty(features.shape)).flatten(0, -2)
    covariance = gram(rows) / len(rows)
    if len(rows) < rows.shape[1]:
        along = rows @ mean / len(rows)
        moment = covariance + along[:, None] + along[None, :] + mean.square().sum() / len(rows)
    else:
        moment = covariance + torch.outer(mean, mean)
    return LayerFeatures(name, moment, covariance)


def first_standardised(name: str | None, features: Tensor) -> Tensor | None:
    """Return the first sample's standardised features (positions, C), None of one position."""
    rows = features[0].reshape(-1, features.shape[-1])
    return standardised(rows) if len(rows) > 1 else None


def standardised(rows: Tensor) -> Tensor:
    """Return columns without their mean and of norm 1, of which products are correlations.

    A constant column, whose correlation is undefined, becomes 0.
    """
    centred = rows - rows.mean(dim=0)
    norms = centred.norm(dim=0)
    constant = norms <= 4 * torch.finfo(rows.dtype).eps * rows.norm(dim=0)
    return torch.where(constant, torch.zeros_like(centred), centred / norms)


def correlation(rows: Tensor) -> Tensor:
    """Return the correlation (C, C) of columns; what is undefined is 0."""
    columns = standardised(rows)
    return columns.T @ columns


class FeatureRecorder(TorchDispatchMode):
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
            if (
                source.dim() >= 4 or tuple(source.shape) in self._signals
            ) and result.numel() * 4 <= source.numel():
                reduced = result.numel() == source.shape[0] * source.shape[1]
                if reduced or result.numel() == source.shape[0] * source.shape[-1]:
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


class AttentionRecorder(TorchDispatchMode):
    """A recorder of attention maps in the forward and of their gradients in the backward."""

    def __init__(self, layouts: CountedLayouts):
        super().__init__()
        self._layouts = layouts
        self._confidence: dict[int, Tensor] = {}
        self._importance: dict[int, Tensor] = {}
        self._maps: dict[int, tuple[Tensor, Layout]] = {}  # an address must not come back

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_softmax(func):
            layout = self._layouts.next("map", result)
            if layout is not None and self._is_map(result, args[1]):
                heads = self._by_head(result, layout)
                self._confidence[result.data_ptr()] = heads.amax(-1).mean((0, 1, 3))
                self._maps[result.data_ptr()] = (result, layout)
        elif func.overloadpacket.__name__ == "_softmax_backward_data":
            place = args[1].data_ptr()
            if place in self._maps:
                layout = self._maps[place][1]
                product = self._by_head(args[0], layout) * self._by_head(args[1], layout)
                self._importance[place] = product.sum((1, 3, 4)).abs().mean(dim=0)
        return result

    def _is_map(self, tensor: Tensor, dim: int) -> bool:
        """Return whether it has as many queries as keys, over which it sums to 1.

        Maps are (N windows, heads, queries, keys) or (N heads, queries, keys), or have their
        windows in a dimension of their own.
        """
        square = tensor.shape[-1] == tensor.shape[-2] > 1
        return 3 <= tensor.dim() <= 5 and square and dim in (-1, tensor.dim() - 1)

    def _by_head(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Return (N, windows, heads, queries, keys); a head is one in all its windows."""
        parts = layout.parts(tensor.detach(), self._layouts.samples)
        heads = 1 if parts.dim() == 3 else parts.shape[-3]
        return parts.reshape(len(parts), -1, heads, *parts.shape[-2:])

    def confidences(self) -> list[Tensor]:
        """Return (heads,) of each map: mean over samples and queries of the largest weight."""
        return self._found([*self._confidence.values()])

    def importances(self) -> list[Tensor]:
        """Return (heads,) of each map, after a backward: mean of ``|sum A * dL/dA|``."""
        return self._found([self._importance[key] for key in self._maps if key in self._importance])

    def _found(self, heads: list[Tensor]) -> list[Tensor]:
        if not heads:
            raise NotApplicable("the model has no attention of tokens to tokens")
        return heads
