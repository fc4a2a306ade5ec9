"""Recorders: modes that look on while a network runs and keep little of what they see.

Each is a context manager around one forward; ``result()`` is the signal that it made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import ScoreError
from ...graphs.operators import RECTIFIERS, canonical
from .modes import WithoutDropout
from .signals import ActivationPatterns, LayerFeatures, Saliency
from .weights.effective import APPLYING

PRODUCTS = APPLYING - {F.bilinear}
"""Functions that apply a weight to one input."""

_NO_RECTIFIER = "the model has no rectifier (ReLU, GELU, SiLU, ...)"
_WORD = 64


@cache
def operator_of(func: Any) -> str:
    """Return the canonical operator of an ATen overload."""
    return canonical(f"aten.{func.overloadpacket.__name__}")


def weight_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the weight that one of ``PRODUCTS`` was called with."""
    return args[1] if len(args) > 1 else kwargs["weight"]


class OutputRecorder(WithoutDropout):
    """A recorder of the outputs of layers, held until their gradient comes by.

    ``second`` reads the second dimension as channels even of linear layers on tokens.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        keeping: bool = True,
        copies: bool = False,
        second: bool = False,
    ):
        super().__init__()
        self._second = second
        self.saliencies: list[Saliency] = []
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._keeping = keeping
        self._copies = copies
        self._listening = False
        self._held: list[tuple[Tensor, int]] = []

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if self._keeping and func in PRODUCTS and result.requires_grad:
            weight = weight_of(args, kwargs)
            self._keep_output(result, self._names.get(id(weight)), self._is_last(func))
        return result

    def _is_last(self, func: Any) -> bool:
        return func is F.linear and not self._second

    def _keep_output(self, result: Tensor, name: str | None, channels_last: bool) -> None:
        held = result.detach().clone() if self._copies else result.detach()
        self._held.append((held, held._version))

        def arrived(gradient: Tensor) -> None:
            if self._listening:
                product = held * gradient.detach()
                if product.dim() > 2:
                    positions = (1, -2) if channels_last else (2, -1)
                    product = product.flatten(*positions).sum(dim=positions[0])
                self.saliencies.append(Saliency(name, product))

        result.register_hook(arrived)

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


class RectifierRecorder(TorchDispatchMode):
    """A mode that sees the input of every rectifier, before it may be overwritten."""

    def __init__(self, samples: int):
        super().__init__()
        self._samples = samples

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        operator = operator_of(func)
        relu6 = operator == "hardtanh" and tuple(args[1:3]) == (0.0, 6.0)
        if not (operator in RECTIFIERS or relu6) or not self._is_batch(args[0]):
            return func(*args, **(kwargs or {}))
        self.before(args[0].detach())
        result = func(*args, **(kwargs or {}))
        self.after(result.detach())
        return result

    def _is_batch(self, tensor: Tensor) -> bool:
        return tensor.dim() > 1 and tensor.shape[0] == self._samples

    def before(self, source: Tensor) -> None:
        """See the input of a rectifier."""

    def after(self, result: Tensor) -> None:
        """See the output of a rectifier."""


class CodeKernel(RectifierRecorder):
    """The sum, over all rectifiers of a forward, of which samples' binary codes agree.

    ``K = sum over units of c c^T + (1 - c)(1 - c)^T``, streamed: no code is kept.
    """

    def __init__(self, samples: int):
        super().__init__(samples)
        self._kernel: Tensor | None = None

    def before(self, source: Tensor) -> None:
        code = (source.flatten(1) > 0).to(torch.float32)
        both = (code @ code.T).to(torch.float64)  # whole numbers, exact up to 2^24 units
        active = both.diagonal()
        agreements = 2 * both - active[:, None] - active[None, :] + code.shape[1]
        self._kernel = agreements if self._kernel is None else self._kernel + agreements

    def result(self) -> Tensor:
        """Return the kernel (N, N) in float64."""
        if self._kernel is None:
            raise ScoreError(_NO_RECTIFIER)
        return self._kernel


class PatternCount(RectifierRecorder):
    """The number of units that differ in the samples for which they are on.

    A unit's pattern is one bit per sample; patterns are packed into words of 64 bits, so that a
    million units cost megabytes, and counted exactly.
    """

    def __init__(self, samples: int):
        super().__init__(samples)
        self._found: list[np.ndarray] = []

    def before(self, source: Tensor) -> None:
        on = source.flatten(1) > 0
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
            raise ScoreError(_NO_RECTIFIER)
        total = _distinct(np.concatenate(self._found))
        return ActivationPatterns(len(total), tuple(len(found) for found in self._found))


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Return each row of integers once."""
    if rows.shape[1] == 1:
        return np.unique(rows)[:, None]
    packed = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
    return np.unique(packed.ravel()).view(rows.dtype).reshape(-1, rows.shape[1])


class FeatureMoments(WithoutDropout):
    """Moments of the outputs of all layers and rectifiers; see ``LayerFeatures``."""

    def __init__(self, leaves: dict[str, Tensor], samples: int):
        super().__init__()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._samples = samples
        self._rectifiers = _RectifiedMoments(samples, self._found)
        self._features: list[LayerFeatures] = []

    def __enter__(self) -> FeatureMoments:
        super().__enter__()
        self._rectifiers.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._rectifiers.__exit__(*raised)
        super().__exit__(*raised)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func in (F.linear, F.layer_norm) and result.dim() > 3:
            self._rectifiers.channels_last = result.detach()
        if func in PRODUCTS and result.shape[0] == self._samples:
            name = self._names.get(id(weight_of(args, kwargs)))
            if name is not None:
                last = func is F.linear
                self._found(name, result.detach() if last else _channels_last(result.detach()))
        return result

    def _found(self, name: str | None, features: Tensor) -> None:
        self._features.append(moments(name, features))

    def result(self) -> list[LayerFeatures]:
        """Return the moments in the order in which they were computed."""
        if not self._features:
            raise ScoreError("the model has no layer that keeps samples apart")
        return self._features


class _RectifiedMoments(RectifierRecorder):
    """The rectifiers' part of the moments.

    Attributes:
        channels_last: the last image that a linear layer or layer norm made, (N, H, W, C).
    """

    def __init__(self, samples: int, found: Any):
        super().__init__(samples)
        self._found = found
        self._last = False
        self.channels_last: Tensor | None = None

    def before(self, source: Tensor) -> None:
        # Tokens (N, T, C) hold channels last, images (N, C, ...) second but where made otherwise.
        image = self.channels_last
        self._last = source.dim() <= 3 or (
            image is not None and image.data_ptr() == source.data_ptr()
        )

    def after(self, result: Tensor) -> None:
        self._found(None, result if self._last else _channels_last(result))


def _channels_last(features: Tensor) -> Tensor:
    return features.movedim(1, -1)


def moments(name: str | None, features: Tensor) -> LayerFeatures:
    """Return the moments of features (N, ..., C)."""
    rows = features.flatten(0, -2)
    mean = rows.mean(dim=0)
    centred = rows - mean  # before the product: variances far below the mean would be rounded off
    if len(rows) < rows.shape[1]:
        covariance = centred @ centred.T / len(rows)
        along = centred @ mean / len(rows)
        moment = covariance + along[:, None] + along[None, :] + mean.square().sum() / len(rows)
    else:
        covariance = centred.T @ centred / len(rows)
        moment = covariance + torch.outer(mean, mean)
    first = features[0].reshape(-1, features.shape[-1])
    return LayerFeatures(name, moment, covariance, standardised(first) if len(first) > 1 else None)


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

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = operator_of(func)
        if operator in ("mean", "avg_pool") and isinstance(result, Tensor):
            source = args[0]
            if source.dim() >= 4 and result.numel() * 4 <= source.numel():
                reduced = result.numel() == source.shape[0] * source.shape[1]
                if reduced or result.numel() == source.shape[0] * source.shape[-1]:
                    self.pooled = source
        elif operator in ("linear", "matmul"):
            self.projected = next(t for t in args[-2:] if isinstance(t, Tensor))
        elif operator == "batch_norm" and isinstance(result, tuple):
            self._variance(func, args, result)
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
            raise ScoreError("found neither a global pooling nor a linear layer to read before")
        return found


class AttentionRecorder(TorchDispatchMode):
    """A recorder of attention maps in the forward and of their gradients in the backward."""

    def __init__(self, samples: int):
        super().__init__()
        self._samples = samples
        self._confidence: dict[int, Tensor] = {}
        self._importance: dict[int, Tensor] = {}
        self._maps: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("_softmax", "_safe_softmax") and self._is_map(result, args[1]):
            self._confidence[result.data_ptr()] = self._by_head(result).amax(-1).mean((0, 1, 3))
            self._maps[result.data_ptr()] = result  # its address must not be given to another
        elif name == "_softmax_backward_data" and args[1].data_ptr() in self._maps:
            product = self._by_head(args[0]) * self._by_head(args[1])
            self._importance[args[1].data_ptr()] = product.sum((1, 3, 4)).abs().mean(dim=0)
        return result

    def _is_map(self, tensor: Tensor, dim: int) -> bool:
        """Return whether it has as many queries as keys, over which it sums to 1.

        Maps are (N windows, heads, queries, keys) or (N heads, queries, keys).
        """
        batched = tensor.dim() in (3, 4) and tensor.shape[0] % self._samples == 0
        square = tensor.shape[-1] == tensor.shape[-2] > 1
        return batched and square and dim in (-1, tensor.dim() - 1)

    def _by_head(self, tensor: Tensor) -> Tensor:
        """Return (N, windows, heads, queries, keys); a head is one in all its windows."""
        tensor = tensor.detach()
        heads = tensor.shape[1] if tensor.dim() == 4 else tensor.shape[0] // self._samples
        return tensor.reshape(self._samples, -1, heads, *tensor.shape[-2:])

    def confidences(self) -> list[Tensor]:
        """Return (heads,) of each map: mean over samples and queries of the largest weight."""
        return self._found([*self._confidence.values()])

    def importances(self) -> list[Tensor]:
        """Return (heads,) of each map, after a backward: mean of ``|sum A * dL/dA|``."""
        return self._found([self._importance[key] for key in self._maps if key in self._importance])

    def _found(self, heads: list[Tensor]) -> list[Tensor]:
        if not heads:
            raise ScoreError("the model has no attention of tokens to tokens")
        return heads
