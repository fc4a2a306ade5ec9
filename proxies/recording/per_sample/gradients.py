"""Per-sample gradients, batched: the quantities of GradSign's loop without the loop.

The published loop sends one image at a time through the network in training mode, so batch norm
normalises each image by its own statistics. The same numbers come from one batch if every layer is
split by sample (see ``split_layers``). What is kept of the gradients is up to sinks, which take
them layer by layer, so memory grows with neither samples nor layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ....errors import ScoreError
from ..attempts import Recorded, attempt
from ..batches import Batch
from ..differentiation import Gradients, check_differentiable
from ..model_runner import ModelRunner
from ..modes import SingleSample
from .sinks import Entries, Kernel, Signs, Sink
from .split_layers import PerSample

Objective = Callable[[Any, Batch], Tensor]
Sinks = dict[str, Sink]

_CHUNK = 64
_SAME = 1e-3
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
    through operators that cannot be split by sample (recurrent layers, fused attention
    projections), or that mix samples in other ways than batch norm, are looped over sample by
    sample: slower, the same definition.

    Raises:
        ScoreError: batch norm over a single value, or no gradient at all.
    """
    batch = runner.batches[0]
    objective: Objective = runner.sum_of_losses
    if "tangent_kernel" in wanted:
        batch, objective = batch.rows(0, _CHUNK), lambda o, _: runner.main_output(o).sum()
    size = len(batch)
    with runner.substituted() as leaves:
        elements = size * sum(leaf.numel() for leaf in leaves.values())
        if wanted & _KERNELS and size > _CHUNK:
            _check_affordable(elements)
        filled = None
        if all(t.shape[0] == size for t in batch.tensors):
            sinks = _sinks(wanted, leaves, size, runner.seed)
            filled = _batched(runner, leaves, batch, objective, sinks)
        if filled is None:
            if wanted & _KERNELS:
                _check_affordable(elements)
            sinks = _sinks(wanted, leaves, size, runner.seed)
            filled = _looped(runner, leaves, batch, objective, sinks)
        return {name: sink.result() for name, sink in filled.items()}


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
) -> Sinks | None:
    """Return the sinks, filled by batched passes, or None if this model needs the loop."""
    with torch.no_grad(), PerSample({}, []):
        alone = runner.main_output(runner.run(batch.rows(0, 1)))
    for start in range(0, len(batch), _CHUNK):
        rows = batch.rows(start, start + _CHUNK)
        mode = PerSample(leaves, [*sinks.values()], start)
        with mode:
            output = runner.run_soundly(rows)
        main = runner.main_output(output)
        if start == 0:
            if _used_elsewhere(main, leaves):
                return None
            if main.shape[0] != len(rows) or not _close(main[:1].detach(), alone):
                return None  # samples are mixed by something other than batch norm
        loss = objective(output, rows)
        check_differentiable(loss)
        loss.backward(inputs=mode.anchors)
    return sinks


def _close(a: Tensor, b: Tensor) -> bool:
    scale = max(float(b.abs().max()), 1e-12)
    return a.shape == b.shape and not float((a - b).abs().max()) > _SAME * scale


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
) -> Sinks:
    for i in range(len(batch)):
        rows = batch.rows(i, i + 1)
        with SingleSample():
            loss = objective(runner.run_soundly(rows), rows)
        check_differentiable(loss)
        found = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
        for name, gradient in zip(leaves, found, strict=True):
            if gradient is not None:
                for sink in sinks.values():
                    sink.take(name, i, gradient[None])
    return sinks
