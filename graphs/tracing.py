"""``trace``: one forward of any ``nn.Module`` becomes a ``Graph``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import UninitializedParameter

from ..errors import InputError, UnsupportedModelError
from .functions import FunctionRecorder
from .graph import Graph
from .recording import ModulePath, NeedsValues, Recorder

Inputs = Any
"""A shape without batch dimension, a tensor with one, or forward's tuple or dict of tensors."""

_SEED = 0


@torch.inference_mode(False)
def trace(model: nn.Module, inputs: Inputs) -> Graph:
    """Record one forward of ``model`` as a computation graph.

    The forward runs on shape-only tensors, so no weight is allocated, copied or touched, and a
    model on ``device="meta"`` traces too. If the model branches on values that depend on its input
    (or an operator has no shape rule), the forward runs once more for real, on the weights that
    the model has. The model comes back as it was.

    Args:
        model: any module that runs a forward, in train or eval mode, on any device. Wrappers of
            ``torch.compile`` and ``nn.DataParallel`` are looked through.
        inputs: a shape without batch dimension such as ``(3, 32, 32)``; a tensor with one, of
            which the first sample is traced; or the tuple (positional) or dict (keywords) of
            tensors that ``forward`` takes, which is traced whole: its figures are those of the
            whole input.

    Raises:
        InputError: ``model`` or ``inputs`` is not of a kind above.
        UnsupportedModelError: the forward failed; names the operator and the module's path.

    Example:
        >>> import torch
        >>> import archrank
        >>> lstm = torch.nn.LSTM(16, 32, batch_first=True)
        >>> archrank.trace(lstm, (10, 16)).product_flops    # 10 steps of 4 * 32 * (16 + 32)
        61440
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got {type(model).__name__}, expected a torch.nn.Module")
    model = unwrap(model)
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise UnsupportedModelError(
                f"parameter {name!r} has no shape yet (a lazy module): run one forward first"
            )
    args, kwargs = _arguments(model, inputs)
    try:
        return _record(model, args, kwargs, values=False)
    except UnsupportedModelError as error:
        if any(t.is_meta for t in (*model.parameters(), *model.buffers())):
            raise
        try:
            return _record(model, args, kwargs, values=True)
        except UnsupportedModelError as real_error:
            raise real_error from error


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside wrappers that only change how it runs."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _record(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], values: bool) -> Graph:
    path = ModulePath(model)
    recorder = Recorder(dict(model.named_parameters()), path, values)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    place = device if values else torch.device("meta")
    args, kwargs = _placed(args, place), _placed(kwargs, place)
    with ExitStack() as stack:
        stack.enter_context(_undisturbed(model, values))
        for tensor in tensors_in((args, kwargs)):
            recorder.add_input(tensor)
        stack.enter_context(path.tracked())
        stack.enter_context(FunctionRecorder(recorder))
        stack.enter_context(recorder)
        try:
            outputs = model(*args, **kwargs)
        except Exception as error:
            operator = recorder.last_call or "no operator yet"
            where = f"module {path.current!r}" if path.current else "the model's own forward"
            if isinstance(error, NeedsValues):
                cause = "needs values that depend on the input, and the model has shapes only"
            else:
                cause = f"{type(error).__name__}: {error}"
            raise UnsupportedModelError(
                f"cannot trace {type(model).__name__}: failed in {where} at or after operator "
                f"{operator} ({cause}). Check that a plain forward runs on these inputs."
            ) from error
    for tensor in tensors_in(outputs):
        recorder.add_output(tensor)
    return recorder.graph()


@contextmanager
def _undisturbed(model: nn.Module, values: bool) -> Iterator[None]:
    """No gradients, eager and unfused execution, own randomness; buffers written on copies."""
    fused = torch.backends.mha.get_fastpath_enabled()
    # Some forwards keep tensors for later calls, as buffers, attributes or in dictionaries:
    # shape-only ones must not stay.
    saved: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for module in model.modules():
        for table in (vars(module), *vars(module).values()):
            if type(table) in (dict, OrderedDict):
                saved.append((table, dict(table)))
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(model)))
        torch.manual_seed(_SEED)
        if any(_is_compiled(module) for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        # With values, attention inside torch's own functions falls apart as it does without.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        # The fused transformer layer would hide its operators.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            if values:
                copies: dict[int, Tensor] = {}
                for module in model.modules():
                    for name, buffer in module._buffers.items():
                        if buffer is not None:
                            module._buffers[name] = copies.setdefault(id(buffer), buffer.clone())
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for table, before in saved:
                table.clear()
                table.update(before)


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return [d for d in {p.device for p in model.parameters()} if d.type == "cuda"]


def is_shape(inputs: Inputs) -> bool:
    """Whether ``inputs`` is a shape: a sequence of integers."""
    return (
        isinstance(inputs, Sequence)
        and not isinstance(inputs, str)
        and len(inputs) > 0
        and all(isinstance(n, int) and not isinstance(n, bool) for n in inputs)
    )


def _arguments(model: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of one forward, one sample where that is well defined."""
    if is_shape(inputs):
        if min(inputs) < 1:
            raise InputError(f"inputs: shape {tuple(inputs)} has a size below 1")
        return (torch.empty(1, *inputs, dtype=float_type(model), device="meta"),), {}
    if isinstance(inputs, Tensor):
        if inputs.dim() == 0 or inputs.shape[0] == 0:
            raise InputError(
                f"inputs: a tensor of shape {tuple(inputs.shape)} holds no sample; expected a "
                "batch dimension first"
            )
        return (inputs[:1],), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str) and len(inputs) > 0:
        return tuple(inputs), {}
    raise InputError(
        f"inputs: got {inputs!r}, expected a shape without batch dimension such as (3, 32, 32), a "
        "tensor with one, or the tuple or dict of tensors that forward takes"
    )


def float_type(model: nn.Module) -> torch.dtype:
    """The floating type that the model's weights have; float32 if it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _placed(value: Any, device: torch.device) -> Any:
    """The same arguments with every tensor on ``device``."""
    if isinstance(value, Tensor):
        if value.device == device:
            return value
        if value.is_meta:  # a shape, now wanted with values
            return torch.randn(value.shape, dtype=value.dtype).to(device)
        if device.type == "meta" and not value.is_sparse:
            return torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device=device
            )
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _placed(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_placed(item, device) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of a nested structure of sequences, mappings and plain objects, each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop(0)
        if item is None or isinstance(item, (str, bytes, int, float, complex, nn.Module)):
            continue
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, Mapping):
            waiting[:0] = list(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting[:0] = list(item)
        elif hasattr(item, "__dict__"):
            waiting[:0] = list(vars(item).values())
