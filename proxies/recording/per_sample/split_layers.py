"""Layers split by sample: each forms the gradients of its weight for every sample of a batch.

For a convolution that is one grouped convolution whose groups are the samples, for a linear layer
an outer product; batch norm becomes instance norm.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modes import WithoutDropout, refuse_single_values
from .sinks import Sink

_SLICE_ELEMENTS = 1 << 24


class PerSample(WithoutDropout):
    """A mode in which batch norm sees single samples and layers form per-sample gradients.

    Attributes:
        uses: weight name -> number of calls that split it.
        anchors: leaves to run the backward to; it needs some, and all weights are cut out.
    """

    def __init__(self, leaves: dict[str, Tensor], sinks: list[Sink], first: int = 0):
        super().__init__()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._sinks = sinks
        self._whole = any(sink.whole for sink in sinks)
        self._first = first
        self.uses: dict[str, int] = {}
        self.anchors: list[Tensor] = []
        self._waiting: dict[str, tuple[int, Tensor]] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm:
            return _instance_statistics(*args, **kwargs)
        name = self._weight(args, kwargs)
        if name is not None:
            if func is F.linear:
                return self._linear(name, *args, **kwargs)
            if func in _CONVOLUTIONS:
                return self._convolution(name, _CONVOLUTIONS[func], *args, **kwargs)
        return func(*args, **kwargs)

    def _weight(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        return self._names.get(id(weight)) if isinstance(weight, Tensor) else None

    def _linear(
        self, name: str, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        return self._split(_Linear, name, input, weight.detach(), bias)

    def _convolution(
        self,
        name: str,
        dims: int,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if padding == "valid":
            padding = 0
        elif padding == "same":  # it may be uneven: pad first, then convolve without
            input, padding = _pad_same(input, weight, _per_axis(dilation, dims)), 0
        settings = (
            _per_axis(stride, dims),
            _per_axis(padding, dims),
            _per_axis(dilation, dims),
            groups,
        )
        return self._split(_Convolution, name, input, weight.detach(), bias, *settings)

    def _split(self, function: Any, name: str, input: Tensor, *rest: Any) -> Tensor:
        self.uses[name] = self.uses.get(name, 0) + 1
        # Something must require a gradient for the backward to come by.
        anchor = torch.zeros((), dtype=input.dtype, device=input.device, requires_grad=True)
        self.anchors.append(anchor)
        result: Tensor = function.apply((self, name), anchor, input, *rest)
        return result

    def at_once(self, name: str, weight: Tensor, samples: int) -> int:
        """Return of how many samples to form gradients at a time, within a share of memory."""
        if self._whole or self.uses[name] > 1:
            return samples
        return max(1, _SLICE_ELEMENTS // weight.numel())

    def arrived(self, name: str, offset: int, gradients: Tensor) -> None:
        """Take the gradients (n, ...) of one use of a weight, from sample ``offset`` on."""
        left = self.uses[name]
        if left > 1 or name in self._waiting:
            # Used several times: the sample's gradient is the sum over uses.
            count, held = self._waiting.pop(name, (0, torch.zeros_like(gradients)))
            held = held + gradients
            if count + 1 < left:
                self._waiting[name] = (count + 1, held)
                return
            gradients = held
        for sink in self._sinks:
            sink.take(name, self._first + offset, gradients)

    def arrived_outer(self, name: str, output: Tensor, input: Tensor) -> None:
        """Take the gradients of a linear layer of one position: outer products."""
        if self.uses[name] > 1:
            self.arrived(name, 0, torch.einsum("no,ni->noi", output, input))
            return
        for sink in self._sinks:
            sink.take_outer(name, self._first, output, input)


Use = tuple[PerSample, str]
"""A mode, and the name of the weight that it splits."""

_CONVOLUTIONS: dict[Any, int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class _Linear(torch.autograd.Function):
    """A linear layer whose backward reports per-sample gradients instead of the weight's."""

    @staticmethod
    def forward(
        ctx: Any, use: Use, anchor: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.mode, ctx.name = use
        ctx.save_for_backward(input, weight)
        result = F.linear(input, weight, bias)
        # Of a view, autograd would refuse that an operator in place follows.
        return torch.ops.aten._unsafe_view(result, result.shape) if result._is_view() else result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        if input.dim() == 2:
            ctx.mode.arrived_outer(ctx.name, gradient, input)
        else:
            positions = gradient.flatten(1, -2).transpose(1, 2)
            sources = input.flatten(1, -2)
            rows = ctx.mode.at_once(ctx.name, weight, len(input))
            for i in range(0, len(input), rows):
                ctx.mode.arrived(
                    ctx.name, i, torch.bmm(positions[i : i + rows], sources[i : i + rows])
                )
        back = gradient @ weight if ctx.needs_input_grad[2] else None
        return None, gradient.new_zeros(()), back, None, None


class _Convolution(torch.autograd.Function):
    """A convolution whose backward reports per-sample gradients instead of the weight's."""

    @staticmethod
    def forward(
        ctx: Any,
        use: Use,
        anchor: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        ctx.mode, ctx.name, ctx.settings = *use, (stride, padding, dilation, groups)
        ctx.save_for_backward(input, weight)
        return torch.convolution(
            input, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        none = [0] * len(stride)
        # Samples in slices, so that their gradients never outgrow a fixed share of memory.
        rows = ctx.mode.at_once(ctx.name, weight, len(input))
        for start in range(0, len(input), rows):
            stop = start + rows
            _Convolution._report(ctx, start, gradient[start:stop], input[start:stop])
        back = None
        if ctx.needs_input_grad[2]:
            back = torch.ops.aten.convolution_backward(
                gradient,
                input,
                weight,
                None,
                stride,
                padding,
                dilation,
                False,
                none,
                groups,
                [True, False, False],
            )[0]
        return None, gradient.new_zeros(()), back, None, None, None, None, None, None

    @staticmethod
    def _report(ctx: Any, start: int, gradient: Tensor, input: Tensor) -> None:
        weight = ctx.saved_tensors[1]
        stride, padding, dilation, groups = ctx.settings
        samples = len(input)
        # One grouped convolution: samples are groups, so each gets its own weight gradient.
        per_sample = torch.ops.aten.convolution_backward(
            gradient.reshape(1, -1, *gradient.shape[2:]),
            input.reshape(1, -1, *input.shape[2:]),
            weight.new_empty(1).expand(samples * weight.shape[0], *weight.shape[1:]),
            None,
            stride,
            padding,
            dilation,
            False,
            [0] * len(stride),
            samples * groups,
            [False, True, False],
        )[1]
        ctx.mode.arrived(ctx.name, start, per_sample.reshape(samples, *weight.shape))


def _instance_statistics(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Run batch norm as each sample alone would see it."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    refuse_single_values(input, training)
    return F.instance_norm(input, None, None, weight, bias, True, momentum, eps)


def _per_axis(value: Any, dims: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * dims if len(values) == 1 else values


def _pad_same(input: Tensor, weight: Tensor, dilation: list[int]) -> Tensor:
    """Pad so that a convolution of stride 1 keeps the size; an odd pixel goes last."""
    pads: list[int] = []
    for axis in reversed(range(len(dilation))):
        total = dilation[axis] * (weight.shape[2 + axis] - 1)
        pads += [total // 2, total - total // 2]
    return F.pad(input, pads)
