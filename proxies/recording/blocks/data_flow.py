"""The data flow of one forward: which call reads which call's result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from ....errors import NotApplicable
from ....graphs.inputs.tensors import tensors_in
from ....graphs.module_path import ModulePath, module_calls
from ..batches import Batch
from ..model_runner import ModelRunner
from ..modes import WithoutDropout
from ..samples.channels import LAST, MOVING, SECOND, moved_last
from ..weights.applying import PRODUCTS, SEEN

_NORMS = frozenset(
    {F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, torch.batch_norm, F.rms_norm}
)
_ACTIVATIONS = frozenset(
    "relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish hardtanh sigmoid tanh "
    "hardsigmoid softplus clamp clamp_min clip threshold maximum minimum fmax fmin".split()
)
_MOVES = frozenset(
    "reshape view view_as reshape_as flatten unflatten squeeze unsqueeze contiguous clone "
    "to".split()
)
_GATES = _ACTIVATIONS | frozenset(
    "gt lt ge le where masked_fill masked_scatter setitem abs sign sgn exp expm1 erf pow square "
    "sqrt log log1p logsigmoid maximum minimum fmax fmin max min heaviside".split()
)
_PLAIN = frozenset("add radd iadd sub rsub isub mul rmul imul div rdiv truediv neg addcmul".split())
_SHAPE_ONLY = frozenset(
    "zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full "
    "new_empty".split()
)
_ELEMENTWISE = _PLAIN | frozenset(
    "multiply divide true_divide subtract cat concat where lerp".split()
)

_ALIASES = (Tensor.view_as, torch.ops.aten._unsafe_view)


@dataclass
class Call:
    """One function call on something that depends on the input.

    Attributes:
        role: ``"norm"``, ``"product"``, ``"merge"``, ``"activation"``, ``"move"`` (the same numbers
            in another order or shape, their channels last or second) or ``"other"``.
        path: of the module that made it.
        sources: the calls whose results it reads, -1 for the inputs.
        shape: of its result; empty if that is not of real numbers.
        channels_last: whether its channels are last, as linear layers read it.
        gates: whether it bends numbers one by one, as a part of an activation may.
        by_element: whether it acts on numbers one by one at all.
        last_read: the last call that reads its result.
    """

    role: str
    path: str
    sources: set[int]
    shape: tuple[int, ...]
    channels_last: bool = False
    gates: bool = False
    by_element: bool = False
    last_read: int = -1


@dataclass
class Flow:
    """The calls of one forward, and what each module that returned a tensor ended with."""

    calls: list[Call] = field(default_factory=list)
    inputs_read: int = -1
    modules: list[tuple[str, int, int]] = field(default_factory=list)  # path, first, last call

    @property
    def products(self) -> list[int]:
        """The calls that apply a weight."""
        return [i for i, call in enumerate(self.calls) if call.role == "product"]


class DependentCalls(WithoutDropout):
    """A mode that sees the calls on something that depends on the inputs, and numbers them."""

    def __init__(self, inputs: Iterable[Tensor]):
        super().__init__()
        self._maker = {id(tensor): -1 for tensor in inputs}
        self._count = 0
        self._keep: list[Any] = []  # a freed tensor's identity must not come back

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.ran(func, args, kwargs)
        if getattr(func, "__name__", "") == "__get__" and not isinstance(result, Tensor):
            return result  # of an attribute: a size, or None
        operands = list(tensors_in((args, kwargs)))
        made = list(tensors_in(result))
        if result is None and operands:
            made = operands[:1]  # an assignment to a part of it
        if any(map(is_functorch_wrapped_tensor, made)):
            raise NotApplicable(
                "layers run under torch.vmap, which hides what goes into which; call them without"
            )
        if not made or not any(id(t) in self._maker for t in operands):
            return result
        same = func in _ALIASES and made[0].shape == operands[0].shape  # hooks have some
        copied = func is Tensor.clone and self._maker.get(id(operands[0])) == -1  # of an input
        if same or copied or _moves_samples(func, args, operands[0], made[0]):
            # The same tokens in another layout: no call of their own.
            self._maker[id(made[0])] = self._maker[id(operands[0])]
            self._keep.append(made[0])
            return result
        result = self.seen(self._count, func, args, kwargs, made, result)
        for tensor in (*made, *tensors_in(result)):
            self._maker[id(tensor)] = self._count
            self._keep.append(tensor)
        self._count += 1
        return result

    def copied(self, source: Tensor, result: Tensor) -> None:
        if id(source) in self._maker:
            self._maker[id(result)] = self._maker[id(source)]
            self._keep.append(result)

    def ran(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a function."""
        return func(*args, **kwargs)

    def seen(
        self,
        index: int,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        made: list[Tensor],
        result: Any,
    ) -> Any:
        """Return the result of call ``index``, or what to hand on in its place."""
        return result


def _moves_samples(func: Any, args: tuple[Any, ...], source: Tensor, result: Tensor) -> bool:
    """Return whether tokens (N, T, C) become (T, N, C) or (N T, C), or back."""
    name = getattr(func, "__name__", "")
    if name in ("reshape", "view", "flatten", "unflatten"):
        return {source.dim(), result.dim()} == {2, 3} and source.shape[-1] == result.shape[-1]
    if result.dim() != 3:
        return False
    if name in ("transpose", "swapaxes", "swapdims"):
        return {d % 3 for d in args[1:3]} == {0, 1}
    order = args[1] if len(args) == 2 else args[1:]
    return name == "permute" and [d % 3 for d in order] == [1, 0, 2]


class FlowRecorder(DependentCalls):
    """A recorder of which call reads which call's result, and of the results if asked."""

    def __init__(
        self,
        inputs: Iterable[Tensor],
        weights: Iterable[Tensor],
        path: ModulePath,
        results: list[Tensor] | None = None,
    ):
        super().__init__(inputs)
        self.flow = Flow()
        self._results = results
        self._path = path
        self._weights = {id(weight) for weight in weights}

    def ran(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm and self._results is not None:
            # Results are asked for to tell samples apart, which it would mix.
            return (args[0] if args else kwargs["input"]).clone()
        return func(*args, **kwargs)

    def seen(
        self,
        index: int,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        made: list[Tensor],
        result: Any,
    ) -> Any:
        operands = list(tensors_in((args, kwargs)))
        sources = {self._maker[id(t)] for t in operands if id(t) in self._maker}
        for source in sources:
            if source < 0:
                self.flow.inputs_read = index
            else:
                self.flow.calls[source].last_read = index
        # A product of spectra is none of what it is transformed back to.
        weighted = not made[0].is_complex() and any(id(t) in self._weights for t in operands)
        role = _role(func, weighted, len(sources))
        if func in SEEN and any(self.flow.calls[i].role == "product" for i in sources if i >= 0):
            role = "other"  # of a recurrent layer, which is one product
        shape = tuple(made[0].shape) if made[0].is_floating_point() else ()
        read = [self.flow.calls[source] for source in sources if source >= 0]
        last = _channels_last(func, shape, [call for call in read if call.shape == shape])
        if role == "move" and len(shape) > 2:
            moved = _moved_last(func, args, kwargs, read[0], shape) if len(read) == 1 else None
            role, last = ("other", last) if moved is None else (role, moved)
        if self._results is not None:
            self._results.append(made[0].detach().clone())
        name = _name(func)
        gates, plain = name in _GATES, name in _PLAIN or name in _MOVES or func in MOVING
        if name in _SHAPE_ONLY:  # constants beside the numbers
            shape, plain = (), True
        call = Call(role, self._path.current, sources, shape, last, gates, gates or plain)
        self.flow.calls.append(call)
        return result

    def left(self, path: str, first: int, output: Any) -> None:
        """Note the call that made the output of a module that returned, if one did."""
        made = [self._maker[id(t)] for t in tensors_in(output) if id(t) in self._maker]
        if len(made) == 1 and made[0] >= first:
            self.flow.modules.append((path, first, made[0]))


def _channels_last(func: Any, shape: tuple[int, ...], alike: list[Call]) -> bool:
    """Return whether the channels of a result are last, as those of ``alike`` before it."""
    if len(shape) == 2:
        return True
    if func in SECOND or func in LAST:
        return func in LAST
    return any(call.channels_last for call in alike) if alike else len(shape) == 3


def _moved_last(
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    source: Call,
    shape: tuple[int, ...],
) -> bool | None:
    """Return whether the channels of a moved result are last; None if it cannot be said."""
    if func in MOVING:
        return moved_last(func, args, kwargs, source.channels_last) if source.shape else None
    if shape == source.shape:
        return source.channels_last
    if source.channels_last:
        short, long = sorted((source.shape, shape), key=len)
        in_groups = len(short) > 2 and short[:-1] == long[: len(short) - 1]  # channels, or not
        return True if in_groups or shape[-1:] == source.shape[-1:] else None
    return False if shape[:2] == source.shape[:2] else None


def _name(func: Any) -> str:
    """Return a function's name, that of an operator without its underscores."""
    return getattr(func, "__name__", "").strip("_")


def _role(func: Any, weighted: bool, sources: int) -> str:
    if func in _NORMS:
        return "norm"
    name = _name(func)
    if func in MOVING or name in _MOVES:
        return "move"
    if func in PRODUCTS or (weighted and name not in _ELEMENTWISE):
        return "product"
    if sources > 1:
        return "merge"
    return "activation" if name in _ACTIVATIONS else "other"


def recorded_flow(runner: ModelRunner, batch: Batch, results: list[Tensor] | None = None) -> Flow:
    """Return the data flow of one forward, inside ``ModelRunner.substituted``.

    If a list of ``results`` is given, the calls' results go there.
    """
    path = ModulePath(runner.model)
    weights = [p for p in (*runner.model.parameters(), *runner.replaced()) if p.dim() > 1]
    recorder = FlowRecorder(batch.held, weights, path, results)
    started: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        started.append(len(recorder.flow.calls))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if started:
            recorder.left(path.current, started.pop(), output)

    with module_calls(leave, enter), path.tracked(), recorder:
        runner.run(batch)
    return recorder.flow
