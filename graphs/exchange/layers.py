"""What operators of ONNX with weights, norms and pools are in torch.

Each function takes the attributes of a node, then its inputs; an input that a node leaves out is
None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UnsupportedModelError

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def convolution(of: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv."""
    kernel = tuple(weight.shape[2:])
    x, padding = _padded(of, x, kernel)
    return _CONVOLUTIONS[len(kernel)](
        x,
        weight,
        bias,
        _each(of, "strides", kernel),
        padding,
        _each(of, "dilations", kernel),
        of.get("group", 1),
    )


def transposed(of: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ConvTranspose."""
    kernel = tuple(weight.shape[2:])
    pads = of.get("pads", [0] * 2 * len(kernel))
    start, end = pads[: len(kernel)], pads[len(kernel) :]
    if of.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in of:
        raise UnsupportedModelError("ConvTranspose: auto_pad and output_shape are not read")
    more = [
        extra + a - b
        for extra, a, b in zip(of.get("output_padding", [0] * len(kernel)), start, end, strict=True)
    ]
    return _TRANSPOSED[len(kernel)](
        x,
        weight,
        bias,
        _each(of, "strides", kernel),
        start,
        more,
        of.get("group", 1),
        _each(of, "dilations", kernel),
    )


def linear(of: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a linear layer: a MatMul of a learned matrix, the Add of a learned vector."""
    return F.linear(x, weight.T, bias)


def general_product(of: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm."""
    a = a.T if of.get("transA", 0) else a
    alpha, beta = of.get("alpha", 1.0), of.get("beta", 1.0)
    if alpha == 1.0 and beta == 1.0 and (c is None or c.dim() == 1):
        return F.linear(a, b if of.get("transB", 0) else b.T, c)
    product = alpha * (a @ (b.T if of.get("transB", 0) else b))
    result: Tensor = product if c is None else product + beta * c
    return result


def batch_norm(
    of: Attributes, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """BatchNormalization, as it is in use."""
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.1, of.get("epsilon", 1e-5))


def instance_norm(of: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """InstanceNormalization."""
    return F.instance_norm(x, weight=weight, bias=bias, eps=of.get("epsilon", 1e-5))


def layer_norm(of: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LayerNormalization."""
    shape = x.shape[of.get("axis", -1) :]
    return F.layer_norm(x, shape, weight, bias, of.get("epsilon", 1e-5))


def group_norm(of: Attributes, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """GroupNormalization."""
    groups = of["num_groups"]
    if weight.shape[0] == groups != x.shape[1]:  # before version 21 there is one for each group
        repeats = x.shape[1] // groups
        weight, bias = weight.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return F.group_norm(x, groups, weight, bias, of.get("epsilon", 1e-5))


def rms_norm(of: Attributes, x: Tensor, weight: Tensor) -> Tensor:
    """RMSNormalization."""
    return F.rms_norm(x, x.shape[of.get("axis", -1) :], weight, of.get("epsilon", 1e-5))


def local_response_norm(of: Attributes, x: Tensor) -> Tensor:
    """LRN."""
    alpha, beta, bias = of.get("alpha", 1e-4), of.get("beta", 0.75), of.get("bias", 1.0)
    return F.local_response_norm(x, of["size"], alpha, beta, bias)


def max_pool(of: Attributes, x: Tensor) -> Tensor:
    """MaxPool."""
    kernel = tuple(of["kernel_shape"])
    x, padding = _padded(of, x, kernel, -float("inf"))
    result: Tensor = _MAX[len(kernel)](
        x,
        kernel,
        _each(of, "strides", kernel),
        padding,
        _each(of, "dilations", kernel),
        bool(of.get("ceil_mode", 0)),
    )
    return result


def mean_pool(of: Attributes, x: Tensor) -> Tensor:
    """AveragePool."""
    kernel = tuple(of["kernel_shape"])
    counted = bool(of.get("count_include_pad", 0))
    before = x.shape
    x, padding = _padded(of, x, kernel)
    if x.shape != before and not counted:
        raise UnsupportedModelError("AveragePool: padding of one side alone is not read")
    strides = _each(of, "strides", kernel)
    ceil = bool(of.get("ceil_mode", 0))
    return _MEAN[len(kernel)](x, kernel, strides, padding, ceil, counted)


def global_mean(of: Attributes, x: Tensor) -> Tensor:
    """GlobalAveragePool."""
    return _global(x, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)


def global_max(of: Attributes, x: Tensor) -> Tensor:
    """GlobalMaxPool."""
    return _global(x, F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)


def attention(
    of: Attributes, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention, without what is kept of earlier tokens."""
    flat = query.dim() == 3
    if flat:
        heads, others = of["q_num_heads"], of["kv_num_heads"]
        query = query.unflatten(-1, (heads, -1)).transpose(1, 2)
        key, value = (t.unflatten(-1, (others, -1)).transpose(1, 2) for t in (key, value))
    result = F.scaled_dot_product_attention(
        query,
        key,
        value,
        mask,
        is_causal=bool(of.get("is_causal", 0)),
        scale=of.get("scale"),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return result.transpose(1, 2).flatten(2) if flat else result


def _global(x: Tensor, *pools: Operator) -> Tensor:
    result: Tensor = pools[x.dim() - 3](x, 1)
    return result


def _each(of: Attributes, name: str, kernel: Sequence[int]) -> tuple[int, ...]:
    return tuple(of.get(name, [1] * len(kernel)))


def _padded(
    of: Attributes, x: Tensor, kernel: Sequence[int], value: float = 0.0
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input, padded where its sides differ, and the padding that is left to do."""
    start, end = _sides(of, x, kernel)
    if start == end:
        return x, start
    both = [side for pair in zip(start[::-1], end[::-1], strict=True) for side in pair]
    return F.pad(x, both, value=value), (0,) * len(kernel)


def _sides(
    of: Attributes, x: Tensor, kernel: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding at the start and at the end of each dimension."""
    automatic = of.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", "VALID"):
        pads = of.get("pads", [0] * 2 * len(kernel)) if automatic == "NOTSET" else [0, 0] * 3
        return tuple(pads[: len(kernel)]), tuple(pads[len(kernel) : 2 * len(kernel)])
    strides, dilations = _each(of, "strides", kernel), _each(of, "dilations", kernel)
    less, more = [], []
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size, 0)
        less.append(total // 2)
        more.append(total - total // 2)
    return (tuple(less), tuple(more)) if automatic == "SAME_UPPER" else (tuple(more), tuple(less))


def recurrent(kind: str) -> Operator:
    """Return LSTM or GRU, of weights whose gates stand in another order than torch's."""
    order, gates = ((0, 2, 3, 1), 4) if kind == "lstm" else ((1, 0, 2), 3)

    def run(
        of: Attributes,
        x: Tensor,
        weights: Tensor,
        recurrences: Tensor,
        biases: Tensor | None = None,
        lengths: Tensor | None = None,
        *states: Tensor | None,
    ) -> Any:
        if "activations" in of or lengths is not None or of.get("layout", 0):
            raise UnsupportedModelError(f"{kind.upper()}: activations and lengths are not read")
        directions, hidden = weights.shape[0], of["hidden_size"]

        def torch_order(tensor: Tensor) -> Tensor:
            parts = tensor.split(hidden)
            return torch.cat([parts[gate] for gate in order])

        flat = []
        for way in range(directions):
            flat += [torch_order(weights[way]), torch_order(recurrences[way])]
            if biases is not None:
                flat += [torch_order(part) for part in biases[way].split(gates * hidden)]
        shape = (directions, x.shape[1], hidden)
        start = [x.new_zeros(shape) if state is None else state for state in states[:2]]
        while len(start) < (2 if kind == "lstm" else 1):
            start.append(x.new_zeros(shape))
        arguments = (flat, biases is not None, 1, 0.0, False, directions == 2, False)
        if kind == "lstm":
            output, last, cell = torch.lstm(x, start[:2], *arguments)
            return _by_direction(output, directions), last, cell
        output, last = torch.gru(x, start[0], *arguments)
        return _by_direction(output, directions), last

    return run


def _by_direction(output: Tensor, directions: int) -> Tensor:
    """Return (steps, directions, batch, hidden), as ONNX has it."""
    apart: Tensor = output.unflatten(-1, (directions, -1)).transpose(1, 2)
    return apart


LAYERS: dict[str, Operator] = {
    "Conv": convolution,
    "ConvTranspose": transposed,
    "Gemm": general_product,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "RMSNormalization": rms_norm,
    "LRN": local_response_norm,
    "MaxPool": max_pool,
    "AveragePool": mean_pool,
    "GlobalAveragePool": global_mean,
    "GlobalMaxPool": global_max,
    "Attention": attention,
    "LSTM": recurrent("lstm"),
    "GRU": recurrent("gru"),
}
"""Operators by their names in ONNX."""
