"""The passes over a network, each recording several signals at once.

A pass takes the runner and the names of the signals wanted of it and returns name -> signal, or
name -> :class:`ScoreError` for a signal that could not be recorded. One that fails leaves the
others standing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import ScoreError
from .attempts import Recorded, attempt
from .attention import record_attention
from .blocks import record_blocks
from .model_runner import Batch, ModelRunner, WithoutDropout
from .per_sample import SingleSample, per_sample_signals
from .recorders import CodeKernel, FeatureMoments, FeatureRecorder, OutputRecorder, PatternCount
from .reference_signals import (
    record_batch_gradients,
    record_coupled_kernel,
    record_given_blocks,
    record_given_perturbation,
    record_module_features,
    record_module_sizes,
    record_parameter_gradients,
    record_relus,
    record_second_saliencies,
)
from .signals import GradientStatistics, Perturbation, SynapticFlow
from .twins import record_twins


@dataclass(frozen=True)
class Pass:
    """One way through the network: which signals it can record, and how."""

    provides: frozenset[str]
    record: Callable[[ModelRunner, frozenset[str]], Recorded]


# --- no pass ----------------------------------------------------------------------------------


def record_weights(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """The graph and the weights, which need no forward."""
    recorded: Recorded = {"graph": runner.graph}
    if "weights" in wanted:
        with attempt(recorded, "weights"):
            recorded["weights"] = _nonempty(runner.weights())
    return recorded


def _nonempty(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if not weights:
        raise ScoreError("the model has no weight of a convolution, linear or recurrent layer")
    return weights


# --- the batch: one forward, up to three backwards ----------------------------------------------

_LOSS_SIGNALS = ("gradients", "hessian_gradients", "saliencies", "gradient_statistics")


def record_batch(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """One training-mode forward of the batch and the backwards that are asked for.

    The first-order gradient is taken once. If the Hessian product is wanted it is taken with its
    graph, which the product then differentiates: no forward is repeated.
    """
    recorded: Recorded = {}
    by_loss = [name for name in _LOSS_SIGNALS if name in wanted]
    differentiable = bool(by_loss) or "input_jacobian" in wanted
    batch = runner.batches[0]
    samples = len(batch)
    with ExitStack() as stack:
        stack.enter_context(attempt(recorded, *wanted))
        leaves = stack.enter_context(runner.substituted(gradients=differentiable))
        if "hessian_gradients" in wanted:
            # Fused attention has no second derivative.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "input_jacobian" in wanted:
            batch = batch.map(_differentiable)
        recorders: dict[str, Any] = {}
        if "layer_features" in wanted:
            recorders["layer_features"] = FeatureMoments(leaves, samples)
        if "code_kernel" in wanted:
            recorders["code_kernel"] = CodeKernel(samples)
        if "activation_patterns" in wanted:
            recorders["activation_patterns"] = PatternCount(samples)
        outputs = OutputRecorder(leaves, "saliencies" in wanted)
        output = _forward(runner, batch, outputs, *recorders.values())
        if "saliencies" in wanted and outputs.overwritten():
            # An in-place operator destroyed what was held: once more, on copies.
            outputs = OutputRecorder(leaves, True, copies=True)
            output = _forward(runner, batch, outputs)
        for name, recorder in recorders.items():
            with attempt(recorded, name):
                recorded[name] = recorder.result()
        del recorders
        if "output_confidence" in wanted:
            with attempt(recorded, "output_confidence"):
                logits = runner.main_output(output).detach()
                recorded["output_confidence"] = logits.softmax(dim=-1).amax(dim=-1)
        by_class = [name for name in ("targets", "class_count") if name in wanted]
        if by_class:
            with attempt(recorded, *by_class):
                logits = runner.main_output(output)
                recorded["targets"] = runner.class_targets(logits, batch)
                recorded["class_count"] = logits.shape[1]
        if "input_jacobian" in wanted:
            with attempt(recorded, "input_jacobian"):
                recorded["input_jacobian"] = _jacobian(runner, output, batch, bool(by_loss))
        if by_loss:
            with attempt(recorded, *by_loss):
                loss = runner.batch_loss(output, batch)
                del output  # and with it, pass by pass, what only it keeps alive
                _record_gradients(leaves, loss, outputs, wanted, recorded)
                del loss
                if "gradient_statistics" in wanted:
                    with attempt(recorded, "gradient_statistics"):
                        first = recorded["gradients"]
                        recorded["gradient_statistics"] = _statistics(runner, leaves, first)
    return recorded


def _forward(runner: ModelRunner, batch: Batch, *recorders: Any) -> Any:
    with ExitStack() as stack:
        for recorder in recorders:
            stack.enter_context(recorder)
        return runner.run_soundly(batch)


def _differentiable(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor


def _jacobian(runner: ModelRunner, output: Any, batch: Batch, keep: bool) -> Tensor:
    sources = [t for t in batch.tensors if t.requires_grad]
    if not sources:
        raise ScoreError("needs a floating-point input to differentiate to; this one is integer")
    main = runner.main_output(output)
    found: tuple[Tensor | None, ...] = ()
    if main.requires_grad:
        found = torch.autograd.grad(main.sum(), sources, retain_graph=keep, allow_unused=True)
    rows = [g.flatten(1) for g in found if g is not None]
    if not rows:
        raise ScoreError("the output does not depend on the input differentiably")
    return torch.cat(rows, dim=1)


def _record_gradients(
    leaves: dict[str, Tensor],
    loss: Tensor,
    outputs: OutputRecorder,
    wanted: frozenset[str],
    recorded: Recorded,
) -> None:
    _nonempty(leaves)
    second_order = "hessian_gradients" in wanted
    with outputs.listening():
        found = _gradients(loss, leaves, create_graph=second_order)
    if "saliencies" in wanted:
        recorded["saliencies"] = outputs.saliencies
    recorded["gradients"] = {n: g.detach() for n, g in found.items()}
    if second_order:
        with attempt(recorded, "hessian_gradients"):
            product = torch.zeros((), dtype=loss.dtype, device=loss.device)
            for gradient in found.values():
                if gradient.requires_grad:
                    product = product + (gradient.detach() * gradient).sum()
            if not product.requires_grad:
                raise ScoreError("the gradient does not depend on the weights")
            recorded["hessian_gradients"] = _gradients(product, leaves)


def _gradients(
    value: Tensor, leaves: dict[str, Tensor], create_graph: bool = False
) -> dict[str, Tensor]:
    """Gradients of a scalar; a weight that it does not depend on gets zeros."""
    if not value.requires_grad:
        raise ScoreError("the loss does not depend on any weight differentiably")
    found = torch.autograd.grad(
        value, [*leaves.values()], create_graph=create_graph, allow_unused=True
    )
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


def _statistics(
    runner: ModelRunner, leaves: dict[str, Tensor], first: dict[str, Tensor]
) -> dict[str, GradientStatistics]:
    """Mean of |g| and deviation of g over all batches, streamed (Welford)."""
    if len(runner.batches) < 2:
        raise ScoreError(
            "needs at least two batches, got one: pass an iterable of batches, or a shape to use "
            "random ones. One batch is never split"
        )
    mean_abs = {n: g.abs() for n, g in first.items()}
    mean = {n: g.clone() for n, g in first.items()}
    square = {n: torch.zeros_like(g) for n, g in first.items()}
    for count, batch in enumerate(runner.batches[1:], start=2):
        with WithoutDropout():
            loss = runner.batch_loss(runner.run_soundly(batch), batch)
        for name, gradient in _gradients(loss, leaves).items():
            difference = gradient - mean[name]
            mean[name] += difference / count
            square[name] += difference * (gradient - mean[name])
            mean_abs[name] += (gradient.abs() - mean_abs[name]) / count
    batches = len(runner.batches)
    return {
        n: GradientStatistics(mean_abs[n], (square[n] / batches).clamp_min_(0).sqrt_())
        for n in first
    }


# --- synaptic flow -----------------------------------------------------------------------------


class WithoutNorm(WithoutDropout):
    """Batch norm as the identity, which keeps a network of positive weights positive."""

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm or func is torch.batch_norm:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


def record_flow(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """One all-ones sample through the network of absolute weights, in double precision."""
    recorded: Recorded = {}
    for name, mode in (("flow", WithoutNorm), ("flow_with_norm", SingleSample)):
        if name in wanted:
            with attempt(recorded, name):
                recorded[name] = _flow(runner, mode())
    return recorded


def _ones(tensor: Tensor) -> Tensor:
    """Ones; tokens and other whole numbers, which cannot be scaled, stay as they are."""
    if tensor.is_floating_point():
        return torch.ones_like(tensor, dtype=torch.float64)
    return tensor


def _flow(runner: ModelRunner, mode: WithoutDropout) -> dict[str, SynapticFlow]:
    ones = runner.batches[0].rows(0, 1).map(_ones)
    with runner.substituted(dtype=torch.float64, change=lambda n, p: p.abs()) as leaves:
        _nonempty(leaves)
        with mode:
            output = runner.run(ones)
        found = _gradients(runner.main_output(output).sum(), leaves)
        return {name: SynapticFlow(w.detach(), found[name]) for name, w in leaves.items()}


# --- perturbation of a Gaussian network ----------------------------------------------------------

_GAMMA = 1e-2


def record_perturbation(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Two forwards of a Gaussian-initialised network, without gradients."""
    recorded: Recorded = {}
    with attempt(recorded, "perturbation"):
        batch = runner.batches[0]
        if not all(t.is_floating_point() for t in batch.tensors):
            raise ScoreError("needs a floating-point input to perturb; this one is integer")
        generator = torch.Generator().manual_seed(runner.seed)

        def normal(tensor: Tensor) -> Tensor:
            # drawn in one type, so that every precision sees the same numbers
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        norms = runner.norm_scales

        def gaussian(name: str, parameter: Tensor) -> Tensor:
            if not parameter.is_floating_point():
                return parameter
            if name in norms or parameter.dim() < 2:
                return torch.ones_like(parameter) if name in norms else torch.zeros_like(parameter)
            return normal(parameter)

        sample = batch.map(normal)
        shifted = sample.map(lambda t: t + _GAMMA * normal(t))
        features, variances = [], []
        with runner.substituted(gradients=False, change=gaussian):
            for data in (sample, shifted):
                recorder = FeatureRecorder()
                with WithoutDropout(), recorder:
                    runner.run(data)
                features.append(recorder.features())
                variances.append(recorder.variances)
            distance = (features[0] - features[1]).abs().flatten(1).sum(dim=1).mean()
        recorded["perturbation"] = Perturbation(float(distance), variances[0])
    return recorded


# --- per-sample gradients -----------------------------------------------------------------------


def record_per_sample(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Per-sample gradients, of which only what is asked for is kept; see :mod:`.per_sample`."""
    recorded: Recorded = {}
    with attempt(recorded, *wanted):
        _nonempty(runner.weights())
        recorded.update(per_sample_signals(runner, wanted))
    return recorded


def record_tangent_kernel(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """The same of the summed outputs instead of the loss."""
    recorded: Recorded = {}
    with attempt(recorded, "tangent_kernel"):
        _nonempty(runner.weights())
        recorded.update(per_sample_signals(runner, wanted))
    return recorded


# --- networks of constant weights ---------------------------------------------------------------

_CONSTANTS = (1e-7, 1.0)


def record_constant_outputs(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Two forwards with every weight at one constant, in double precision."""
    recorded: Recorded = {}
    with attempt(recorded, "constant_outputs"):
        norms = runner.norm_scales
        batch = runner.batches[0].map(lambda t: t.to(torch.float64) if t.is_floating_point() else t)
        outputs = []
        for constant in _CONSTANTS:

            def filled(name: str, parameter: Tensor, constant: float = constant) -> Tensor:
                if not parameter.is_floating_point() or parameter.dim() < 2 or name in norms:
                    return parameter
                return torch.full_like(parameter, constant)

            changed = runner.substituted(gradients=False, dtype=torch.float64, change=filled)
            with changed, WithoutDropout():
                outputs.append(runner.main_output(runner.run(batch)).flatten(1))
        recorded["constant_outputs"] = tuple(outputs)
    return recorded


PASSES: tuple[Pass, ...] = (
    Pass(frozenset({"graph", "weights"}), record_weights),
    Pass(
        frozenset(
            {
                *("code_kernel", "activation_patterns", "layer_features", "output_confidence"),
                *("targets", "class_count", "input_jacobian", *_LOSS_SIGNALS),
            }
        ),
        record_batch,
    ),
    Pass(frozenset({"flow", "flow_with_norm"}), record_flow),
    Pass(frozenset({"perturbation"}), record_perturbation),
    Pass(frozenset({"sign_sums", "gradient_entries", "gradient_kernel"}), record_per_sample),
    Pass(frozenset({"tangent_kernel"}), record_tangent_kernel),
    Pass(frozenset({"attention_confidences", "attention_importances"}), record_attention),
    Pass(frozenset({"blocks"}), record_blocks),
    Pass(frozenset({"constant_outputs"}), record_constant_outputs),
    Pass(frozenset({"twins"}), record_twins),
    Pass(frozenset({"named_relu_kernel", "relu_kernel", "relu_patterns"}), record_relus),
    Pass(frozenset({"second_saliencies"}), record_second_saliencies),
    Pass(frozenset({"module_features"}), record_module_features),
    Pass(frozenset({"module_sizes"}), record_module_sizes),
    Pass(frozenset({"parameter_gradients"}), record_parameter_gradients),
    Pass(frozenset({"batch_gradients"}), record_batch_gradients),
    Pass(frozenset({"coupled_kernel"}), record_coupled_kernel),
    Pass(frozenset({"given_perturbation"}), record_given_perturbation),
    Pass(frozenset({"given_blocks"}), record_given_blocks),
)
