"""What operators of ONNX without weights are in torch: arithmetic, activations, shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UnsupportedModelError
from .layers import Attributes, Operator


def plain(function: Callable[..., Any]) -> Operator:
    """Return an operator without attributes."""
    return lambda of, *given: function(*given)


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Return an operator of any number of inputs, made of one of two."""

    def run(of: Attributes, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return run


def reduced(function: Callable[..., Tensor]) -> Operator:
    """Return a reduction over axes, which are an attribute or, later, an input."""

    def run(of: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = of.get("axes") if axes is None else whole(axes)
        if not dims:
            if of.get("noop_with_empty_axes", 0):
                return x
            dims = list(range(x.dim()))
        return function(x, dims, keepdim=bool(of.get("keepdims", 1)))

    return run


def whole(tensor: Tensor | None) -> list[int]:
    """Return whole numbers, such as a shape, as a list."""
    if tensor is None:
        return []
    return [int(one) for one in tensor.reshape(-1).tolist()]


def divided(of: Attributes, a: Tensor, b: Tensor) -> Tensor:
    """Div, which of whole numbers drops the rest."""
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def clipped(of: Attributes, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """Clip, whose bounds are attributes or, later, inputs."""
    low = of.get("min") if low is None else low
    high = of.get("max") if high is None else high
    bounds = [None if bound is None else float(bound) for bound in (low, high)]
    if bounds == [0.0, 6.0]:
        return F.relu6(x)
    return torch.clamp(x, *bounds)


def reshaped(of: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """Reshape, where 0 keeps a size."""
    sizes = whole(shape)
    if not of.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def flattened(of: Attributes, x: Tensor) -> Tensor:
    """Flatten, which always gives two dimensions."""
    axis = of.get("axis", 1)
    return x.flatten(1) if axis == 1 and x.dim() > 1 else x.reshape(x.shape[:axis].numel(), -1)


def squeezed(of: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Squeeze."""
    dims = of.get("axes", ()) if axes is None else whole(axes)
    return x.squeeze(tuple(dims)) if dims else x.squeeze()


def unsqueezed(of: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Unsqueeze, whose axes are those of the result."""
    dims = of["axes"] if axes is None else whole(axes)
    final = x.dim() + len(dims)
    for dim in sorted(dim % final for dim in dims):
        x = x.unsqueeze(dim)
    return x


def split(of: Attributes, x: Tensor, sizes: Tensor | None = None) -> Any:
    """Split, into parts of given sizes or so many equal ones."""
    axis = of.get("axis", 0)
    parts = of.get("split") if sizes is None else whole(sizes)
    if parts is None:
        count = of.get("num_outputs", of["outputs"])
        return x.split(-(-x.shape[axis] // count), axis)
    return x.split(parts, axis)


def sliced(
    of: Attributes,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Slice; steps backwards take the elements one by one."""
    start: list[int] = of["starts"] if starts is None else whole(starts)
    end: list[int] = of["ends"] if ends is None else whole(ends)
    dims = (of.get("axes") if axes is None else whole(axes)) or range(len(start))
    for a, b, dim, step in zip(start, end, dims, whole(steps) or [1] * len(start), strict=True):
        bounds = slice(a, b, step).indices(x.shape[dim])  # exporters write 2^63 - 1 for the end
        if step > 0:
            x = x[(slice(None),) * (dim % x.dim()) + (slice(*bounds),)]
        else:
            x = x.index_select(dim, torch.tensor(list(range(*bounds)), device=x.device))
    return x


def gathered(of: Attributes, x: Tensor, index: Tensor) -> Tensor:
    """Gather; rows of a learned table are an embedding."""
    axis = of.get("axis", 0)
    index = index.to(x.device)
    if axis == 0 and x.dim() == 2 and x.is_floating_point():
        return F.embedding(index, x)
    if index.dim() == 0:
        return x.select(axis, int(index))
    index = torch.where(index < 0, index + x.shape[axis], index)
    found = x.index_select(axis, index.reshape(-1))
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis % x.dim() + 1 :])


def padded(
    of: Attributes,
    x: Tensor,
    pads: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """Pad."""
    sides: list[int] = of["pads"] if pads is None else whole(pads)
    dims = whole(axes) or list(range(x.dim()))
    both = [(0, 0)] * x.dim()
    for place, dim in enumerate(dims):
        both[dim] = (sides[place], sides[place + len(dims)])
    while both and both[0] == (0, 0):
        both = both[1:]
    flat = [side for pair in reversed(both) for side in pair]
    mode = {"edge": "replicate", "reflect": "reflect", "constant": "constant"}[
        of.get("mode", "constant")
    ]
    filled = of.get("value", 0.0) if value is None else float(value)
    return F.pad(x, flat, mode, filled if mode == "constant" else None) if flat else x


def resized(
    of: Attributes,
    x: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """Resize of the last dimensions; where coordinates fall is as near as torch has it."""
    size = whole(sizes)[2:]
    if not size:
        assert scales is not None
        factors = scales.reshape(-1).tolist()[2:]
        size = [int(side * factor) for side, factor in zip(x.shape[2:], factors, strict=True)]
    mode = of.get("mode", "nearest")
    if mode == "nearest":
        return F.interpolate(x, size)
    named = {"linear": ("linear", "bilinear", "trilinear")[len(size) - 1], "cubic": "bicubic"}
    aligned = of.get("coordinate_transformation_mode") == "align_corners"
    return F.interpolate(x, size, mode=named[mode], align_corners=aligned)


def upsampled(of: Attributes, x: Tensor, scales: Tensor) -> Tensor:
    """Upsample, which Resize took the place of."""
    return resized(of, x, None, scales)


def depth_to_space(of: Attributes, x: Tensor) -> Tensor:
    """DepthToSpace."""
    size = of["blocksize"]
    if of.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    n, c, h, w = x.shape
    x = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // size**2, h * size, w * size)


def space_to_depth(of: Attributes, x: Tensor) -> Tensor:
    """SpaceToDepth, whose channels stand in another order than those of pixel_unshuffle."""
    size = of["blocksize"]
    n, c = x.shape[:2]
    parts = F.pixel_unshuffle(x, size).reshape(n, c, size**2, *(s // size for s in x.shape[2:]))
    return parts.transpose(1, 2).flatten(1, 2)


def cast(of: Attributes, x: Tensor) -> Tensor:
    """Cast."""
    return x.to(dtype_of(of["to"]))


def filled(of: Attributes, shape: Tensor) -> Tensor:
    """ConstantOfShape."""
    value = of.get("value", torch.zeros(1))
    return torch.full(whole(shape), value.item(), dtype=value.dtype)


def shape_of(of: Attributes, x: Tensor) -> Tensor:
    """Shape."""
    return torch.tensor(list(x.shape)[slice(of.get("start", 0), of.get("end"))])


def softmax(function: Callable[..., Tensor]) -> Operator:
    """Return Softmax or LogSoftmax, which before version 13 flattened what it took."""

    def run(of: Attributes, x: Tensor) -> Tensor:
        if of["version"] >= 13:
            return function(x, of.get("axis", -1))
        return function(x.flatten(of.get("axis", 1)), -1).reshape(x.shape)

    return run


def hard_sigmoid(of: Attributes, x: Tensor) -> Tensor:
    """HardSigmoid; torch's where the slope is its own."""
    alpha, beta = of.get("alpha", 0.2), of.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-4 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0, 1)


def elu(of: Attributes, x: Tensor) -> Tensor:
    """Elu."""
    return F.elu(x, of.get("alpha", 1.0))


def leaky_relu(of: Attributes, x: Tensor) -> Tensor:
    """LeakyRelu."""
    return F.leaky_relu(x, of.get("alpha", 0.01))


def prelu(of: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    """PRelu."""
    return F.prelu(x, slope.reshape(-1))


def gelu(of: Attributes, x: Tensor) -> Tensor:
    """Gelu."""
    return F.gelu(x, approximate=of.get("approximate", "none"))


def highest(of: Attributes, x: Tensor) -> Tensor:
    """ArgMax."""
    return x.argmax(of.get("axis", 0), bool(of.get("keepdims", 1)))


def triangle(of: Attributes, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """Trilu."""
    k = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, k) if of.get("upper", 1) else torch.tril(x, k)


def dtype_of(number: int) -> torch.dtype:
    """Return the type that ONNX has a number for.

    Raises:
        UnsupportedModelError: torch has none.
    """
    import onnx

    name = onnx.TensorProto.DataType.Name(number).lower()
    spelt = {"float": "float32", "double": "float64"}.get(name, name)
    found = getattr(torch, spelt, None)
    if not isinstance(found, torch.dtype):
        raise UnsupportedModelError(f"a tensor of type {name} is not read")
    return found


def tensor_of(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array as a tensor of its own."""
    return torch.from_numpy(np.array(array))


FUNCTIONS: dict[str, Operator] = {
    **{
        name: plain(getattr(torch, name.lower()))
        for name in "Sigmoid Tanh Erf Sqrt Exp Log Neg Abs Reciprocal Floor Ceil Round Sign "
        "Sin Cos Where".split()
    },
    **{
        name: plain(getattr(F, name.lower())) for name in "Relu Selu Softplus Softsign Mish".split()
    },
    "HardSwish": plain(F.hardswish),
    "Swish": plain(F.silu),
    "Celu": lambda of, x: F.celu(x, of.get("alpha", 1.0)),
    "Elu": elu,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "Softmax": softmax(torch.softmax),
    "LogSoftmax": softmax(torch.log_softmax),
    "Clip": clipped,
    "Add": plain(torch.add),
    "Sub": plain(torch.sub),
    "Mul": plain(torch.mul),
    "Div": divided,
    "Pow": plain(torch.pow),
    "Mod": plain(torch.remainder),
    "MatMul": plain(torch.matmul),
    "Sum": folded(torch.add),
    "Max": folded(torch.maximum),
    "Min": folded(torch.minimum),
    "Equal": plain(torch.eq),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Not": plain(torch.logical_not),
    "And": plain(torch.logical_and),
    "Or": plain(torch.logical_or),
    "ReduceMean": reduced(torch.mean),
    "ReduceSum": reduced(torch.sum),
    "ReduceMax": reduced(torch.amax),
    "ReduceMin": reduced(torch.amin),
    "ReduceL2": reduced(lambda x, dims, keepdim: torch.linalg.vector_norm(x, 2, dims, keepdim)),
    "Reshape": reshaped,
    "Flatten": flattened,
    "Transpose": lambda of, x: x.permute(of.get("perm", range(x.dim() - 1, -1, -1))),
    "Squeeze": squeezed,
    "Unsqueeze": unsqueezed,
    "Concat": lambda of, *xs: torch.cat(xs, of["axis"]),
    "Split": split,
    "Slice": sliced,
    "Gather": gathered,
    "Expand": lambda of, x, shape: x.expand(torch.broadcast_shapes(x.shape, whole(shape))),
    "Tile": lambda of, x, repeats: x.tile(whole(repeats)),
    "Pad": padded,
    "Resize": resized,
    "Upsample": upsampled,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Identity": plain(lambda x: x),
    "Dropout": plain(lambda x, *_: x),
    "Cast": cast,
    "CastLike": lambda of, x, like: x.to(like.dtype),
    "Shape": shape_of,
    "Size": plain(lambda x: torch.tensor(x.numel())),
    "ConstantOfShape": filled,
    "Range": plain(lambda start, end, step: torch.arange(start.item(), end.item(), step.item())),
    "ArgMax": highest,
    "CumSum": lambda of, x, axis: x.cumsum(int(axis)),
    "Einsum": lambda of, *xs: torch.einsum(of["equation"], *xs),
    "Trilu": triangle,
}
"""Operators by their names in ONNX."""
