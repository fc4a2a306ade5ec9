"""Functions that are one operator to a reader but many ATen calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import (
    get_unwrapped,
    is_functorch_wrapped_tensor,
    is_gradtrackingtensor,
)
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from . import flops
from .arguments import columns, nested_tensors, shape_only
from .recording import Recorder

DROPOUTS = frozenset(
    (
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        F.alpha_dropout,
        F.feature_alpha_dropout,
        torch.dropout,
        torch.dropout_,
    )
)


class FunctionRecorder(TorchFunctionMode):
    """Catches functions that are one operator to a reader but many to ATen.

    Dropout is the identity here, so a graph does not depend on the mode of the model. Batch norm
    skips the check that forbids single values, since a shape has no values.
    """

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if args and isinstance(args[0], Tensor) and args[0].is_nested:
            raise TypeError(
                "nested tensors have no shape to record: pad them first, as to_padded_tensor does"
            )
        handler = _HANDLERS.get(func)
        apart = handler is not _dropout and (in_dual_level() or any(map(_is_transformed, args)))
        if handler is None or self.recorder.paused or apart:  # the calls to ATen know its size
            return func(*args, **(kwargs or {}))
        self.recorder.last_call = f"aten.{func.__name__}"
        return handler(self.recorder, func, *args, **(kwargs or {}))


def _is_transformed(value: Any) -> bool:
    """Return whether a tensor is one of several that ``torch.vmap`` maps over, or is derived by.

    Of what ``torch.func`` differentiates, the derivative is computed beside it, or afterwards.
    """
    whole = value
    while isinstance(whole, Tensor) and is_functorch_wrapped_tensor(whole):
        if is_gradtrackingtensor(whole):
            return True
        whole = get_unwrapped(whole)
    return whole is not value and whole.numel() != value.numel()


def in_dual_level() -> bool:
    """Return whether functions may compute forward derivatives, too."""
    return forward_ad._current_level >= 0


def _dropout(recorder: Recorder, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return input


def _batch_norm(
    recorder: Recorder,
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    sizes = [t.numel() for t in (running_mean, running_var, weight, bias) if t is not None]
    if input.dim() < 2 or any(size != input.shape[1] for size in sizes):
        _refuse(recorder, torch.batch_norm, *(input, weight, bias, running_mean, running_var),
                *(training, momentum, eps, False))  # fmt: skip
    result = _compute(
        recorder,
        lambda: torch.batch_norm(
            input, weight, bias, running_mean, running_var, training, momentum, eps, False
        ),
        input,
        input.shape,
    )
    recorder.composite(
        "batch_norm",
        "aten.batch_norm",
        [t for t in (input, weight, bias) if t is not None],
        [result],
        columns(bias=int(bias is not None)),
        2 * input.numel(),
        str([eps]),
    )
    return result


def _refuse(recorder: Recorder, func: Any, *args: Any, **kwargs: Any) -> None:
    """Let the function itself say, on shapes alone, why its arguments do not fit together."""
    recorder.paused = True
    try:
        func(*shape_only(args), **{name: shape_only(value) for name, value in kwargs.items()})
    finally:
        recorder.paused = False


def _linear(
    recorder: Recorder, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Record one node with the shape of the layer; ATen would flatten it to two dimensions."""
    if not recorder.is_learned(weight):
        result: Tensor = func(input, weight, bias)
        return result
    if input.dim() == 0 or input.shape[-1] != weight.shape[-1]:
        _refuse(recorder, func, input, weight, bias)
    shape = (*input.shape[:-1], *weight.shape[:-1])
    result = _compute(recorder, lambda: func(input, weight, bias), input, shape)
    recorder.composite(
        "linear",
        "aten.linear",
        [t for t in (input, weight, bias) if t is not None],
        [result],
        columns(bias=int(bias is not None)),
        input.numel() * prod(weight.shape[:-1]),
        "",
        weight,
    )
    return result


def _bilinear(
    recorder: Recorder,
    func: Any,
    input1: Tensor,
    input2: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Record one node: each output is a matrix between two vectors."""
    if input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        _refuse(recorder, func, input1, input2, weight, bias)
    shape = (*input1.shape[:-1], weight.shape[0])
    result = _compute(recorder, lambda: func(input1, input2, weight, bias), input1, shape)
    recorder.composite(
        "linear",
        "aten.bilinear",
        [t for t in (input1, input2, weight, bias) if t is not None],
        [result],
        columns(bias=int(bias is not None)),
        prod(shape) * (weight.shape[1] + 1) * weight.shape[2],
        "",
        weight,
    )
    return result


def _attention(
    recorder: Recorder,
    func: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **kwargs: Any,
) -> Tensor:
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        _refuse(recorder, func, query, key, value, attn_mask, 0.0, is_causal, **kwargs)
    result = _compute(
        recorder,
        lambda: func(query, key, value, attn_mask, 0.0, is_causal, **kwargs),
        query,
        (*query.shape[:-1], value.shape[-1]),
    )
    operands = [query, key, value] + ([attn_mask] if attn_mask is not None else [])
    recorder.composite(
        "attention",
        "aten.scaled_dot_product_attention",
        operands,
        [result],
        columns(heads=query.shape[1] if query.dim() == 4 else 1),
        flops.attention(tuple(query.shape), tuple(key.shape), tuple(value.shape)),
        f"{is_causal} {kwargs.get('scale')}",
    )
    return result


def _whole_norm(operator: str) -> Callable[..., Tensor]:
    def handler(recorder: Recorder, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not recorder.values:
            _refuse(recorder, func, input, *args, **kwargs)  # says nothing if all is well
        result = _compute(recorder, lambda: func(input, *args, **kwargs), input, input.shape)
        learned = [
            v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and recorder.is_learned(v)
        ]
        eps = kwargs.get("eps", next((a for a in reversed(args) if isinstance(a, float)), None))
        recorder.composite(
            operator,
            f"aten.{operator}",
            [input, *learned],
            [result],
            columns(bias=int(len(learned) > 1)),
            2 * input.numel(),
            str(eps),
        )
        return result

    return handler


def _recurrent(operator: str) -> Callable[..., Any]:
    def handler(recorder: Recorder, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        packed = isinstance(args[0], Tensor) and isinstance(args[2], (list, tuple))
        # Packed calls have the batch sizes first.
        hidden, weights, bias, layers, _, _, bidirectional = args[int(packed) : int(packed) + 7]
        states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
        # The output has the width of the hidden state (of its projection, if there is one).
        width = states[0].shape[-1] * (2 if bidirectional else 1)
        shape = (*input.shape[:-1], width)
        if recorder.values:
            recorder.paused = True
            try:
                results = func(input, *args, **kwargs)
            finally:
                recorder.paused = False
        else:
            results = tuple(
                torch.empty(s, dtype=input.dtype, device="meta")
                for s in (shape, *(state.shape for state in states))
            )
        steps = input.numel() // input.shape[-1]
        recorder.composite(
            operator,
            f"aten.{operator}",
            [input, *states, *weights],
            list(results),
            columns(bias=int(bool(bias))),
            flops.recurrent([tuple(w.shape) for w in weights], steps),
            f"{layers} {bidirectional}",
        )
        return results

    return handler


def _cell(operator: str) -> Callable[..., Any]:
    def handler(
        recorder: Recorder, func: Any, input: Tensor, hidden: Any, *weights: Any, **kwargs: Any
    ) -> Any:
        states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
        if recorder.values:
            recorder.paused = True
            try:
                results = func(input, hidden, *weights, **kwargs)
            finally:
                recorder.paused = False
        else:
            made = [torch.empty(s.shape, dtype=s.dtype, device="meta") for s in states]
            results = tuple(made) if isinstance(hidden, (list, tuple)) else made[0]
        learned = [w for w in (*weights, *kwargs.values()) if isinstance(w, Tensor)]
        if learned[0].shape[-1] != input.shape[-1]:
            _refuse(recorder, func, input, hidden, *weights, **kwargs)
        steps = input.shape[0] if input.dim() == 2 else 1
        recorder.composite(
            operator,
            f"aten.{operator}_cell",
            [input, *states, *learned],
            list(nested_tensors((results,))),
            columns(bias=int(len(learned) > 2)),
            flops.recurrent([tuple(w.shape) for w in learned], steps),
            "",
        )
        return results

    return handler


def _compute(
    recorder: Recorder, run: Callable[[], Tensor], like: Tensor, shape: Sequence[int]
) -> Tensor:
    """Run the function: for real if values are followed, else for its shape alone."""
    recorder.paused = True
    try:
        if recorder.values:
            return run()
        return torch.empty(tuple(shape), dtype=like.dtype, device="meta")
    finally:
        recorder.paused = False


_HANDLERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(DROPOUTS, _dropout),
    F.linear: _linear,
    F.bilinear: _bilinear,
    F.batch_norm: _batch_norm,
    F.scaled_dot_product_attention: _attention,
    F.instance_norm: _whole_norm("instance_norm"),
    F.rms_norm: _whole_norm("rms_norm"),
    torch.rms_norm: _whole_norm("rms_norm"),
    torch.lstm: _recurrent("lstm"),
    torch.gru: _recurrent("gru"),
    torch.rnn_tanh: _recurrent("rnn"),
    torch.rnn_relu: _recurrent("rnn"),
    torch.lstm_cell: _cell("lstm"),
    torch.gru_cell: _cell("gru"),
    torch.rnn_tanh_cell: _cell("rnn"),
    torch.rnn_relu_cell: _cell("rnn"),
}
