"""Recording of one forward pass: every ATen call becomes a node, every tensor knows its maker.

``Recorder`` sees every ATen call, runs it on shape-only (meta) tensors and notes which node made
which storage. Following storages instead of tensors also resolves views and in-place operators.
``functions`` passes it whole functions before torch splits them into ATen calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from . import flops
from .arguments import (
    Facts,
    attributes_of,
    constants_of,
    convolution_class,
    covers_storage,
    facts_of,
    is_identity,
    is_small,
    mapped,
    nested_tensors,
    operands_of,
    product_flops,
    refined,
    shape_only,
    storage_of,
    written_by,
)
from .arrays import ATTRIBUTES
from .graph import Graph
from .module_path import ModulePath
from .node_table import NodeTable

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


class NeedsValues(Exception):
    """An operator needs the values of a tensor that has only a shape."""


class Recorder(TorchDispatchMode):
    """A mode that runs ATen calls on shape-only tensors and records the graph.

    The origin of each tensor is kept by storage: the node that made it, the parameters that it was
    computed from, or nothing for a constant. Constants (masks, index tables, drop rates) are
    computed with values, so Python may branch on them. Tensors that depend on the input or on
    weights have no values, and reading one raises ``NeedsValues``.

    Args:
        parameters: name -> parameter, each tensor once.
        path: follows which module is running.
        values: compute everything with values, as models need that branch on them.
    """

    def __init__(self, parameters: dict[str, Tensor], path: ModulePath, values: bool = False):
        super().__init__()
        self.path = path
        self.values = values
        self.paused = False
        self.last_call = ""
        self._sizes = {name: p.numel() for name, p in parameters.items()}
        self._maker: dict[int, int] = {}  # storage -> node
        self._derived: dict[int, tuple[int, ...]] = {}  # storage -> parameters it comes from
        self._noise: set[int] = set()  # storages of random numbers alone
        self._own: set[int] = set()  # storages of constants made here, free to be written
        self._several: dict[int, list[tuple[int, int, int]]] = {}  # storage -> (start, end, p)
        self._keep: list[Tensor] = []  # a freed storage's address must not come back
        self._kept_bytes = 0
        self._overwritten: list[tuple[Tensor, Tensor]] = []  # parameters, and what they held
        self._nodes = NodeTable()
        for index, parameter in enumerate(parameters.values()):
            storage = storage_of(parameter)
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
        """Return whether the tensor is a constant with values."""
        return (
            tensor.device.type != "meta"
            and storage not in self._maker
            and storage not in self._derived
        )

    def is_learned(self, tensor: Tensor) -> bool:
        """Return whether this tensor comes from parameters alone."""
        storage = storage_of(tensor)
        maker = self._maker.get(storage)
        return maker in self._nodes.constant or (maker is None and storage in self._derived)

    # --- running --------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        facts = facts_of(func)
        self.last_call = facts.name
        if facts.is_view:  # the storage says the rest
            return func(*args, **kwargs)
        tensors = list(nested_tensors(args))
        if kwargs:
            tensors.extend(nested_tensors(kwargs.values()))
        storages = [storage_of(t) for t in tensors]
        if facts.draws and facts.base not in _COPIES:
            self.path.drew()
        result = self._run(func, facts, args, kwargs, tensors, storages)
        self._note(facts, args, kwargs, tensors, storages, result)
        return result

    def _run(
        self,
        func: Any,
        facts: Facts,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        storages: list[int],
    ) -> Any:
        if self.values:
            self._remember(written_by(facts, args, kwargs))
            return func(*args, **kwargs)
        known = all(map(self._known, tensors, storages))
        if facts.base in _NEEDS_VALUES and not known:
            raise NeedsValues(facts.name)
        target = written_by(facts, args, kwargs)
        if known and isinstance(target, Tensor) and storage_of(target) not in self._own:
            known = False  # the user's own tensor (a buffer): never write to it
        if known and not is_small(facts, args, tensors):
            known = False
        if known:
            if facts.takes_device and kwargs.get("device") is not None:
                kwargs = {**kwargs, "device": torch.device("cpu")}
            result = func(*args, **kwargs)
            self._own.update(storage_of(t) for t in nested_tensors((result,)))
            return result
        if facts.takes_device and (kwargs.get("device") is not None or not tensors):
            kwargs = {**kwargs, "device": torch.device("meta")}
        result = func(*mapped(args, shape_only), **{k: shape_only(v) for k, v in kwargs.items()})
        # In place, Python must get back the very tensor that it passed.
        return target if isinstance(target, Tensor) and isinstance(result, Tensor) else result

    def _remember(self, target: Any) -> None:
        """Keep what an in-place operator is about to overwrite in a parameter."""
        if isinstance(target, Tensor) and storage_of(target) in self._several:
            self._overwritten.append((target, target.clone()))

    def restore(self) -> None:
        """Restore what in-place operators overwrote in parameters."""
        while self._overwritten:
            target, before = self._overwritten.pop()
            target.copy_(before)

    # --- writing down ---------------------------------------------------------------------------

    def _note(
        self,
        facts: Facts,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        storages: list[int],
        result: Any,
    ) -> None:
        outputs = list(nested_tensors((result,)))
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
        elif base in _COPIES or is_identity(base, args, tensors):
            self._set_like(outputs, storages[0])
        elif base == "copy_":
            self._copy(facts, operands, storages, outputs)
        elif base in ("fill_", "zero_") and covers_storage(outputs[0]):
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
        facts: Facts,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        operands: list[tuple[Tensor, int, tuple[int, ...]]],
        outputs: list[Tensor],
        storages: list[int],
    ) -> None:
        operator = facts.operator
        if facts.base in ("convolution", "_convolution", "convolution_overrideable"):
            operator = convolution_class(args)
        elif operator in ("matmul", "sparse_matmul"):
            factors = [(n, p) for t, n, p in operands if t.is_floating_point() or t.is_complex()]
            if any(n < 0 and p for n, p in factors[-2:]):  # a bias may come before both
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
        attributes = attributes_of(facts, operator, args, operands)
        operator = refined(operator, facts, args, shape, made)
        kernel = attributes[:3] if operator.endswith("pool") else ()
        if operator in ("linear", "matmul") or "conv" in operator:
            count = product_flops(facts, args, [t for t, _, _ in operands], shape, made)
        elif operator == "attention":
            count = flops.attention(*(tuple(t.shape) for t in operands_of(args, 3)))
        else:
            kernel = tuple(k for k in kernel if k)
            count = flops.elementwise(operator, facts.name, shape, made, kernel)
        node = self.add(
            operator,
            facts.name,
            makers,
            parameters,
            shape,
            outputs,
            attributes,
            count,
            constants_of(operator, args, kwargs),
        )
        if "conv" in operator:
            self._weigh(args[1], node)

    def _weigh(self, weight: Tensor, node: int) -> None:
        """Note of which node's result a layer takes its weight."""
        self._nodes.weigh(self._maker.get(storage_of(weight), -1), node)

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
        """Append one node that made ``outputs``, and return its index."""
        shapes = source, tuple(outputs[0].shape) if made is None else made
        node = self._nodes.add(
            operator,
            aten,
            self.path.current,
            makers,
            parameters,
            shapes,
            attributes,
            count,
            constants,
        )
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
        weight: Tensor | None = None,
    ) -> None:
        """Record one node for a whole function, with ``operands`` in the function's order."""
        makers: list[int] = []
        parameters: list[int] = []
        for tensor in operands:
            storage = storage_of(tensor)
            if storage in self._maker:
                makers.append(self._maker[storage])
            else:
                parameters.extend(self._parameters_of(tensor, storage))
        shape = tuple(operands[0].shape)
        node = self.add(
            operator, name, makers, parameters, shape, outputs, attributes, count, constants
        )
        if weight is not None:
            self._weigh(weight, node)

    def add_input(self, tensor: Tensor) -> None:
        """Add a source node for one input tensor."""
        self.add("input", "input", (), (), tuple(tensor.shape), [tensor])

    def add_output(self, tensor: Tensor) -> None:
        """Add a sink node for one output tensor; constants have none."""
        maker = self._maker.get(storage_of(tensor))
        if maker is not None:
            shape = tuple(tensor.shape)
            self.add("output", "output", [maker], (), shape, [], made=shape)

    def _copy(
        self,
        facts: Facts,
        operands: list[tuple[Tensor, int, tuple[int, ...]]],
        storages: list[int],
        outputs: list[Tensor],
    ) -> None:
        if len(storages) < 2:
            return
        (target, before, _), (value, maker, _) = operands[:2]
        if covers_storage(target):
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
            storage = storage_of(tensor)
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
                strided = tensor.layout is torch.strided and not tensor.is_meta
                self._kept_bytes += tensor.nbytes if strided else 0

    def _set_like(self, outputs: Iterable[Tensor], storage: int) -> None:
        self._set(
            outputs,
            self._maker.get(storage, -1),
            self._derived.get(storage, ()),
            storage in self._noise,
        )

    def graph(self) -> Graph:
        """Return what was recorded, as arrays."""
        return self._nodes.graph(self._sizes, exact=not self.values)
