"""Modes under which a network runs: without dropout, without batch norm, one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...errors import NotApplicable
from ...graphs.functions import DROPOUTS
from .samples.layout import ROWS, Layout

# Functions that drop out inside: the position of their rate.
_DROPOUT_POSITION = {
    F.scaled_dot_product_attention: 4,
    **dict.fromkeys((torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu), 5),
}

_REQUIRE = frozenset(
    (Tensor.requires_grad.__set__, Tensor.requires_grad_)  # type: ignore[attr-defined]
)


def _undropped(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the same arguments with a dropout rate of 0."""
    position = _DROPOUT_POSITION[func]
    if position == 5 and isinstance(args[3], (list, tuple)):  # packed: sizes come second
        position = 6
    if len(args) > position:
        args = (*args[:position], 0.0, *args[position + 1 :])
    return args, {name: 0.0 if name == "dropout_p" else v for name, v in kwargs.items()}


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the function of ``torch.nn.functional`` that equals this ``torch.convolution``."""
    dims = weight.dim() - 2
    shared = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        shared["output_padding"] = output_padding
    name = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    return getattr(F, name), (input, weight, bias), shared


def _undropped_input(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the input of dropout, copied where dropout would return a new tensor.

    An operator that works in place may follow, and must not overwrite what a backward needs.
    """
    input: Tensor = args[0] if args else kwargs["input"]
    itself = func is torch.dropout_ or kwargs.get("inplace") or kwargs.get("training") is False
    return input if itself or input.grad_fn is None else input.clone()


def _backward_in_order(normed: Tensor) -> Tensor:
    """Let the backward of batch norm get the gradient of a single sample in the output's order.

    Torch 2.13 misreads it in another order, as that of tokens (1, H W, C) turned into an image.
    """
    if normed.requires_grad and len(normed) == 1:
        shape, strides = normed.shape, normed.stride()
        normed.register_hook(lambda g: g.new_empty_strided(shape, strides).copy_(g))
    return normed


class WithoutDropout(TorchFunctionMode):
    """A mode that runs dropout as the identity, so that scores do not depend on chance."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUTS:
            result = _undropped_input(func, args, kwargs)
            self.copied(args[0] if args else kwargs["input"], result)
            return result
        if func in _REQUIRE and args[0].requires_grad:
            # A forward that prepares its input or freezes weights changes nothing of a pass.
            return args[0] if func is Tensor.requires_grad_ else None
        if func in _DROPOUT_POSITION:
            args, kwargs = _undropped(func, args, kwargs)
        if func is torch.convolution:
            func, args, kwargs = _convolution(*args, **kwargs)
        result = self.call(func, args, kwargs)
        return _backward_in_order(result) if func is F.batch_norm else result

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run any other function; subclasses replace some of them here."""
        return func(*args, **kwargs)

    def copied(self, source: Tensor, result: Tensor) -> None:
        """Record what dropout returns instead of its input."""


@contextmanager
def attention_in_steps() -> Iterator[None]:
    """Let modes see the layers inside multi-head attention, which torch would hand them whole."""
    # No other function of this module asks for modes by this name.
    with mock.patch.object(F, "has_torch_function", return_value=False):
        yield


class TwiceDifferentiable(TorchFunctionMode):
    """A mode that computes the hard sigmoid with functions that torch can differentiate twice."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not F.hardsigmoid:
            return func(*args, **(kwargs or {}))
        made = (args[0] / 6 + 0.5).clamp(0, 1)  # relu6(x + 3) would be seen as a rectifier
        return args[0].copy_(made) if (kwargs or {}).get("inplace") else made


class WithoutNorm(WithoutDropout):
    """A mode that runs batch norm as the identity, so that positive networks stay positive."""

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm or func is torch.batch_norm:
            return (args[0] if args else kwargs["input"]).clone()  # see _undropped_input
        return func(*args, **kwargs)


class SingleSample(WithoutDropout):
    """A mode in which batch norm refuses a single value per channel, with a clear reason."""

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm:
            training = args[5] if len(args) > 5 else kwargs.get("training", False)
            refuse_single_values(args[0] if args else kwargs["input"], 1, bool(training))
        return func(*args, **kwargs)


def instance_norm(
    layout: Layout,
    samples: int,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Run batch norm with the statistics of each sample alone."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    refuse_single_values(input, samples, training)
    if samples == 1:
        made = F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
        return _backward_in_order(made)
    if layout == ROWS:
        return F.instance_norm(input, None, None, weight, bias, True, momentum, eps)
    # What is folded into the batch lies behind the channels: (N, C, k, ...).
    channels_last = layout.parts(input.movedim(1, -1), samples)
    apart = channels_last.movedim(-1, 1).flatten(2)
    normed = F.instance_norm(apart, None, None, weight, bias, True, momentum, eps)
    last = normed.movedim(1, -1).reshape(channels_last.shape)
    return layout.whole(last, input.movedim(1, -1).shape).movedim(-1, 1)


def refuse_single_values(source: Tensor, samples: int, training: bool) -> None:
    """Refuse the input of a batch norm that would divide by the deviation of one value.

    Raises:
        ScoreError: batch norm is in training mode, and a sample has one value per channel.
    """
    if training and source.numel() == samples * source.shape[1]:
        raise NotApplicable(
            "batch norm of one sample in training sees a single value per channel (shape "
            f"{tuple(source.shape)}), whose variance is zero. In evaluation it is defined, by its "
            "running statistics: call model.eval() and ask for the variant that runs the model as "
            "it is given, gradsign_sum@gradsign or synflow_bn@foresight"
        )
