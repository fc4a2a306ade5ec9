"""Recording one forward: every ATen call becomes a node, every tensor knows its maker.

Two modes work together. :class:`FunctionRecorder` sees whole functions before they fall apart
(attention, recurrent layers, dropout) and hands them to :class:`Recorder`, which sees every ATen
call, runs it on shape-only (meta) tensors and notes who made which storage. Following storages
instead of tensors resolves views and in-place operators to data flow by itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from . import flops
from .graph import ATTRIBUTES, Graph
from .operators import CANONICAL_ID, NORMS, canonical

# Copies and casts: the result is the operand.
_COPIES = frozenset(
    "clone _to_copy contiguous _unsafe_view lift_fresh lift_fresh_copy lift alias_copy detach_copy "
    "view_copy expand_copy permute_copy t_copy transpose_copy slice_copy select_copy squeeze_copy "
    "unsqueeze_copy positive resolve_conj resolve_neg dropout native_dropout _reshape_copy "
    "view_as_complex_copy _conj_physical as_strided_ transpose_ t_ squeeze_ unsqueeze_ swapaxes_ "
    "swapdims_ detach_".split()
)
# Only the operand's shape matters: the result is a constant.
_SHAPE_ONLY = frozenset(
    "empty_like zeros_like ones_like full_like rand_like randn_like randint_like new_empty "
    "new_zeros new_ones new_full new_empty_strided sym_size sym_numel _assert_async".split()
)
_RANDOM = frozenset(
    "bernoulli bernoulli_ uniform_ normal_ rand rand_like randn randn_like exponential_ normal "
    "random_ geometric_ cauchy_ log_normal_".split()
)
# Their result or its shape depends on values, which shape-only tensors do not have.
_NEEDS_VALUES = frozenset(
    "_local_scalar_dense item is_nonzero equal nonzero masked_select unique unique2 _unique "
    "_unique2 unique_dim unique_consecutive bincount nms".split()
)
_LARGEST_CONSTANT = 1 << 22


class NeedsValues(Exception):
    """An operator needs the values of a tensor that has only a shape."""


@dataclass(frozen=True)
class _Facts:
    """What the schema of an ATen overload says, looked up once."""

    name: str  # aten.relu_
    base: str  # relu_
    operator: str
    is_view: bool
    written: int | None  # position of the argument written in place
    takes_device: bool


@cache
def _facts(func: Any) -> _Facts:
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
    return _Facts(
        name=f"{namespace}.{base}",
        base=base,
        operator=canonical(f"{namespace}.{base}"),
        is_view=returns_alias and not written,
        written=written[0] if written else None,
        takes_device=any(a.name == "device" for a in schema.arguments),
    )


class ModulePath:
    """Which module is running, by its path from the root; kept by global forward hooks.

    The hooks are global, so the model itself is not touched, and answer only to the thread that
    entered the context.
    """

    def __init__(self, model: nn.Module):
        self._names = {id(module): name for name, module in model.named_modules()}
        self._stack: list[tuple[int, str]] = []

    @property
    def current(self) -> str:
        """The path of the innermost running module, ``""`` for the root."""
        return self._stack[-1][1] if self._stack else ""

    @contextmanager
    def tracked(self) -> Iterator[ModulePath]:
        """Follow the modules called inside this context."""
        from threading import get_ident

        thread = get_ident()

        def enter(module: nn.Module, args: Any) -> None:
            if get_ident() == thread:
                name = self._names.get(id(module))
                if name is None:  # made during the forward
                    name = f"{self.current}.<{type(module).__name__}>".lstrip(".")
                self._stack.append((id(module), name))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if get_ident() == thread:
                # A module that raised into a caller that caught it never left: drop it too.
                while self._stack and self._stack.pop()[0] != id(module):
                    pass

        hooks = nn.modules.module
        handles = [
            hooks.register_module_forward_pre_hook(enter),
            hooks.register_module_forward_hook(leave),
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()


class Recorder(TorchDispatchMode):
    """Runs ATen calls on shape-only tensors and writes down the graph.

    What each tensor stands for is kept by storage: the node that made it, or the parameters that it
    was computed from, or nothing for a constant. Constants (masks, index tables, drop rates) are
    computed for real, so Python may branch on them; whatever depends on the input or on weights has
    no values, and asking for one raises :class:`NeedsValues`.

    Args:
        parameters: name -> parameter, each tensor once.
        path: follows the running module.
        values: compute everything for real (the fall-back for models that branch on values).
    """

    def __init__(self, parameters: dict[str, Tensor], path: ModulePath, values: bool = False):
        super().__init__()
        self.path = path
        self.values = values
        self.paused = False
        self.last_call = ""
        self._names = list(parameters)
        self._sizes = [p.numel() for p in parameters.values()]
        self._maker: dict[int, int] = {}  # storage -> node
        self._derived: dict[int, tuple[int, ...]] = {}  # storage -> parameters it comes from
        self._noise: set[int] = set()  # storages of random numbers alone
        self._own: set[int] = set()  # storages of constants made here, free to be written
        self._several: dict[int, list[tuple[int, int, int]]] = {}  # storage -> (start, end, p)
        self._keep: list[Tensor] = []  # a freed storage's address must not come back
        self._kept_bytes = 0
        self._table: dict[str, dict[str, int]] = {"aten": {}, "module": {}}
        self._operator: list[int] = []
        self._aten: list[int] = []
        self._module: list[int] = []
        self._attributes: list[tuple[int, ...]] = []
        self._signature: list[int] = []
        self._in_shapes: list[tuple[int, ...]] = []
        self._out_shapes: list[tuple[int, ...]] = []
        self._uses: list[tuple[int, ...]] = []
        self._flops: list[int] = []
        self._edges: list[tuple[int, int]] = []
        for index, parameter in enumerate(parameters.values()):
            storage = _storage(parameter)
            start = int(parameter.storage_offset())
            entry = (start, start + parameter.numel(), index)
            self._several.setdefault(storage, []).append(entry)
            self._derived[storage] = (*self._derived.get(storage, ()), index)

    # --- what a tensor stands for ---------------------------------------------------------------

    def _parameters_of(self, tensor: Tensor, storage: int) -> tuple[int, ...]:
        found = self._derived.get(storage, ())
        if len(found) > 1 and storage in self._several:  # weights packed into one storage
            start = tensor.storage_offset()
            return tuple(p for s, e, p in self._several[storage] if s <= start < e) or found
        return found

    def _known(self, tensor: Tensor, storage: int) -> bool:
        """Whether the tensor is a constant whose values may be used."""
        return (
            tensor.device.type != "meta"
            and storage not in self._maker
            and storage not in self._derived
        )

    def is_learned(self, tensor: Tensor) -> bool:
        """Whether this tensor comes from parameters alone."""
        storage = _storage(tensor)
        return storage in self._derived and storage not in self._maker

    # --- running --------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        facts = _facts(func)
        self.last_call = facts.name
        if facts.is_view:  # the storage says the rest
            return func(*args, **kwargs)
        tensors = list(_tensors(args))
        if kwargs:
            tensors.extend(_tensors(kwargs.values()))
        storages = [_storage(t) for t in tensors]
        result = self._run(func, facts, args, kwargs, tensors, storages)
        self._note(facts, args, kwargs, tensors, storages, result)
        return result

    def _run(
        self,
        func: Any,
        facts: _Facts,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        storages: list[int],
    ) -> Any:
        if self.values:
            return func(*args, **kwargs)
        known = all(map(self._known, tensors, storages))
        if facts.base in _NEEDS_VALUES and not known:
            raise NeedsValues(facts.name)
        target = args[facts.written] if facts.written is not None and args else None
        if known and isinstance(target, Tensor) and _storage(target) not in self._own:
            known = False  # the user's own tensor (a buffer): never write to it
        if known and not _is_small(facts, args, tensors):
            known = False
        if known:
            if facts.takes_device and kwargs.get("device") is not None:
                kwargs = {**kwargs, "device": torch.device("cpu")}
            result = func(*args, **kwargs)
            self._own.update(_storage(t) for t in _tensors((result,)))
            return result
        if facts.takes_device and (kwargs.get("device") is not None or not tensors):
            kwargs = {**kwargs, "device": torch.device("meta")}
        result = func(*_map(args, _shape_only), **{k: _shape_only(v) for k, v in kwargs.items()})
        # In place, Python must get back the very tensor that it passed.
        return target if isinstance(target, Tensor) and isinstance(result, Tensor) else result

    # --- writing down ---------------------------------------------------------------------------

    def _note(
        self,
        facts: _Facts,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        storages: list[int],
        result: Any,
    ) -> None:
        outputs = list(_tensors((result,)))
        if not outputs:
            return
        operands = [
            (t, self._maker.get(s, -1), self._parameters_of(t, s))
            for t, s in zip(tensors, storages, strict=True)
        ]
        base = facts.base
        if base in _RANDOM:
            self._set(outputs, noise=True)
        elif base in _SHAPE_ONLY:
            self._set(outputs)
        elif base in _COPIES or _is_identity(base, args, tensors):
            self._set_like(outputs, storages[0])
        elif base == "copy_":
            self._copy(facts, operands, storages, outputs)
        elif base in ("fill_", "zero_") and _covers_storage(outputs[0]):
            self._set(outputs)
        elif base in ("mul", "mul_", "div", "div_") and self._noise.intersection(storages):
            kept = [s for s in storages if s not in self._noise]  # dropout, stochastic depth
            if kept:
                self._set_like(outputs, kept[0])
            else:
                self._set(outputs, noise=True)
        else:
            self._operator_node(facts, args, kwargs, operands, outputs, storages)

    def _operator_node(
        self,
        facts: _Facts,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        operands: list[tuple[Tensor, int, tuple[int, ...]]],
        outputs: list[Tensor],
        storages: list[int],
    ) -> None:
        operator = facts.operator
        if facts.base in ("convolution", "_convolution", "convolution_overrideable"):
            operator = _convolution_class(args)
        elif operator == "matmul" and any(n < 0 and p for _, n, p in operands[-2:]):
            operator = "linear"
        makers = [n for _, n, _ in operands if n >= 0]
        parameters = tuple(p for _, n, ps in operands if n < 0 for p in ps)
        if not makers:
            if not parameters:
                noise = bool(storages) and all(s in self._noise for s in storages)
                self._set(outputs, noise=noise)
                return
            if operator not in ("embedding", "linear", "matmul") and "conv" not in operator:
                self._set(outputs, parameters=parameters)  # weight standardisation and the like
                return
        source = next((t for t, n, _ in operands if n >= 0), operands[0][0])
        shape, made = tuple(source.shape), tuple(outputs[0].shape)
        attributes = _attributes(facts, operator, args, operands)
        operator = _refine(operator, facts, args, shape, made)
        kernel = attributes[:3] if operator.endswith("pool") else ()
        if operator in ("linear", "matmul") or "conv" in operator:
            count = _product_flops(facts, args, [t for t, _, _ in operands], shape, made)
        elif operator == "attention":
            count = flops.attention(*(tuple(t.shape) for t in operands_of(args, 3)))
        else:
            kernel = tuple(k for k in kernel if k)
            count = flops.elementwise(operator, facts.name, shape, made, kernel)
        self.add(
            operator,
            facts.name,
            makers,
            parameters,
            shape,
            outputs,
            attributes,
            count,
            _constants(operator, args, kwargs),
        )

    def add(
        self,
        operator: str,
        aten: str,
        makers: Iterable[int],
        parameters: Iterable[int],
        source: tuple[int, ...],
        outputs: Sequence[Tensor],
        attributes: tuple[int, ...] = (0,) * len(ATTRIBUTES),
        count: int = 0,
        constants: str = "",
        made: tuple[int, ...] | None = None,
    ) -> int:
        """Append one node and say that it made ``outputs``; returns its index."""
        node = len(self._operator)
        self._operator.append(CANONICAL_ID[operator])
        self._aten.append(self._intern("aten", aten))
        self._module.append(self._intern("module", self.path.current))
        self._attributes.append(attributes)
        self._signature.append(zlib.crc32(constants.encode()))
        self._in_shapes.append(source)
        self._out_shapes.append(tuple(outputs[0].shape) if made is None else made)
        self._uses.append(tuple(dict.fromkeys(parameters)))
        self._flops.append(count)
        self._edges.extend((maker, node) for maker in makers)
        self._set(outputs, node=node)
        return node

    def composite(
        self,
        operator: str,
        name: str,
        operands: Sequence[Tensor],
        outputs: Sequence[Tensor],
        attributes: tuple[int, ...],
        count: int,
        constants: str,
    ) -> None:
        """One node for a whole function; ``operands`` in the function's order."""
        makers: list[int] = []
        parameters: list[int] = []
        for tensor in operands:
            storage = _storage(tensor)
            if storage in self._maker:
                makers.append(self._maker[storage])
            else:
                parameters.extend(self._parameters_of(tensor, storage))
        self.add(
            operator,
            name,
            makers,
            parameters,
            tuple(operands[0].shape),
            outputs,
            attributes,
            count,
            constants,
        )

    def add_input(self, tensor: Tensor) -> None:
        """A source node for one input tensor."""
        self.add("input", "input", (), (), tuple(tensor.shape), [tensor])

    def add_output(self, tensor: Tensor) -> None:
        """A sink node for one output tensor; constants have none."""
        maker = self._maker.get(_storage(tensor))
        if maker is not None:
            shape = tuple(tensor.shape)
            self.add("output", "output", [maker], (), shape, [], made=shape)

    def _copy(
        self,
        facts: _Facts,
        operands: list[tuple[Tensor, int, tuple[int, ...]]],
        storages: list[int],
        outputs: list[Tensor],
    ) -> None:
        if len(storages) < 2:
            return
        (target, before, _), (value, maker, _) = operands[:2]
        if _covers_storage(target):
            self._set_like(outputs, storages[1])
        elif before >= 0 or maker >= 0:
            makers = [n for n in (before, maker) if n >= 0]
            parameters = tuple(p for _, n, ps in operands if n < 0 for p in ps)
            self.add("scatter", facts.name, makers, parameters, tuple(value.shape), outputs)

    def _set(
        self,
        outputs: Iterable[Tensor],
        node: int = -1,
        parameters: tuple[int, ...] = (),
        noise: bool = False,
    ) -> None:
        for tensor in outputs:
            storage = _storage(tensor)
            self._maker.pop(storage, None)
            self._derived.pop(storage, None)
            self._several.pop(storage, None)
            self._noise.discard(storage)
            if node >= 0:
                self._maker[storage] = node
            elif parameters:
                self._derived[storage] = tuple(dict.fromkeys(parameters))
            elif noise:
                self._noise.add(storage)
            if not self.values or self._kept_bytes < 1 << 31:
                self._keep.append(tensor)
                self._kept_bytes += 0 if tensor.is_meta else tensor.nbytes

    def _set_like(self, outputs: Iterable[Tensor], storage: int) -> None:
        self._set(
            outputs,
            self._maker.get(storage, -1),
            self._derived.get(storage, ()),
            storage in self._noise,
        )

    def _intern(self, table: str, name: str) -> int:
        names = self._table[table]
        return names.setdefault(name, len(names))

    def graph(self) -> Graph:
        """What was recorded, as arrays."""
        in_shapes, in_offsets = _ragged(self._in_shapes)
        out_shapes, out_offsets = _ragged(self._out_shapes)
        uses, uses_offsets = _ragged(self._uses)
        n = len(self._operator)
        return Graph(
            operator=np.array(self._operator, dtype=np.int16),
            aten=np.array(self._aten, dtype=np.int32),
            module=np.array(self._module, dtype=np.int32),
            attributes=np.array(self._attributes, dtype=np.int32).reshape(n, len(ATTRIBUTES)),
            signature=np.array(self._signature, dtype=np.uint32),
            in_shapes=in_shapes,
            in_offsets=in_offsets,
            out_shapes=out_shapes,
            out_offsets=out_offsets,
            uses=uses.astype(np.int32),
            uses_offsets=uses_offsets,
            node_flops=np.array(self._flops, dtype=np.int64),
            edges=np.array(self._edges, dtype=np.int32).reshape(-1, 2),
            parameter_sizes=np.array(self._sizes, dtype=np.int64),
            aten_names=tuple(self._table["aten"]),
            module_names=tuple(self._table["module"]),
            parameter_names=tuple(self._names),
        )


class FunctionRecorder(TorchFunctionMode):
    """Catches functions that are one operator to a reader but many to ATen.

    Dropout is the identity here, so a graph does not depend on the mode of the model; batch norm
    skips the check that forbids single values, since shapes have none.
    """

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        handler = _HANDLERS.get(func)
        if handler is None or self.recorder.paused:
            return func(*args, **(kwargs or {}))
        self.recorder.last_call = f"aten.{func.__name__}"
        return handler(self.recorder, func, *args, **(kwargs or {}))


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
        _columns(bias=int(bias is not None)),
        2 * input.numel(),
        str([eps]),
    )
    return result


def _linear(
    recorder: Recorder, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """One node with the shape that the layer has; ATen would flatten it to two dimensions."""
    if not recorder.is_learned(weight):
        result: Tensor = func(input, weight, bias)
        return result
    shape = (*input.shape[:-1], *weight.shape[:-1])
    result = _compute(recorder, lambda: func(input, weight, bias), input, shape)
    recorder.composite(
        "linear",
        "aten.linear",
        [t for t in (input, weight, bias) if t is not None],
        [result],
        _columns(bias=int(bias is not None)),
        input.numel() * prod(weight.shape[:-1]),
        "",
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
        _columns(heads=query.shape[1] if query.dim() == 4 else 1),
        flops.attention(tuple(query.shape), tuple(key.shape), tuple(value.shape)),
        f"{is_causal} {kwargs.get('scale')}",
    )
    return result


def _whole_norm(operator: str, bias_position: int | None) -> Callable[..., Tensor]:
    def handler(recorder: Recorder, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = _compute(recorder, lambda: func(input, *args, **kwargs), input, input.shape)
        learned = [
            v
            for v in (*args, *kwargs.values())
            if isinstance(v, Tensor) and _storage(v) in recorder._derived
        ]
        eps = kwargs.get("eps", next((a for a in reversed(args) if isinstance(a, float)), None))
        recorder.composite(
            operator,
            f"aten.{operator}",
            [input, *learned],
            [result],
            _columns(bias=int(bias_position is not None and len(learned) > 1)),
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
            _columns(bias=int(bool(bias))),
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
        steps = input.shape[0] if input.dim() == 2 else 1
        recorder.composite(
            operator,
            f"aten.{operator}_cell",
            [input, *states, *learned],
            list(_tensors((results,))),
            _columns(bias=int(len(learned) > 2)),
            flops.recurrent([tuple(w.shape) for w in learned], steps),
            "",
        )
        return results

    return handler


def _compute(
    recorder: Recorder, run: Callable[[], Tensor], like: Tensor, shape: Sequence[int]
) -> Tensor:
    """The function's result: for real if values are followed, else its shape alone."""
    recorder.paused = True
    try:
        if recorder.values:
            return run()
        return torch.empty(tuple(shape), dtype=like.dtype, device="meta")
    finally:
        recorder.paused = False


_HANDLERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(
        (
            F.dropout,
            F.dropout1d,
            F.dropout2d,
            F.dropout3d,
            F.alpha_dropout,
            F.feature_alpha_dropout,
            torch.dropout,
            torch.dropout_,
        ),
        _dropout,
    ),
    F.linear: _linear,
    F.batch_norm: _batch_norm,
    F.scaled_dot_product_attention: _attention,
    F.instance_norm: _whole_norm("instance_norm", 3),
    F.rms_norm: _whole_norm("rms_norm", None),
    torch.rms_norm: _whole_norm("rms_norm", None),
    torch.lstm: _recurrent("lstm"),
    torch.gru: _recurrent("gru"),
    torch.rnn_tanh: _recurrent("rnn"),
    torch.rnn_relu: _recurrent("rnn"),
    torch.lstm_cell: _cell("lstm"),
    torch.gru_cell: _cell("gru"),
    torch.rnn_tanh_cell: _cell("rnn"),
    torch.rnn_relu_cell: _cell("rnn"),
}


# --- reading arguments ----------------------------------------------------------------------------


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def operands_of(args: tuple[Any, ...], count: int) -> list[Tensor]:
    """The first ``count`` tensors among the arguments."""
    return [t for t in args if isinstance(t, Tensor)][:count]


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)([_map(v, change) for v in value])
    return change(value)


def _shape_only(value: Any) -> Any:
    if isinstance(value, Tensor) and not value.is_meta:
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, (list, tuple)):
        return _map(value, _shape_only)
    return value


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse tensors have none: the object stands
        return -id(tensor)


def _covers_storage(tensor: Tensor) -> bool:
    """Whether the tensor is all of its storage, not a view of a part."""
    return tensor.layout is torch.strided and tensor.nbytes == tensor.untyped_storage().nbytes()


def _is_small(facts: _Facts, args: tuple[Any, ...], tensors: list[Tensor]) -> bool:
    """Whether a constant is cheap enough to be computed for real."""
    if tensors:
        return max(t.numel() for t in tensors) <= _LARGEST_CONSTANT
    if args and isinstance(args[0], (list, tuple)):
        return prod(a for a in args[0] if isinstance(a, int)) <= _LARGEST_CONSTANT
    return True


def _is_identity(base: str, args: tuple[Any, ...], tensors: list[Tensor]) -> bool:
    """Whether nothing happens: ``x + 0`` (where ``sum()`` starts), ``x * 1``, ``cat([x])``."""
    if len(tensors) != 1:
        return False
    name = base.rstrip("_")
    if name in ("add", "sub", "mul", "div") and len(args) == 2:
        neutral = 0 if name in ("add", "sub") else 1
        return isinstance(args[1], (int, float)) and args[1] == neutral
    return name in ("cat", "concat")


def _columns(
    kernel: Sequence[int] = (),
    stride: Sequence[int] = (),
    padding: Sequence[int] = (),
    dilation: Sequence[int] = (),
    groups: int = 0,
    heads: int = 0,
    bias: int = 0,
) -> tuple[int, ...]:
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


def _attributes(
    facts: _Facts,
    operator: str,
    args: tuple[Any, ...],
    operands: list[tuple[Tensor, int, tuple[int, ...]]],
) -> tuple[int, ...]:
    if "conv" in operator and len(args) >= 9:
        dims = args[1].dim() - 2
        return _columns(
            kernel=args[1].shape[2:],
            stride=_per_axis(args[3], dims),
            padding=_per_axis(args[4], dims),
            dilation=_per_axis(args[5], dims),
            groups=args[8],
            bias=int(args[2] is not None),
        )
    if operator == "linear":
        return _columns(bias=int(facts.base.startswith("add")))
    if operator in ("max_pool", "avg_pool") and "adaptive" not in facts.base and len(args) > 1:
        source = operands[0][0]
        # A pool's channel dimension is the one before its window.
        dims = int(facts.base[facts.base.index("pool") + 4]) if "pool" in facts.base else 2
        if source.dim() < dims or not isinstance(args[1], (int, list, tuple)):
            return _columns()
        kernel = _per_axis(args[1], dims)
        stride = _per_axis(args[2], dims) if len(args) > 2 and args[2] else kernel
        padding = _per_axis(args[3], dims) if len(args) > 3 else (0,) * dims
        return _columns(kernel=kernel, stride=stride, padding=padding)
    if operator in NORMS:
        return _columns(bias=int(sum(bool(p) and n < 0 for _, n, p in operands) > 1))
    if operator == "attention":
        return _columns(heads=operands[0][0].shape[1])
    return _columns()


def _per_axis(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * dims if len(values) == 1 else values


def _convolution_class(args: tuple[Any, ...]) -> str:
    source, weight, transposed, groups = args[0], args[1], args[6], args[8]
    dims = weight.dim() - 2
    if transposed:
        return f"conv_transpose{dims}d"
    channels = source.shape[1] if source.dim() == weight.dim() else source.shape[0]
    return "depthwise_conv" if groups > 1 and groups == channels else f"conv{dims}d"


def _refine(
    operator: str, facts: _Facts, args: tuple[Any, ...], source: tuple[int, ...], made: Any
) -> str:
    """Names that depend on the arguments: relu6 and global pooling."""
    if operator == "hardtanh" and tuple(args[1:3]) == (0.0, 6.0):
        return "relu6"
    if operator == "mean" and len(args) > 1 and args[1] is not None and len(source) in (4, 5):
        rank = len(source)
        dims = sorted(d % rank for d in args[1])
        first, last = list(range(2, rank)), list(range(1, rank - 1))
        return "global_avg_pool" if dims in (first, last) else operator
    if operator == "avg_pool" and len(source) >= 4 and len(made) == len(source):
        return "global_avg_pool" if prod(made[2:]) == 1 < prod(source[2:]) else operator
    return operator


def _product_flops(
    facts: _Facts,
    args: tuple[Any, ...],
    tensors: list[Tensor],
    source: tuple[int, ...],
    made: tuple[int, ...],
) -> int:
    if "conv" in facts.base:
        if facts.base == "deform_conv2d":
            return flops.convolution(tuple(args[1].shape), source, made, False)
        given = tuple(args[0].shape)
        if args[0].dim() < args[1].dim():  # unbatched
            given, made = (1, *given), (1, *made)
        return flops.convolution(tuple(args[1].shape), given, made, bool(args[6]))
    if facts.base == "linear":
        return int(prod(args[0].shape) * args[1].shape[0])
    return flops.product([tuple(t.shape) for t in tensors[-2:]])


def _constants(operator: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The numbers among the arguments, which tell ``0.1 * x`` from ``x``."""
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


def _ragged(rows: list[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.array([v for row in rows for v in row], dtype=np.int64), offsets
