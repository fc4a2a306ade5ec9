"""``trace``: record one forward pass of any ``nn.Module`` as a ``Graph``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import UninitializedParameter

from ..errors import UnsupportedModelError
from .functions import FunctionRecorder
from .graph import Graph
from .inputs.hints import hint_about
from .inputs.models import checked_module, float_type, unwrap
from .inputs.tensors import (
    Inputs,
    arguments_of,
    as_tensors,
    changed,
    is_list_of_tensors,
    is_shape,
    placed,
    tensors_in,
)
from .module_path import ModulePath
from .randomness import seeded
from .recording import NeedsValues, Recorder
from .side_effects import kept, uncompiled

_SEED = 0


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
            second if the model takes sequences first, or another one of a tensor if there are
            outputs for it alone. Of a tuple or dict the first sample is traced if all tensors have
            as many rows as there are outputs, also for one row or two; of a list of images, the
            first. Any other is traced whole, such as a graph of nodes and edges, and the figures
            are those of the whole input.

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
    return _traced(model, inputs, _of_one_sample)


@torch.inference_mode(False)
def trace_whole(model: nn.Module, inputs: tuple[Tensor, ...]) -> Graph:
    """Record one forward pass as ``trace`` does, of all rows of the inputs."""
    return _traced(model, inputs, lambda forward, _: _settled(forward))


def _traced(
    model: nn.Module, inputs: Inputs, recorded: Callable[[_Forward, Inputs], Graph]
) -> Graph:
    """Return what is recorded of a forward on shapes, or with values where these are needed."""
    model, inputs = unwrap(checked_module(model)), as_tensors(inputs)
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise UnsupportedModelError(
                f"parameter {name!r} has no shape yet (a lazy module): run one forward first"
            )
    forward = _Forward(model, *arguments_of(model, inputs))
    try:
        return recorded(forward, inputs)
    except UnsupportedModelError as error:
        hint = hint_about(inputs) or _hint_about_forward(model, inputs)
        if any(t.is_meta for t in (*model.parameters(), *model.buffers())):
            raise UnsupportedModelError(f"{error}{hint}") from error
        try:
            return recorded(replace(forward, values=True), inputs)
        except UnsupportedModelError as real_error:
            raise UnsupportedModelError(f"{real_error}{hint}") from error


def _of_one_sample(forward: _Forward, inputs: Inputs) -> Graph:
    """Return the graph of one sample, wherever samples lie in the input."""
    try:
        graph = _settled(forward)
    except UnsupportedModelError:
        other = _of_other_dimension(forward, inputs, None)
        if other is None:
            raise
        return other
    second = _of_second_dimension(forward, inputs, graph)
    other = second or _of_other_dimension(forward, inputs, graph)
    return other or _of_first_rows(forward, inputs, graph) or graph


def _of_first_rows(forward: _Forward, inputs: Inputs, whole: Graph) -> Graph | None:
    """Return the graph of one sample where forward takes several tensors of samples, else None.

    Then all tensors have as many rows, or all lists as many tensors, and there are as many outputs,
    also for one sample or two.
    """
    if is_shape(inputs) or isinstance(inputs, Tensor):
        return None
    if any(map(_takes_sequences_first, forward.model.modules())):
        return None
    for cut, sizes in ((_rows_of, _rows(forward)), (_entries_of, _entries(forward))):
        if len(sizes) != 1 or max(sizes) < 2:
            continue
        with suppress(UnsupportedModelError):
            one, two = (_settled(cut(forward, count)) for count in (1, 2))
            if _are_samples(one, two, 2) and _are_samples(one, whole, max(sizes)):
                return one
    return None


def _are_samples(one: Graph, several: Graph, samples: int) -> bool:
    """Return whether several samples have that many rows or outputs for those of one."""
    if (_output_rows(one), _output_rows(several)) == (1, samples):
        return True
    of_one, of_all = (sum(node.operator == "output" for node in g.nodes) for g in (one, several))
    return 0 < samples * of_one == of_all


def _rows(forward: _Forward) -> set[int]:
    tensors = [t for t in tensors_in((forward.args, forward.kwargs)) if t.dim() > 0]
    return {len(t) if t.layout is torch.strided else 0 for t in tensors}


def _rows_of(forward: _Forward, count: int) -> _Forward:
    def cut(tensor: Tensor) -> Tensor:
        return tensor[:count] if tensor.dim() > 0 else tensor

    args, kwargs = (changed(value, cut) for value in (forward.args, forward.kwargs))
    return replace(forward, args=args, kwargs=kwargs)


def _entries(forward: _Forward) -> set[int]:
    given = (*forward.args, *forward.kwargs.values())
    lists = {len(value) for value in given if is_list_of_tensors(value)}
    others = {0 for value in given if isinstance(value, Tensor)}
    return lists | others


def _entries_of(forward: _Forward, count: int) -> _Forward:
    def cut(value: Any) -> Any:
        return value[:count] if is_list_of_tensors(value) else value

    args, kwargs = map(cut, forward.args), {n: cut(v) for n, v in forward.kwargs.items()}
    return replace(forward, args=tuple(args), kwargs=kwargs)


def _of_other_dimension(forward: _Forward, inputs: Inputs, of_row: Graph | None) -> Graph | None:
    """Return the graph of one sample where samples lie in another dimension, else None.

    Then there are as many outputs as samples, also for one row of the input, if that can run.
    """
    if not isinstance(inputs, Tensor):
        return None
    for dim in (-1, *range(1, inputs.dim() - 1)):
        samples = inputs.shape[dim] if inputs.dim() > 1 else 0
        if samples < 2 or (of_row and (len(inputs) < 2 or _output_rows(of_row) != samples)):
            continue
        with suppress(UnsupportedModelError):
            few = [replace(forward, args=(inputs.narrow(dim, 0, n),)) for n in (1, 2)]
            one, two = map(_settled, few)
            if (_output_rows(one), _output_rows(two)) == (1, 2):
                return one
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
    args, kwargs = placed(forward.args, place), placed(forward.kwargs, place)
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
    """Run without gradients, eagerly and unfused; buffers and tensors are written on copies."""
    model, values = forward.model, forward.values
    fused = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stand_in = _copied if values else None
        stack.enter_context(kept(model, forward.args, forward.kwargs, stand_in=stand_in))
        stack.enter_context(torch.no_grad())
        stack.enter_context(uncompiled())
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
            _settled(_Forward(model, *arguments_of(model, inputs[1:])))
            return f" A shape has no batch dimension: did you mean {tuple(inputs[1:])}?"
    return ""
