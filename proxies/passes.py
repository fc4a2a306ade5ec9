"""The passes over a network, each recording several signals at once.

A pass takes the subject and the names of the signals wanted of it and returns name -> signal, or
name -> :class:`ScoreError` for a signal that could not be recorded. One that fails leaves the
others standing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ScoreError
from ..graphs.operators import RECTIFIERS, canonical
from .per_sample import sign_sums
from .signals import GradientStatistics, Perturbation, Saliency, SynapticFlow
from .subject import Batch, Subject, WithoutDropout

Recorded = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """One way through the network: which signals it can record, and how."""

    provides: frozenset[str]
    record: Callable[[Subject, frozenset[str]], Recorded]


@contextmanager
def attempt(recorded: Recorded, *names: str) -> Iterator[None]:
    """Turn a failure inside into the reason why ``names`` are missing."""
    try:
        yield
    except ScoreError as error:
        recorded.update(dict.fromkeys(names, error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        recorded.update(dict.fromkeys(names, ScoreError(_short(error), "out of memory")))
    except Exception as error:
        # Anything a user's forward, loss or autograd may raise: the reason, not a crash.
        status = "out of memory" if "not enough memory" in str(error) else "error"
        reason = f"{type(error).__name__}: {_short(error)}"
        recorded.update(dict.fromkeys(names, ScoreError(reason, status)))


def _short(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if len(text) <= 300 else text[:297] + "..."


# --- no pass ----------------------------------------------------------------------------------


def record_weights(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """The graph and the weights, which need no forward."""
    recorded: Recorded = {"graph": subject.graph}
    if "weights" in wanted:
        with attempt(recorded, "weights"):
            recorded["weights"] = _nonempty(subject.weights())
    return recorded


def _nonempty(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if not weights:
        raise ScoreError("the model has no weight of a convolution, linear or recurrent layer")
    return weights


# --- the batch: one forward, up to three backwards ----------------------------------------------

_LOSS_SIGNALS = ("gradients", "hessian_gradients", "saliencies", "gradient_statistics")


def record_batch(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """One training-mode forward of the batch and the backwards that are asked for.

    The first-order gradient is taken once. If the Hessian product is wanted it is taken with its
    graph, which the product then differentiates: no forward is repeated.
    """
    recorded: Recorded = {}
    by_loss = [name for name in _LOSS_SIGNALS if name in wanted]
    differentiable = bool(by_loss) or "input_jacobian" in wanted
    batch = subject.batches[0]
    with ExitStack() as stack:
        stack.enter_context(attempt(recorded, *wanted))
        leaves = stack.enter_context(subject.substituted(gradients=differentiable))
        if "hessian_gradients" in wanted:
            # Fused attention has no second derivative.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "input_jacobian" in wanted:
            batch = batch.map(_differentiable)
        codes = CodeKernel(len(batch)) if "code_kernel" in wanted else None
        taps = OutputTaps(leaves, "saliencies" in wanted)
        output = _forward(subject, batch, codes, taps)
        if "saliencies" in wanted and taps.overwritten():
            # An in-place operator destroyed what the tap holds: once more, on copies.
            taps = OutputTaps(leaves, True, copies=True)
            output = _forward(subject, batch, None, taps)
        if codes is not None:
            with attempt(recorded, "code_kernel"):
                recorded["code_kernel"] = codes.result()
        if "input_jacobian" in wanted:
            with attempt(recorded, "input_jacobian"):
                recorded["input_jacobian"] = _jacobian(subject, output, batch, bool(by_loss))
        if by_loss:
            with attempt(recorded, *by_loss):
                loss = subject.batch_loss(output, batch)
                del output  # and with it, pass by pass, what only it keeps alive
                _record_gradients(leaves, loss, taps, wanted, recorded)
                del loss
                if "gradient_statistics" in wanted:
                    with attempt(recorded, "gradient_statistics"):
                        first = recorded["gradients"]
                        recorded["gradient_statistics"] = _statistics(subject, leaves, first)
    return recorded


def _forward(subject: Subject, batch: Batch, codes: CodeKernel | None, taps: OutputTaps) -> Any:
    with taps:
        if codes is None:
            return subject.run(batch)
        with codes:
            return subject.run(batch)


def _differentiable(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor


def _jacobian(subject: Subject, output: Any, batch: Batch, keep: bool) -> Tensor:
    sources = [t for t in batch.tensors if t.requires_grad]
    if not sources:
        raise ScoreError("needs a floating-point input to differentiate to; this one is integer")
    found = torch.autograd.grad(
        subject.main_output(output).sum(), sources, retain_graph=keep, allow_unused=True
    )
    rows = [g.flatten(1) for g in found if g is not None]
    if not rows:
        raise ScoreError("the output does not depend on the input differentiably")
    return torch.cat(rows, dim=1)


def _record_gradients(
    leaves: dict[str, Tensor],
    loss: Tensor,
    taps: OutputTaps,
    wanted: frozenset[str],
    recorded: Recorded,
) -> None:
    _nonempty(leaves)
    second_order = "hessian_gradients" in wanted
    with taps.listening():
        found = _gradients(loss, leaves, create_graph=second_order)
    if "saliencies" in wanted:
        recorded["saliencies"] = taps.saliencies
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
    subject: Subject, leaves: dict[str, Tensor], first: dict[str, Tensor]
) -> dict[str, GradientStatistics]:
    """Mean of |g| and deviation of g over all batches, streamed (Welford)."""
    if len(subject.batches) < 2:
        raise ScoreError(
            "needs at least two batches, got one: pass an iterable of batches, or a shape to use "
            "random ones. One batch is never split"
        )
    mean_abs = {n: g.abs() for n, g in first.items()}
    mean = {n: g.clone() for n, g in first.items()}
    square = {n: torch.zeros_like(g) for n, g in first.items()}
    for count, batch in enumerate(subject.batches[1:], start=2):
        with WithoutDropout():
            loss = subject.batch_loss(subject.run(batch), batch)
        for name, gradient in _gradients(loss, leaves).items():
            difference = gradient - mean[name]
            mean[name] += difference / count
            square[name] += difference * (gradient - mean[name])
            mean_abs[name] += (gradient.abs() - mean_abs[name]) / count
    batches = len(subject.batches)
    return {
        n: GradientStatistics(mean_abs[n], (square[n] / batches).clamp_min_(0).sqrt_())
        for n in first
    }


class OutputTaps(WithoutDropout):
    """Holds the outputs of convolutions and linear layers until their gradient comes by."""

    _TAPPED = frozenset(
        (
            F.linear,
            torch.conv1d,
            torch.conv2d,
            torch.conv3d,
            torch.conv_transpose1d,
            torch.conv_transpose2d,
            torch.conv_transpose3d,
        )
    )

    def __init__(self, leaves: dict[str, Tensor], tapping: bool, copies: bool = False):
        super().__init__()
        self.saliencies: list[Saliency] = []
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._tapping = tapping
        self._copies = copies
        self._listening = False
        self._held: list[tuple[Tensor, int]] = []

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if self._tapping and func in self._TAPPED and result.requires_grad:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self._tap(result, self._names.get(id(weight)), func is F.linear)
        return result

    def _tap(self, result: Tensor, name: str | None, channels_last: bool) -> None:
        held = result.detach().clone() if self._copies else result.detach()
        self._held.append((held, held._version))

        def arrived(gradient: Tensor) -> None:
            if self._listening:
                product = held * gradient.detach()
                if product.dim() > 2:
                    positions = (1, -2) if channels_last else (2, -1)
                    product = product.flatten(*positions).sum(dim=positions[0])
                self.saliencies.append(Saliency(name, product))

        result.register_hook(arrived)

    def overwritten(self) -> bool:
        """Whether an in-place operator changed any held output."""
        return any(tensor._version != version for tensor, version in self._held)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Gradients that come by inside are of the loss."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            self._held.clear()


@cache
def _operator(func: Any) -> str:
    return canonical(f"aten.{func.overloadpacket.__name__}")


class CodeKernel(TorchDispatchMode):
    """Adds up, over all rectifiers of a forward, which samples' binary codes agree.

    ``K = sum over units of c c^T + (1 - c)(1 - c)^T``, streamed: no code is kept.
    """

    def __init__(self, samples: int):
        super().__init__()
        self._samples = samples
        self._kernel: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        operator = _operator(func)
        relu6 = operator == "hardtanh" and tuple(args[1:3]) == (0.0, 6.0)
        if (operator in RECTIFIERS or relu6) and self._is_batch(args[0]):
            self._add(args[0])  # before the call: in place, it would overwrite its input
        return func(*args, **(kwargs or {}))

    def _is_batch(self, tensor: Tensor) -> bool:
        return tensor.dim() > 1 and tensor.shape[0] == self._samples

    def _add(self, source: Tensor) -> None:
        code = (source.detach().flatten(1) > 0).to(torch.float32)
        both = (code @ code.T).to(torch.float64)  # whole numbers, exact up to 2^24 units
        active = both.diagonal()
        agreements = 2 * both - active[:, None] - active[None, :] + code.shape[1]
        self._kernel = agreements if self._kernel is None else self._kernel + agreements

    def result(self) -> Tensor:
        """The kernel (N, N) in float64."""
        if self._kernel is None:
            raise ScoreError("the model has no rectifier (ReLU, GELU, SiLU, ...)")
        return self._kernel


# --- synaptic flow -----------------------------------------------------------------------------


class WithoutNorm(WithoutDropout):
    """Batch norm as the identity, which keeps a network of positive weights positive."""

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm or func is torch.batch_norm:
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


def record_flow(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """One all-ones sample through the network of absolute weights, in double precision."""
    recorded: Recorded = {}
    for name, mode in (("flow", WithoutNorm), ("flow_with_norm", WithoutDropout)):
        if name in wanted:
            with attempt(recorded, name):
                recorded[name] = _flow(subject, mode())
    return recorded


def _flow(subject: Subject, mode: WithoutDropout) -> dict[str, SynapticFlow]:
    batch = subject.batches[0].rows(0, 1)
    if not all(t.is_floating_point() for t in batch.tensors):
        raise ScoreError("needs a floating-point input to set to ones; this one is integer")
    ones = batch.map(lambda t: torch.ones_like(t, dtype=torch.float64))
    with subject.substituted(dtype=torch.float64, change=lambda n, p: p.abs()) as leaves:
        _nonempty(leaves)
        with mode:
            output = subject.run(ones)
        found = _gradients(subject.main_output(output).sum(), leaves)
        return {name: SynapticFlow(w.detach(), found[name]) for name, w in leaves.items()}


# --- perturbation of a Gaussian network ----------------------------------------------------------

_GAMMA = 1e-2


class FeatureTap(TorchDispatchMode):
    """Keeps the features before global pooling and the batch variances."""

    def __init__(self) -> None:
        super().__init__()
        self.pooled: Tensor | None = None
        self.projected: Tensor | None = None
        self.variances: list[float] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = _operator(func)
        if operator in ("mean", "avg_pool") and isinstance(result, Tensor):
            source = args[0]
            if source.dim() >= 4 and result.numel() * 4 <= source.numel():
                reduced = result.numel() == source.shape[0] * source.shape[1]
                if reduced or result.numel() == source.shape[0] * source.shape[-1]:
                    self.pooled = source
        elif operator in ("linear", "matmul"):
            self.projected = next(t for t in args[-2:] if isinstance(t, Tensor))
        elif operator == "batch_norm" and isinstance(result, tuple):
            self._variance(func, args, result)
        return result

    def _variance(self, func: Any, args: tuple[Any, ...], result: tuple[Tensor, ...]) -> None:
        if func is torch.ops.aten.native_batch_norm.default:
            variance = result[2].double().pow(-2) - args[7]  # it saves 1 / sqrt(variance + eps)
        else:
            dims = [d for d in range(args[0].dim()) if d != 1]
            variance = args[0].var(dim=dims, unbiased=False)
        self.variances.append(float(variance.mean()))

    def features(self) -> Tensor:
        """The last globally pooled map, else what the last linear layer read."""
        found = self.pooled if self.pooled is not None else self.projected
        if found is None:
            raise ScoreError("found neither a global pooling nor a linear layer to read before")
        return found


def record_perturbation(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """Two forwards of a Gaussian-initialised network, without gradients."""
    recorded: Recorded = {}
    with attempt(recorded, "perturbation"):
        batch = subject.batches[0]
        if not all(t.is_floating_point() for t in batch.tensors):
            raise ScoreError("needs a floating-point input to perturb; this one is integer")
        generator = torch.Generator().manual_seed(subject.seed)

        def normal(tensor: Tensor) -> Tensor:
            # drawn in one type, so that every precision sees the same numbers
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        norms = _norm_weights(subject)

        def gaussian(name: str, parameter: Tensor) -> Tensor:
            if not parameter.is_floating_point():
                return parameter
            if name in norms or parameter.dim() < 2:
                return torch.ones_like(parameter) if name in norms else torch.zeros_like(parameter)
            return normal(parameter)

        sample = batch.map(normal)
        shifted = sample.map(lambda t: t + _GAMMA * normal(t))
        features, variances = [], []
        with subject.substituted(gradients=False, change=gaussian):
            for data in (sample, shifted):
                tap = FeatureTap()
                with WithoutDropout(), tap:
                    subject.run(data)
                features.append(tap.features())
                variances.append(tap.variances)
            distance = (features[0] - features[1]).abs().flatten(1).sum(dim=1).mean()
        recorded["perturbation"] = Perturbation(float(distance), variances[0])
    return recorded


def _norm_weights(subject: Subject) -> set[str]:
    """Scales of normalisation layers: the first parameter of each."""
    names = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
    return {n.parameters[0] for n in subject.graph.nodes if n.operator in names and n.parameters}


# --- per-sample gradient signs -------------------------------------------------------------------


def record_sign_sums(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """Per-sample gradients, only their signs kept; see :mod:`.per_sample`."""
    recorded: Recorded = {}
    with attempt(recorded, "sign_sums"):
        _nonempty(subject.weights())
        recorded["sign_sums"] = sign_sums(subject)
    return recorded


PASSES: tuple[Pass, ...] = (
    Pass(frozenset({"graph", "weights"}), record_weights),
    Pass(
        frozenset({"code_kernel", "input_jacobian", *_LOSS_SIGNALS}),
        record_batch,
    ),
    Pass(frozenset({"flow", "flow_with_norm"}), record_flow),
    Pass(frozenset({"perturbation"}), record_perturbation),
    Pass(frozenset({"sign_sums"}), record_sign_sums),
)
