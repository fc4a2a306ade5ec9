"""``trace``: record one forward pass of any ``nn.Module`` as a ``Graph``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import UninitializedParameter

from ..errors import InputError, UnsupportedModelError
from .functions import FunctionRecorder
from .graph import Graph
from .keeping import kept
from .module_path import ModulePath
from .randomness import seeded
from .recording import NeedsValues, Recorder

Inputs = Any
"""A shape without batch dimension, a tensor with one, or forward's tuple or dict of tensors."""

_SEED = 0
_CHANNELS = (1, 3, 4)
"""How many channels images have, as opposed to sides."""


@torch.inference_mode(False)
def trace(model: nn.Module, inputs: Inputs) -> Graph:
    """Record one forward pass of ``model`` as a computation graph.

    The forward pass runs on tensors without values, so no weight is allocated, copied or touched,
    and a model on ``device="meta"`` can be traced too. If the model branches on values that depend
    on its input, or if an operator has no shape rule, the forward pass runs once more with real
    values and weights; ``exact`` of the graph is then False. Randomness of training alone, such as
    dropout, is off. The model and the random states of torch, NumPy and Python are unchanged
    afterwards.

    Args:
        model: any module that runs a forward, in train or eval mode, on any device. Wrappers of
            ``torch.compile`` and ``nn.DataParallel`` are looked through.
        inputs: a shape without batch dimension such as ``(3, 32, 32)``; a tensor with a batch
            dimension, of which the first sample is traced; or the tuple (positional) or dict
            (keywords) of tensors that ``forward`` takes. The batch dimension is the first, the
            second if the model takes sequences first, or the last of a tensor if there are outputs
            for it alone. A tuple or dict is traced whole, so the figures of the graph are those of
            the whole input.

    Raises:
        InputError: ``model`` or ``inputs`` is invalid.
        UnsupportedModelError: the forward pass failed; the message names the operator and the path
            of the module.

    Example:
        >>> import torch
        >>> import archrank
        >>> lstm = torch.nn.LSTM(16, 32, batch_first=True)
        >>> archrank.trace(lstm, (10, 16)).product_flops    # 10 steps of 4 * 32 * (16 + 32)
        61440
    """
    model, inputs = unwrap(checked_module(model)), as_tensors(inputs)
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise UnsupportedModelError(
                f"parameter {name!r} has no shape yet (a lazy module): run one forward first"
            )
    forward = _Forward(model, *_arguments(model, inputs))
    try:
        return _of_one_sample(forward, inputs)
    except UnsupportedModelError as error:
        hint = hint_about(inputs) or _hint_about_forward(model, inputs)
        if any(t.is_meta for t in (*model.parameters(), *model.buffers())):
            raise UnsupportedModelError(f"{error}{hint}") from error
        try:
            return _of_one_sample(replace(forward, values=True), inputs)
        except UnsupportedModelError as real_error:
            raise UnsupportedModelError(f"{real_error}{hint}") from error


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers that only change how it runs."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def _of_one_sample(forward: _Forward, inputs: Inputs) -> Graph:
    """Return the graph of one sample, wherever samples lie in the input."""
    try:
        graph = _settled(forward)
    except UnsupportedModelError:
        last = _of_last_dimension(forward, inputs, None)
        if last is None:
            raise
        return last
    second = _of_second_dimension(forward, inputs, graph)
    return second or _of_last_dimension(forward, inputs, graph) or graph


def _of_last_dimension(forward: _Forward, inputs: Inputs, of_row: Graph | None) -> Graph | None:
    """Return the graph of one sample where samples are the input's last dimension, else None.

    Then there are as many outputs as samples, also for one row of the input, if that can run.
    """
    if not isinstance(inputs, Tensor) or inputs.dim() < 2 or inputs.shape[-1] < 2:
        return None
    if of_row is not None and (len(inputs) < 2 or _output_rows(of_row) != inputs.shape[-1]):
        return None
    with suppress(UnsupportedModelError):
        one, two = (_settled(replace(forward, args=(inputs[..., :n],))) for n in (1, 2))
        return one if (_output_rows(one), _output_rows(two)) == (1, 2) else None
    return None


def _of_second_dimension(forward: _Forward, inputs: Inputs, graph: Graph) -> Graph | None:
    """Return the graph of one sample where samples are the input's second dimension, else None.

    Sequences come first in what torch's recurrent layers and transformers take unless they are told
    otherwise. The outputs of such a model are as many for one row of the input as for two.
    """
    if not (is_shape(inputs) or isinstance(inputs, Tensor)):
        return None
    (row,) = forward.args
    if row.dim() < 2 or row.layout is not torch.strided:
        return None
    samples = row.shape[1]
    by_step = _has_outputs_by_step(forward.model, graph, samples)
    plain = not any(_takes_sequences_first(m) for m in forward.model.modules())
    if not by_step and (_output_rows(graph) != samples or (samples == 1 and plain)):
        return None
    with suppress(UnsupportedModelError):
        rows = _settled(replace(forward, args=(torch.cat([row, row]),)))
        if not by_step and _output_rows(rows) != samples:
            return None
        sequence = row.transpose(0, 1) if is_shape(inputs) else inputs[:, :1]
        one = _settled(replace(forward, args=(sequence,)))
        return one if by_step or _output_rows(one) == 1 else None
    return None


def _takes_sequences_first(module: nn.Module) -> bool:
    return getattr(module, "batch_first", True) is False


def _has_outputs_by_step(model: nn.Module, graph: Graph, samples: int) -> bool:
    """Return whether one row of the input is a step of all samples, which has outputs of its own.

    Then layers that take sequences first get the row so, and there is an output for each sample:
    (1, N, ...), or (N, ...) where steps and samples are flattened.
    """
    if samples == 1:
        return False
    shape = next((node.out_shape for node in graph.nodes if node.operator == "output"), ())
    if not (shape[:2] == (1, samples) and len(shape) > 2) and shape[:1] != (samples,):
        return False
    first = {path for path, module in model.named_modules() if _takes_sequences_first(module)}
    return any(
        node.in_shape[:2] == (1, samples)
        or (node.operator == "softmax" and node.out_shape[-2:] == (1, 1))  # attention to one step
        for node in graph.nodes
        if node.module in first
    )


def _output_rows(graph: Graph) -> int | None:
    """Return the first dimension of the first output that has one."""
    shapes = (node.out_shape for node in graph.nodes if node.operator == "output")
    return next((shape[0] for shape in shapes if shape), None)


@dataclass(frozen=True)
class _Forward:
    """A model and the arguments of one forward, on shapes alone or with ``values``."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: bool = False


def _settled(forward: _Forward) -> Graph:
    """Record until nothing is left that is random in training alone.

    Modules that draw (stochastic depth, dropped layers or patches, noise) are switched to
    evaluation, so that a model has one graph with and without them.
    """
    quiet: set[nn.Module] = set()
    watching = False
    while True:
        path, failure = ModulePath(forward.model), None
        with seeded(_SEED, path.generators) as moved:
            try:
                graph = _record(forward, path, quiet, watching)
            except UnsupportedModelError as error:
                failure = error
            drew = moved()
        if path.drawing:
            quiet |= path.drawing
        elif drew and not watching:  # by NumPy's or Python's generator, perhaps: look who
            watching = True
        elif failure is not None:
            raise failure
        else:
            return graph


def _record(forward: _Forward, path: ModulePath, quiet: set[nn.Module], watching: bool) -> Graph:
    model, values = forward.model, forward.values
    recorder = Recorder(dict(model.named_parameters()), path, values)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    place = device if values else torch.device("meta")
    args, kwargs = _placed(forward.args, place), _placed(forward.kwargs, place)
    with ExitStack() as stack:
        stack.enter_context(_undisturbed(forward))
        for module in quiet:
            module.training = False
        for tensor in tensors_in((args, kwargs)):
            recorder.add_input(tensor)
        stack.callback(recorder.restore)
        stack.enter_context(path.tracked(watching))
        stack.enter_context(FunctionRecorder(recorder))
        stack.enter_context(recorder)
        try:
            outputs = model(*args, **kwargs)
        except Exception as error:
            reached = (
                f"at or after operator {recorder.last_call}"
                if recorder.last_call
                else "before any operator"
            )
            where = f"module {path.current!r}" if path.current else "the model's own forward"
            if isinstance(error, NeedsValues):
                cause = "needs values that depend on the input, and the model has shapes only"
            elif "HigherOrderOperator" in str(error):
                cause = (
                    "an operator that takes functions, as flex_attention does, cannot be recorded: "
                    "put an ordinary one in its place, as scaled_dot_product_attention"
                )
            elif "Guard failed" in str(error):
                cause = (
                    f"{error}: the program was exported for inputs of another shape; export it "
                    "with a dynamic batch size, or pass the module itself"
                )
            else:
                cause = f"{type(error).__name__}: {error}"
            raise UnsupportedModelError(
                f"cannot trace {type(model).__name__}: failed in {where} {reached} "
                f"({cause}). Check that a plain forward runs on these inputs."
            ) from error
    for tensor in tensors_in(outputs):
        recorder.add_output(tensor)
    return recorder.graph()


@contextmanager
def _undisturbed(forward: _Forward) -> Iterator[None]:
    """No gradients, eager and unfused execution; buffers and tensors written on copies."""
    model, values = forward.model, forward.values
    fused = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stand_in = _copied if values else None
        stack.enter_context(kept(model, forward.args, forward.kwargs, stand_in=stand_in))
        stack.enter_context(torch.no_grad())
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


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _is_compiled(module: nn.Module) -> bool:
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")


def is_shape(inputs: Inputs) -> bool:
    """Return whether ``inputs`` is a shape: a sequence of integers."""
    return (
        isinstance(inputs, Sequence)
        and not isinstance(inputs, str)
        and len(inputs) > 0
        and all(isinstance(n, int) and not isinstance(n, bool) for n in inputs)
    )


def _arguments(model: nn.Module, inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of one forward pass, of one sample where that is well defined."""
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
        if inputs.layout is not torch.strided:
            raise InputError(
                f"inputs: samples cannot be taken from a tensor of layout {inputs.layout}; pass "
                "inputs.to_dense(), or a dictionary of it if its rows go together, as edges do"
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
    """Return the floating type that the model's weights have; float32 if it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _placed(value: Any, device: torch.device) -> Any:
    """Return the same arguments with every tensor on ``device``."""
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
    """Return all tensors of nested sequences, mappings and plain objects, each once."""
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
        else:
            waiting[:0] = list(attributes_in(item).values())


def attributes_in(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, including those in slots.

    Example:
        >>> class Output:
        ...     __slots__ = ("logits",)
        >>> output = Output()
        >>> output.logits = 3
        >>> attributes_in(output), attributes_in(3)
        ({'logits': 3}, {})
    """
    found: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name != "__dict__":
                found[name] = getattr(value, name)
    return found


# --- what users give, and what may be wrong with it -----------------------------------------------


def checked_module(model: Any) -> nn.Module:
    """Return a module unchanged, or the module of an exported program.

    Raises:
        InputError: it is neither; for a class, a function or a state dict the message says what to
            do.
    """
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, ExportedProgram):
        return model.module()
    came, fix = type(model).__name__, ""
    if inspect.isclass(model):
        came, fix = f"the class {model.__name__}", f"; pass an instance, as {model.__name__}()"
    elif callable(model):
        fix = "; pass what it returns"
    elif isinstance(model, Mapping) and all(isinstance(v, Tensor) for v in model.values()):
        came, fix = "a state dict", "; build the network, load it by load_state_dict, and pass that"
    raise InputError(f"model: got {came}, expected a torch.nn.Module{fix}")


def as_tensors(value: Any) -> Any:
    """Return a value with its arrays as tensors, and real numbers in torch's default precision.

    Example:
        >>> as_tensors({"x": np.zeros((2, 3))})["x"].dtype
        torch.float32
    """
    if isinstance(value, np.ndarray) and value.dtype != object:
        tensor = torch.as_tensor(value)
        return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
    if isinstance(value, dict):
        return {key: as_tensors(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(as_tensors(item) for item in value)
    return value


def _hint_about_forward(model: nn.Module, inputs: Any) -> str:
    """Suggest what to pass to a forward pass instead of an input that it fails on."""
    if isinstance(inputs, Mapping):
        return (
            " The entries of a dictionary are forward's keyword arguments: if it takes the "
            "dictionary itself, pass it in a tuple, ({...},)"
        )
    own = float_type(model)
    if isinstance(inputs, Tensor) and inputs.is_floating_point() and inputs.dtype != own:
        return (
            f" They are of {inputs.dtype} and the weights of {own}: did you mean inputs.to({own})?"
        )
    if not is_shape(inputs):
        return ""
    embedding = next((m for m in model.modules() if hasattr(m, "num_embeddings")), None)
    if embedding is not None:
        return (
            " A shape stands for real numbers, and the model looks up whole ones: pass a tensor, "
            f"such as torch.randint({embedding.num_embeddings}, (2, {inputs[-1]}))"
        )
    if len(inputs) > 1:
        with suppress(UnsupportedModelError):
            _settled(_Forward(model, *_arguments(model, inputs[1:])))
            return f" A shape has no batch dimension: did you mean {tuple(inputs[1:])}?"
    return ""


def hint_about(inputs: Any) -> str:
    """Suggest what may be wrong with an input that a forward pass fails on; empty if unknown.

    Example:
        >>> hint_about((64, 3, 32, 32))
        ' A shape has no batch dimension: did you mean (3, 32, 32)?'
        >>> hint_about(torch.zeros(2, 32, 32, 3))
        ' Channels come last here: did you mean inputs.permute(0, 3, 1, 2)?'
    """
    if isinstance(inputs, Tensor):
        shape = tuple(inputs.shape[1:])
        if _channels_last(shape):
            return " Channels come last here: did you mean inputs.permute(0, 3, 1, 2)?"
        if inputs.dtype == torch.uint8:
            return " They are whole numbers up to 255: did you mean inputs.float() / 255?"
        return ""
    if not isinstance(inputs, Sequence) or not all(isinstance(n, int) for n in inputs):
        return ""
    shape = tuple(inputs)
    if len(shape) == 4:
        return f" A shape has no batch dimension: did you mean {shape[1:]}?"
    if _channels_last(shape):
        return f" Channels come last here: did you mean {(shape[2], *shape[:2])}?"
    return ""


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in _CHANNELS and shape[0] not in _CHANNELS
