"""Per-sample gradients, batched: the quantities of GradSign's loop without the loop.

The published loop sends one image at a time through the network in training mode, so batch norm
normalises each image by its own statistics. The same numbers come from one batch if every layer is
split by sample (see ``split_layers``). What is kept of the gradients is up to sinks, which take
them layer by layer, so memory grows with neither samples nor layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import ScoreError
from ..recording.attempts import Recorded, attempt
from ..recording.batches import Batch, rows_of
from ..recording.differentiation import (
    Gradients,
    check_differentiable,
    checked_backward,
    refuse_unknown,
)
from ..recording.model_runner import ModelRunner
from ..recording.modes import SingleSample, WithoutDropout
from ..recording.samples.layout import independent
from ..recording.samples.survey import picks_rows
from .sinks import Entries, Kernel, Signs, Sink
from .split_layers import PerSample

Objective = Callable[[Any, Batch], Tensor]
Sinks = dict[str, Sink]

_CHUNK = 64
_KERNELS = frozenset({"tangent_kernel", "gradient_kernel"})
_KERNEL_ELEMENTS = 1 << 29  # gradients that the kernel may keep, if samples come one by one


def record_per_sample(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Record signals of per-sample gradients, all with one backward."""
    recorded: Recorded = {}
    with attempt(recorded, *wanted):
        runner.require_weights()
        recorded.update(per_sample_signals(runner, wanted))
    return recorded


def per_sample_signals(runner: ModelRunner, wanted: frozenset[str]) -> dict[str, Any]:
    """Return signals of gradients of the loss, or ``tangent_kernel`` of the summed outputs.

    Samples are independent here, so chunks of them are exact, and memory does not grow with their
    number (but for kernels; the tangent kernel reads the first 64 alone). Models whose weights act
    through operators that cannot be split by sample (recurrent layers), that mix samples in other
    ways than batch norm, or in which values decide what goes with what, are looped over sample by
    sample: slower, the same definition. Where no sample can be run alone, as with the nodes of a
    graph, each gradient is that of the sample's own loss.

    Raises:
        ScoreError: batch norm over a single value, or no gradient at all.
    """
    runner.layouts()  # before any weight is replaced
    batch = runner.first
    objective: Objective = runner.sum_of_losses
    if "tangent_kernel" in wanted:
        objective = lambda output, _: runner.real_output(output).sum()  # noqa: E731
        batch = batch.rows(0, _CHUNK) if runner.separable else batch
    size = batch.samples
    with runner.substituted() as leaves:
        elements = size * sum(leaf.numel() for leaf in leaves.values())
        if wanted & _KERNELS and size > _CHUNK:
            _check_affordable(elements)
        for way in (_batched, _looped):
            if way is _looped and wanted & _KERNELS:
                _check_affordable(elements)
            sinks = _sinks(wanted, leaves, size, runner.seed)
            if way(runner, leaves, batch, objective, sinks):
                break
        return {name: sink.result() for name, sink in sinks.items()}


def _sinks(wanted: frozenset[str], leaves: Gradients, size: int, seed: int) -> Sinks:
    """Return an empty sink for each signal, that of signs last, for it writes to what it gets."""
    made: Sinks = {name: Kernel(size) for name in wanted & _KERNELS}
    if "gradient_entries" in wanted:
        made["gradient_entries"] = Entries(leaves, size, seed)
    if "sign_sums" in wanted:
        made["sign_sums"] = Signs(leaves, size)
    return made


def _check_affordable(elements: int) -> None:
    if elements > _KERNEL_ELEMENTS:
        raise ScoreError(
            "the samples' gradients of this model must be formed one by one and kept, which are "
            f"{elements / 1e9:.1f} billion numbers; pass a smaller batch"
        )


def _batched(
    runner: ModelRunner,
    leaves: Gradients,
    batch: Batch,
    objective: Objective,
    sinks: Sinks,
) -> bool:
    """Fill the sinks by batched passes; return False if this model needs the loop."""
    size = len(batch)
    by_row = runner.separable and all(len(t) == size for t in batch.tensors)
    hooked = any(leaf._backward_hooks for leaf in leaves.values())
    if not by_row or hooked or batch.by_step or picks_rows(runner.graph):
        return False
    layouts = runner.layouts()
    # Neither the first nor the last: causal layers that took samples for a sequence would show
    # nothing there. Several: what a threshold of the batch cuts off may be the same for one.
    positions = {min(size, _CHUNK) * k // 5 for k in (1, 2, 3, 4)}
    with torch.no_grad(), SingleSample():
        alone = {i: runner.run(batch.rows(i, i + 1)) for i in positions}
    for start in range(0, size, _CHUNK):
        rows = batch.rows(start, start + _CHUNK)
        mode = PerSample(leaves, [*sinks.values()], layouts.counted(len(rows)), start)
        with mode:
            output = runner.run_soundly(rows)
        if mode.mixed or (start == 0 and not _independent(runner, output, alone, len(rows))):
            return False
        loss = objective(output, rows)
        if _used_elsewhere(loss, leaves):
            return False
        check_differentiable(loss)
        refuse_unknown(leaves)
        with checked_backward():
            loss.backward(inputs=mode.anchors)
        mode.finish()
    return True


def _independent(runner: ModelRunner, output: Any, alone: dict[int, Any], size: int) -> bool:
    """Return whether what samples give alone is what they give in the batch."""
    for position, own in alone.items():
        read = (output, own)
        if runner.loss is None:
            read = (runner.main_output(output), runner.main_output(own))
        if not independent(*read, size, position):
            return False
    return True


def _used_elsewhere(output: Tensor, leaves: Gradients) -> bool:
    """Return whether the output depends on a weight through an operator that was not split.

    The split operators cut their weights out of the autograd graph, so a weight still reachable
    in it is used somewhere else as well.
    """
    ours = {id(leaf) for leaf in leaves.values()}
    seen: dict[int, Any] = {}
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        function = waiting.pop()
        if function is None or id(function) in seen:
            continue
        seen[id(function)] = function
        if id(getattr(function, "variable", None)) in ours:
            return True
        waiting.extend(f for f, _ in function.next_functions)
    return False


def _looped(
    runner: ModelRunner,
    leaves: Gradients,
    batch: Batch,
    objective: Objective,
    sinks: Sinks,
) -> bool:
    """Fill the sinks sample by sample."""
    if not runner.separable:
        return _by_output(runner, leaves, batch, objective, sinks)
    _refuse_other_rows(runner, batch)
    batch = _with_targets(runner, batch, objective)
    for i in range(len(batch)):
        rows = batch.rows(i, i + 1)
        with SingleSample():
            loss = objective(runner.run_soundly(rows), rows)
        _take(loss, leaves, sinks, i)
    return True


def _refuse_other_rows(runner: ModelRunner, batch: Batch) -> None:
    """Refuse an input whose first dimension is not that of the samples.

    Raises:
        ScoreError: one row of it gives as many outputs as all of them.
    """
    with torch.no_grad(), SingleSample():
        raw = runner.run(batch.rows(0, 1))
        alone = runner.main_output(raw)
        if len(batch) == 1 or alone.dim() == 0 or len(alone) == 1:
            return
        with WithoutDropout():
            whole = runner.main_output(runner.run(batch))
        alone = runner.main_output(raw)  # of a list of samples, now that there were several
    if whole.shape == alone.shape:
        raise ScoreError(
            f"one row of the input gives outputs of shape {tuple(alone.shape)}, and so do all "
            f"{len(batch)}: its first dimension holds no samples. Let the model take samples first"
        )


def _take(loss: Tensor, leaves: Gradients, sinks: Sinks, sample: int, retain: bool = False) -> None:
    check_differentiable(loss)
    refuse_unknown(leaves)
    with checked_backward():
        weights = [*leaves.values()]
        found = torch.autograd.grad(loss, weights, retain_graph=retain, allow_unused=True)
    for name, gradient in zip(leaves, found, strict=True):
        if gradient is not None:
            for sink in sinks.values():
                sink.take(name, sample, gradient[None])


def _with_targets(runner: ModelRunner, batch: Batch, objective: Objective) -> Batch:
    """Return the batch with the classes that its samples would be given together."""
    if objective != runner.sum_of_losses or runner.loss is not None or batch.targets is not None:
        return batch
    with torch.no_grad(), SingleSample():
        logits = runner.main_output(runner.run_soundly(batch.rows(0, 1)))
    size = len(batch)
    if logits.dim() == 2 and len(logits) > 1:
        raise ScoreError(
            f"one sample gives {len(logits)} outputs, and the default loss needs one; pass loss= "
            "(and targets=)"
        )
    if logits.dim() == 2:
        logits = logits.expand(min(size, _CHUNK), -1)
    drawn = runner.class_targets(logits, batch)
    return replace(batch, targets=drawn.repeat(-(-size // _CHUNK))[:size])


def _by_output(
    runner: ModelRunner,
    leaves: Gradients,
    batch: Batch,
    objective: Objective,
    sinks: Sinks,
) -> bool:
    """Fill the sinks with gradients of each row's loss through the one network of all."""
    with WithoutDropout():
        output = runner.run_soundly(batch)
    size = batch.samples
    if runner.loss is None and batch.targets is None and objective == runner.sum_of_losses:
        targets = runner.class_targets(runner.main_output(output), batch)
        batch = replace(batch, targets=targets)
    for i in range(size):
        row, target = (rows_of(v, i, i + 1, size) for v in (output, batch.targets))
        own = Batch((row,), {}, target)
        _take(objective(row, own), leaves, sinks, i, retain=True)
    return True
