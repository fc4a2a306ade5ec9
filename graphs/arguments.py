"""The attributes, shapes and constants of a node, read from the arguments of an ATen call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from . import flops
from .operators import NORMS, canonical

LARGEST_CONSTANT = 1 << 22
"""Elements up to which a constant is computed for real."""


@dataclass(frozen=True)
class Facts:
    """The facts in the schema of an ATen overload, looked up once."""

    name: str  # aten.relu_
    base: str  # relu_
    operator: str
    is_view: bool
    written: int | None  # position of the argument written in place
    takes_device: bool
    draws: bool


@cache
def facts_of(func: Any) -> Facts:
    """Return the facts of an ATen overload."""
    schema = func._schema
    namespace, _, base = schema.name.partition("::")
    written = [
        i
        for i, a in enumerate(schema.arguments)
        if a.alias_info is not None and a.alias_info.is_write
    ]
    returns_alias = any(
        r.alias_info is not None and not r.alias_info.is_write for r in schema.returns
    )
    return Facts(
        name=f"{namespace}.{base}",
        base=base,
        operator=canonical(f"{namespace}.{base}"),
        is_view=returns_alias and not written,
        written=written[0] if written else None,
        takes_device=any(a.name == "device" for a in schema.arguments),
        draws=torch.Tag.nondeterministic_seeded in func.tags,
    )


def written_by(facts: Facts, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the argument that a call writes to, if it writes to one."""
    if facts.written is None:
        return None
    return args[facts.written] if facts.written < len(args) else kwargs.get("out")


def nested_tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Return all tensors among the values, including those in lists and tuples, in order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from nested_tensors(value)


def operands_of(args: tuple[Any, ...], count: int) -> list[Tensor]:
    """Return the first ``count`` tensors among the arguments."""
    return [t for t in args if isinstance(t, Tensor)][:count]


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the same nested lists and tuples with ``change`` applied to each leaf."""
    if isinstance(value, (list, tuple)):
        return type(value)([mapped(v, change) for v in value])
    return change(value)


def shape_only(value: Any) -> Any:
    """Return a tensor, or nested tensors, on the meta device; return anything else unchanged."""
    if isinstance(value, Tensor) and not value.is_meta:
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, (list, tuple)):
        return mapped(value, shape_only)
    return value


def storage_of(tensor: Tensor) -> int:
    """Return an identifier of a tensor's memory; all views of one tensor share it."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse tensors have none: the object stands
        return -id(tensor)


def covers_storage(tensor: Tensor) -> bool:
    """Return whether the tensor covers its whole storage."""
    return tensor.layout is torch.strided and tensor.nbytes == tensor.untyped_storage().nbytes()


def is_small(facts: Facts, args: tuple[Any, ...], tensors: list[Tensor]) -> bool:
    """Return whether a constant is cheap enough to be computed for real."""
    if tensors:
        return max(t.numel() for t in tensors) <= LARGEST_CONSTANT
    if args and isinstance(args[0], (list, tuple)):
        return prod(a for a in args[0] if isinstance(a, int)) <= LARGEST_CONSTANT
    return True


def is_identity(base: str, args: tuple[Any, ...], tensors: list[Tensor]) -> bool:
    """Return whether a call changes nothing: ``x + 0`` (as ``sum()`` begins), ``x * 1``,
    ``cat([x])``."""
    if len(tensors) != 1:
        return False
    name = base.rstrip("_")
    if name in ("add", "sub", "mul", "div") and len(args) == 2:
        neutral = 0 if name in ("add", "sub") else 1
        return isinstance(args[1], (int, float)) and args[1] == neutral
    return name in ("cat", "concat")


def columns(
    kernel: Sequence[int] = (),
    stride: Sequence[int] = (),
    padding: Sequence[int] = (),
    dilation: Sequence[int] = (),
    groups: int = 0,
    heads: int = 0,
    bias: int = 0,
) -> tuple[int, ...]:
    """Return a row of ``ATTRIBUTES``; attributes that are not given are 0."""

    def three(values: Sequence[int]) -> tuple[int, ...]:
        return (*(int(v) for v in values[:3]), 0, 0, 0)[:3]

    return (
        *three(kernel),
        *three(stride),
        *three(padding),
        *three(dilation),
        groups,
        heads,
        bias,
    )


def attributes_of(
    facts: Facts,
    operator: str,
    args: tuple[Any, ...],
    operands: list[tuple[Tensor, int, tuple[int, ...]]],
) -> tuple[int, ...]:
    """Return the row of attributes that the arguments of a call set."""
    if "conv" in operator and len(args) >= 9:
        dims = args[1].dim() - 2
        return columns(
            kernel=args[1].shape[2:],
            stride=_per_axis(args[3], dims),
            padding=_per_axis(args[4], dims),
            dilation=_per_axis(args[5], dims),
            groups=args[8],
            bias=int(args[2] is not None),
        )
    if operator == "linear":
        return columns(bias=int(facts.base.startswith("add")))
    if operator in ("max_pool", "avg_pool") and "adaptive" not in facts.base and len(args) > 1:
        source = operands[0][0]
        # A pool's channel dimension is the one before its window.
        dims = int(facts.base[facts.base.index("pool") + 4]) if "pool" in facts.base else 2
        if source.dim() < dims or not isinstance(args[1], (int, list, tuple)):
            return columns()
        kernel = _per_axis(args[1], dims)
        if facts.base.startswith("fractional"):  # its steps are drawn at random
            return columns(kernel=kernel)
        stride = _per_axis(args[2], dims) if len(args) > 2 and args[2] else kernel
        padding = _per_axis(args[3], dims) if len(args) > 3 else (0,) * dims
        return columns(kernel=kernel, stride=stride, padding=padding)
    if operator in NORMS:
        return columns(bias=int(sum(bool(p) and n < 0 for _, n, p in operands) > 1))
    if operator == "attention":
        return columns(heads=operands[0][0].shape[1])
    return columns()


def _per_axis(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * dims if len(values) == 1 else values


def convolution_class(args: tuple[Any, ...]) -> str:
    """Return the canonical operator of ``aten.convolution``'s arguments."""
    source, weight, transposed, groups = args[0], args[1], args[6], args[8]
    dims = weight.dim() - 2
    if transposed:
        return f"conv_transpose{dims}d"
    channels = source.shape[1] if source.dim() == weight.dim() else source.shape[0]
    return "depthwise_conv" if groups > 1 and groups == channels else f"conv{dims}d"


def refined(
    operator: str, facts: Facts, args: tuple[Any, ...], source: tuple[int, ...], made: Any
) -> str:
    """Refine names that depend on the arguments: relu6, a product with zero, global pooling."""
    if operator == "hardtanh" and tuple(args[1:3]) == (0.0, 6.0):
        return "relu6"
    if operator == "mul" and any(isinstance(a, (int, float)) and a == 0 for a in args):
        return "zero"
    if operator == "mean" and len(args) > 1 and args[1] is not None and len(source) in (4, 5):
        rank = len(source)
        dims = sorted(d % rank for d in args[1])
        first, last = list(range(2, rank)), list(range(1, rank - 1))
        return "global_avg_pool" if dims in (first, last) else operator
    if operator == "avg_pool" and len(source) >= 4 and len(made) == len(source):
        return "global_avg_pool" if prod(made[2:]) == 1 < prod(source[2:]) else operator
    return operator


def product_flops(
    facts: Facts,
    args: tuple[Any, ...],
    tensors: list[Tensor],
    source: tuple[int, ...],
    made: tuple[int, ...],
) -> int:
    """Return the multiply-adds of a convolution or matrix product."""
    if "conv" in facts.base:
        if facts.base == "deform_conv2d":
            return flops.convolution(tuple(args[1].shape), source, made, False)
        given = tuple(args[0].shape)
        if args[0].dim() < args[1].dim():  # unbatched
            given, made = (1, *given), (1, *made)
        return flops.convolution(tuple(args[1].shape), given, made, bool(args[6]))
    if facts.base == "linear":
        return int(prod(args[0].shape) * args[1].shape[0])
    factors = [t for t in tensors if t.is_floating_point() or t.is_complex()][-2:]
    sparse = next((t for t in factors if t.layout is torch.sparse_coo), None)
    if sparse is not None:
        return int(sparse._nnz() * made[-1])
    return flops.product([tuple(t.shape) for t in factors])


def constants_of(operator: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the numbers among the arguments, which distinguish ``0.1 * x`` from ``x``."""
    if operator in NORMS:
        # Training flag and momentum do not change the architecture.
        return str([a for a in args if isinstance(a, float)][-1:])
    if "conv" in operator:
        return str(args[7]) if len(args) > 7 else ""
    return repr([_plain(a) for a in (*args, *kwargs.values())])


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None
