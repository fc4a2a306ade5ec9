"""The pass over a batch: one forward, up to three backwards, many signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import NotApplicable, ScoreError
from .attempts import Recorded, attempt
from .batches import Batch, as_real
from .differentiation import Gradients, checked_backward, gradients, pulled_back, requiring_gradient
from .model_runner import ModelRunner
from .modes import TwiceDifferentiable, WithoutDropout
from .recorders.alone import saliencies_alone
from .recorders.features import FeatureReader, first_standardised, moments
from .recorders.outputs import OutputRecorder
from .recorders.rectifiers import CodeKernel, PatternCount
from .samples.survey import CountedLayouts, Layouts
from .signals import GradientStatistics, Saliency
from .weights.hidden import refuse_computed, refuse_hidden, refuse_learning_unseen

OF_LOSS = ("gradients", "hessian_gradients", "saliencies", "gradient_statistics")
OF_FORWARD = ("code_kernel", "activation_patterns", "layer_features", "first_features")
OF_OUTPUT = ("output_confidence", "targets", "class_count", "input_jacobian")


def record_batch(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward of the batch in training mode, and the backwards that signals need.

    The first-order gradient is computed once. If the Hessian product is needed, the gradient keeps
    its graph, and the product differentiates that graph. No forward is repeated.
    """
    recorded: Recorded = {}
    of_loss = [name for name in OF_LOSS if name in wanted]
    batch = runner.first
    with ExitStack() as stack:
        stack.enter_context(attempt(recorded, *wanted))
        by_sample = not wanted.isdisjoint((*OF_FORWARD, "saliencies"))
        layouts = runner.layouts() if by_sample else Layouts()
        differentiable = bool(of_loss) or "input_jacobian" in wanted
        leaves = stack.enter_context(runner.substituted(gradients=differentiable))
        if "hessian_gradients" in wanted:
            # Neither fused attention nor the hard sigmoid has a second derivative.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(TwiceDifferentiable())
        if "input_jacobian" in wanted:
            batch = batch.map(requiring_gradient)
        output, outputs = _forward(runner, batch, leaves, layouts, wanted, recorded)
        _record_output(runner, output, batch, wanted, recorded)
        if of_loss:
            with attempt(recorded, *of_loss):
                loss = runner.batch_loss(output, batch)
                runner.require_weights()
                del output  # and with it, pass by pass, what only it keeps alive
                _record_gradients(runner, leaves, loss, outputs, wanted, recorded)
                del loss
                if "gradient_statistics" in wanted:
                    with attempt(recorded, "gradient_statistics"):
                        first = recorded["gradients"]
                        recorded["gradient_statistics"] = _statistics(runner, leaves, first)
    return recorded


def _forward(
    runner: ModelRunner,
    batch: Batch,
    leaves: Gradients,
    layouts: Layouts,
    wanted: frozenset[str],
    recorded: Recorded,
) -> tuple[Any, OutputRecorder]:
    """Run the forward; return the output and the recorder of the layers' outputs."""

    def counted() -> CountedLayouts:
        return layouts.counted(batch.samples)

    makers: dict[str, Callable[[], Any]] = {
        "layer_features": lambda: FeatureReader(leaves, layouts, batch.samples, moments, True),
        "first_features": lambda: FeatureReader(leaves, layouts, batch.samples, first_standardised),
        "code_kernel": lambda: CodeKernel(counted()),
        "activation_patterns": lambda: PatternCount(counted()),
    }
    recorders = {name: make() for name, make in makers.items() if name in wanted}
    counted_anyhow = partial(layouts.counted, batch.samples, any_order=True)
    outputs = OutputRecorder(leaves, counted_anyhow(), "saliencies" in wanted)
    output = _run(runner, batch, outputs, *recorders.values())
    if outputs.overwritten():
        # An in-place operator destroyed what was held: once more, on copies.
        outputs = OutputRecorder(
            leaves, layouts.counted(batch.samples, any_order=True), copies=True
        )
        output = _run(runner, batch, outputs)
    for name, recorder in recorders.items():
        with attempt(recorded, name):
            outputs.refuse_turns()
            recorded[name] = recorder.result()
            if isinstance(recorder, FeatureReader):
                refuse_computed(runner.effective().mapped)
                refuse_hidden(runner.graph, leaves, recorder.seen, lambda: runner.run(batch))
    return output, outputs


def _run(runner: ModelRunner, batch: Batch, *recorders: Any) -> Any:
    with ExitStack() as stack:
        for recorder in recorders:
            stack.enter_context(recorder)
        return runner.run_soundly(batch)


def _record_output(
    runner: ModelRunner,
    output: Any,
    batch: Batch,
    wanted: frozenset[str],
    recorded: Recorded,
) -> None:
    if "output_confidence" in wanted:
        with attempt(recorded, "output_confidence"):
            logits = runner.real_output(output).detach()
            recorded["output_confidence"] = logits.softmax(dim=-1).amax(dim=-1)
    by_class = [name for name in ("targets", "class_count") if name in wanted]
    if by_class:
        with attempt(recorded, *by_class):
            logits = runner.real_output(output)
            recorded["targets"] = _classes(runner.class_targets(logits, batch))
            recorded["class_count"] = logits.shape[1]
    if "input_jacobian" in wanted:
        with attempt(recorded, "input_jacobian"):
            keep = not wanted.isdisjoint(OF_LOSS)
            recorded["input_jacobian"] = _jacobian(runner, output, batch, keep)


def _classes(targets: Tensor) -> Tensor:
    """Return targets as classes; one-hot targets are converted."""
    if not targets.is_floating_point():
        return targets
    classes = targets.argmax(dim=1)
    if not torch.equal(F.one_hot(classes, targets.shape[1]).to(targets), targets):
        raise NotApplicable("needs a class for each sample; these targets are probabilities")
    return classes


def _jacobian(runner: ModelRunner, output: Any, batch: Batch, keep: bool) -> Tensor:
    if batch.together and batch.entries:
        raise NotApplicable("the inputs of a list differ in shape, so their gradients do, too")
    if batch.samples != len(batch):
        raise NotApplicable(
            f"needs one row of the input for each of the {batch.samples} outputs, and there are "
            f"{len(batch)}"
        )
    sources = [t for t in batch.held if t.requires_grad]
    if not sources:
        raise NotApplicable("needs a floating-point input to differentiate to; this one is integer")
    main = runner.real_output(output)
    found: tuple[Tensor | None, ...] = ()
    if main.requires_grad:
        with checked_backward():
            found = torch.autograd.grad(main.sum(), sources, retain_graph=keep, allow_unused=True)
    rows = [as_real(g).reshape(len(g), -1) for g in found if g is not None]
    if not rows:
        raise NotApplicable("the output does not depend on the input differentiably")
    return torch.cat(rows, dim=1)


def _record_gradients(
    runner: ModelRunner,
    leaves: Gradients,
    loss: Tensor,
    outputs: OutputRecorder,
    wanted: frozenset[str],
    recorded: Recorded,
) -> None:
    second_order = "hessian_gradients" in wanted
    with outputs.listening():
        found = gradients(loss, leaves, create_graph=second_order)
    if "saliencies" in wanted:
        with attempt(recorded, "saliencies"):
            recorded["saliencies"] = _saliencies(runner, leaves, outputs, found)
    recorded["gradients"] = {n: g.detach() for n, g in found.items()}
    if second_order:
        with attempt(recorded, "hessian_gradients"):
            moving = [gradient for gradient in found.values() if gradient.requires_grad]
            if not moving:
                raise NotApplicable("the gradient does not depend on the weights")
            recorded["hessian_gradients"] = pulled_back(
                moving, leaves, [gradient.detach() for gradient in moving]
            )


def _saliencies(
    runner: ModelRunner, leaves: Gradients, outputs: OutputRecorder, found: Gradients
) -> list[Saliency]:
    """Return the saliencies that were recorded, or those of samples that run one by one.

    Raises:
        ScoreError: samples cannot be told apart in the output of a layer, or it cannot be seen.
    """
    saliencies, seen = outputs.saliencies, outputs.seen
    try:
        outputs.refuse_parts()
    except ScoreError:
        alone = None
        if runner.separable:
            alone = saliencies_alone(_losses_alone(runner), len(runner.first), leaves, found)
        if alone is None:
            raise
        saliencies, seen = alone
    refuse_learning_unseen(runner.graph, found, seen)
    return saliencies


def _losses_alone(runner: ModelRunner) -> Iterator[Callable[[], Tensor]]:
    """Yield for each sample what runs it alone and returns its loss, by the batch's classes."""
    batch = runner.first
    if runner.loss is None and batch.targets is None:
        with torch.no_grad(), WithoutDropout():
            logits = runner.real_output(runner.run_soundly(batch))
        batch = replace(batch, targets=runner.class_targets(logits, batch))

    def loss_of(rows: Batch) -> Tensor:
        return runner.sum_of_losses(runner.run_soundly(rows), rows)

    for i in range(len(batch)):
        yield partial(loss_of, batch.rows(i, i + 1))


def _statistics(
    runner: ModelRunner, leaves: Gradients, first: Gradients
) -> dict[str, GradientStatistics]:
    """Return the mean of |g| and the deviation of g over all batches, streamed.

    Notes:
        Welford's method on differences to the first batch's gradients. Where gradients hardly
        differ, these are exact, unlike the gradients' mean.
    """
    if len(runner.batches) < 2:
        raise ScoreError(
            "needs at least two batches, got one: pass an iterable of batches, or a shape to use "
            "random ones. One batch is never split"
        )
    mean_abs = {n: g.abs() for n, g in first.items()}
    mean = {n: torch.zeros_like(g) for n, g in first.items()}
    square = {n: torch.zeros_like(g) for n, g in first.items()}
    for count, batch in enumerate(runner.batches[1:], start=2):
        with WithoutDropout():
            loss = runner.batch_loss(runner.run_soundly(batch), batch)
        for name, gradient in gradients(loss, leaves).items():
            difference = (gradient - first[name]).sub_(mean[name])
            mean[name].add_(difference, alpha=1 / count)
            square[name].addcmul_(difference, difference, value=1 - 1 / count)
            mean_abs[name].lerp_(gradient.abs(), 1 / count)
    batches = len(runner.batches)
    return {n: GradientStatistics(mean_abs[n], square[n].div_(batches).sqrt_()) for n in first}
