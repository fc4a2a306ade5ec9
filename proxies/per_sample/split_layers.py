"""Layers split by sample: each forms the gradients of its weight for every sample of a batch.

For a convolution that is one grouped convolution whose groups are the samples, for a linear layer
an outer product; batch norm becomes instance norm.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from ...graphs.functions import in_dual_level
from ..recording.modes import WithoutDropout, instance_norm
from ..recording.samples.layout import ROWS, Layout
from ..recording.samples.survey import CountedLayouts
from ..recording.weights.applying import APPLYING, weight_of
from .sinks import Sink

_SLICE_ELEMENTS = 1 << 24


class PerSample(WithoutDropout):
    """A mode in which batch norm sees single samples and layers form per-sample gradients.

    A layer in which nobody knows where the samples lie is left whole: its weight stays in the
    autograd graph.

    Attributes:
        uses: weight name -> number of calls that split it.
        anchors: leaves to run the backward to; it needs some, and all weights are cut out.
        mixed: whether batch norm could not be split.
    """

    def __init__(
        self, leaves: dict[str, Tensor], sinks: list[Sink], layouts: CountedLayouts, first: int = 0
    ):
        super().__init__()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._sinks = sinks
        self._whole = any(sink.whole for sink in sinks)
        self._layouts = layouts
        self._first = first
        self.samples = layouts.samples
        self.uses: dict[str, int] = {}
        self.anchors: list[Tensor] = []
        self.mixed = False
        self._waiting: dict[str, tuple[int, Tensor]] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        transformed = peek_interpreter_stack() is not None or in_dual_level()  # by torch.func
        if func not in APPLYING or transformed:
            return func(*args, **kwargs)
        input = args[0] if args else kwargs["input1" if func is F.bilinear else "input"]
        layout = self._layouts.next("product", input, proven=True)
        weight = weight_of(func, args, kwargs)
        name = self._names.get(id(weight))
        if name is not None and layout is not None:
            if func is F.linear and layout.dim < input.dim() - 1:
                return self._linear(name, layout, *args, **kwargs)
            batched = layout.dim == 0 and input.dim() > 2
            if (
                func in _CONVOLUTIONS
                and batched
                and input.dim() == weight_of(func, args, kwargs).dim()
            ):
                return self._convolution(name, layout, _CONVOLUTIONS[func], *args, **kwargs)
        return func(*args, **kwargs)

    def _batch_norm(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layout = self._layouts.next("norm", input, proven=True)
        self.mixed = self.mixed or layout is None
        return instance_norm(layout or ROWS, self.samples, input, *args, **kwargs)

    def _linear(
        self,
        name: str,
        layout: Layout,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        return self._split(_Linear, name, layout, input, weight.detach(), bias)

    def _convolution(
        self,
        name: str,
        layout: Layout,
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
        return self._split(_Convolution, name, layout, input, weight.detach(), bias, *settings)

    def _split(self, function: Any, name: str, layout: Layout, input: Tensor, *rest: Any) -> Tensor:
        self.uses[name] = self.uses.get(name, 0) + 1
        # Something must require a gradient for the backward to come by.
        anchor = torch.zeros((), dtype=input.dtype, device=input.device, requires_grad=True)
        self.anchors.append(anchor)
        result: Tensor = function.apply((self, name, layout), anchor, input, *rest)
        return result

    def at_once(self, name: str, elements: int) -> int:
        """Return of how many samples to form gradients at a time, within a share of memory."""
        if self._whole or self.uses[name] > 1:
            return self.samples
        return max(1, _SLICE_ELEMENTS // elements)

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

    def finish(self) -> None:
        """Give away what still waits after the backward for uses that the loss does not see."""
        waiting, self._waiting = self._waiting, {}
        for name, (_, held) in waiting.items():
            for sink in self._sinks:
                sink.take(name, self._first, held)

    def arrived_outer(self, name: str, output: Tensor, input: Tensor) -> None:
        """Take the gradients of a linear layer of one position: outer products."""
        if self.uses[name] > 1:
            self.arrived(name, 0, torch.einsum("no,ni->noi", output, input))
            return
        for sink in self._sinks:
            sink.take_outer(name, self._first, output, input)


Use = tuple[PerSample, str, Layout]
"""A mode, the name of the weight that it splits, and where samples lie in the input."""

_CONVOLUTIONS: dict[Any, int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class _Linear(torch.autograd.Function):
    """A linear layer whose backward reports per-sample gradients instead of the weight's."""

    @staticmethod
    def forward(
        ctx: Any, use: Use, anchor: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.mode, ctx.name, ctx.layout = use
        ctx.save_for_backward(input, weight)
        result = F.linear(input, weight, bias)
        # Of a view, autograd would refuse that an operator in place follows.
        return torch.ops.aten._unsafe_view(result, result.shape) if result._is_view() else result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        samples = ctx.mode.samples
        sources, made = (ctx.layout.parts(t, samples) for t in (input, gradient))
        if sources.dim() == 2:
            ctx.mode.arrived_outer(ctx.name, made, sources)
        else:
            sources, made = sources.flatten(1, -2), made.flatten(1, -2).transpose(1, 2)
            rows = ctx.mode.at_once(ctx.name, weight.numel())
            for i in range(0, samples, rows):
                ctx.mode.arrived(ctx.name, i, torch.bmm(made[i : i + rows], sources[i : i + rows]))
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
        ctx.mode, ctx.name, ctx.layout = use
        ctx.settings = (stride, padding, dilation, groups)
        ctx.save_for_backward(input, weight)
        return torch.convolution(
            input, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        none = [0] * len(stride)
        samples = ctx.mode.samples
        sources, made = (ctx.layout.parts(t, samples) for t in (input, gradient))
        folded = len(input) // samples
        # Samples in slices, so that their gradients never outgrow a fixed share of memory.
        rows = ctx.mode.at_once(ctx.name, weight.numel() * folded)
        for start in range(0, samples, rows):
            stop = start + rows
            _Convolution._report(ctx, start, made[start:stop], sources[start:stop], folded)
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
    def _report(ctx: Any, start: int, gradient: Tensor, input: Tensor, folded: int) -> None:
        weight = ctx.saved_tensors[1]
        stride, padding, dilation, groups = ctx.settings
        samples = len(input)
        # One grouped convolution: images are groups, so each gets its own weight gradient.
        images = samples * folded
        channels = input.dim() - weight.dim() + 1
        size, made = input.shape[channels + 1 :], gradient.shape[channels + 1 :]
        per_image = torch.ops.aten.convolution_backward(
            gradient.reshape(1, -1, *made),
            input.reshape(1, -1, *size),
            weight.new_empty(1).expand(images * weight.shape[0], *weight.shape[1:]),
            None,
            stride,
            padding,
            dilation,
            False,
            [0] * len(stride),
            images * groups,
            [False, True, False],
        )[1]
        per_image = per_image.reshape(samples, folded, *weight.shape)
        ctx.mode.arrived(ctx.name, start, per_image[:, 0] if folded == 1 else per_image.sum(1))


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
