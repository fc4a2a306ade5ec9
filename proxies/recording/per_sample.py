"""Per-sample gradients, batched: the quantities of GradSign's loop without the loop.

The published loop sends one image at a time through the network in training mode, so batch norm
normalises each image by its own statistics. The same numbers come from one batch if batch norm
becomes instance norm and each layer's weight gradient is formed per sample: for a convolution as
one grouped convolution whose groups are the samples, for a linear layer as an outer product.
What is kept of the gradients is up to sinks, which take them layer by layer, so memory grows with
neither samples nor layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ScoreError
from .model_runner import Batch, ModelRunner, WithoutDropout
from .signals import SignSums

Objective = Callable[[Any, Batch], Tensor]

_CHUNK = 64
_SAME = 1e-3
_SLICE_ELEMENTS = 1 << 24
_KERNEL_ELEMENTS = 1 << 29  # gradients that the kernel may keep, if samples come one by one


class Sink(ABC):
    """Takes per-sample gradients layer by layer.

    Attributes:
        whole: whether it needs all samples of a layer at once.
    """

    whole = False

    @abstractmethod
    def take(self, name: str, first: int, gradients: Tensor) -> None:
        """Gradients (n, ...) of one weight, of samples ``first`` to ``first + n``."""

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        """The same as factors: gradients are outer products of (n, o) and (n, i)."""
        self.take(name, first, torch.einsum("no,ni->noi", output, input))


class Signs(Sink):
    """Sums of the gradients' signs; the last sink to take, since it writes to what it gets."""

    def __init__(self, leaves: dict[str, Tensor]):
        self.sums = {n: torch.zeros_like(leaf, requires_grad=False) for n, leaf in leaves.items()}

    def take(self, name: str, first: int, gradients: Tensor) -> None:
        self.sums[name] += gradients.sign_().sum(dim=0).view_as(self.sums[name])

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        # the sign of a product is the product of the signs
        self.sums[name] += output.sign().T @ input.sign()


class Entries(Sink):
    """The gradients of one weight of each layer, drawn by the seed: (N, layers)."""

    def __init__(self, leaves: dict[str, Tensor], samples: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self._place = {
            name: (i, int(torch.randint(leaf.numel(), (), generator=generator)))
            for i, (name, leaf) in enumerate(leaves.items())
        }
        self.entries = torch.zeros(samples, len(leaves), dtype=torch.float64)

    def take(self, name: str, first: int, gradients: Tensor) -> None:
        layer, index = self._place[name]
        rows = gradients.flatten(1)[:, index]
        self.entries[first : first + len(rows), layer] = rows.to("cpu", torch.float64)

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        layer, index = self._place[name]
        row, column = divmod(index, input.shape[1])
        rows = output[:, row].double() * input[:, column].double()
        self.entries[first : first + len(rows), layer] = rows.cpu()


class Kernel(Sink):
    """The Gram matrix (N, N) of the samples' gradients over all weights."""

    whole = True

    def __init__(self, samples: int):
        self._kernel = torch.zeros(samples, samples, dtype=torch.float64)
        self._waiting: dict[str, Tensor] = {}

    def take(self, name: str, first: int, gradients: Tensor) -> None:
        rows, samples = gradients.flatten(1), len(self._kernel)
        if len(rows) < samples:  # a part of the samples: the products need all of them
            if name not in self._waiting:
                self._waiting[name] = rows.new_zeros(samples, rows.shape[1])
            self._waiting[name][first : first + len(rows)] = rows
        else:
            self._kernel += (rows @ rows.T).to("cpu", torch.float64)

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        if len(output) < len(self._kernel):
            super().take_outer(name, first, output, input)
            return
        self._kernel += ((output @ output.T) * (input @ input.T)).to("cpu", torch.float64)

    def result(self) -> Tensor:
        """The matrix of all that was taken."""
        while self._waiting:
            _, rows = self._waiting.popitem()
            self._kernel += (rows @ rows.T).to("cpu", torch.float64)
        return self._kernel


def per_sample_signals(runner: ModelRunner, wanted: frozenset[str]) -> dict[str, Any]:
    """Signals of per-sample gradients: of the loss, or ``tangent_kernel`` of the summed outputs.

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
    kernels = wanted & {"tangent_kernel", "gradient_kernel"}
    with runner.substituted() as leaves:
        if kernels and size > _CHUNK:
            _affordable(size * sum(leaf.numel() for leaf in leaves.values()))

        def sinks() -> dict[str, Sink]:
            made: dict[str, Sink] = {}
            for name in kernels:
                made[name] = Kernel(size)
            if "gradient_entries" in wanted:
                made["gradient_entries"] = Entries(leaves, size, runner.seed)
            if "sign_sums" in wanted:
                made["sign_sums"] = Signs(leaves)
            return made

        filled = None
        if all(t.shape[0] == size for t in batch.tensors):
            filled = _batched(runner, leaves, batch, objective, sinks())
        if filled is None:
            if kernels:
                _affordable(size * sum(leaf.numel() for leaf in leaves.values()))
            filled = _looped(runner, leaves, batch, objective, sinks())
        recorded: dict[str, Any] = {}
        for name, sink in filled.items():
            if isinstance(sink, Signs):
                recorded[name] = SignSums(size, sink.sums)
            elif isinstance(sink, Entries):
                recorded[name] = sink.entries
            elif isinstance(sink, Kernel):
                recorded[name] = sink.result()
        return recorded


def _affordable(elements: int) -> None:
    if elements > _KERNEL_ELEMENTS:
        raise ScoreError(
            "the samples' gradients of this model must be formed one by one and kept, which are "
            f"{elements / 1e9:.1f} billion numbers; pass a smaller batch"
        )


def _batched(
    runner: ModelRunner,
    leaves: dict[str, Tensor],
    batch: Batch,
    objective: Objective,
    sinks: dict[str, Sink],
) -> dict[str, Sink] | None:
    """The sinks, filled by batched passes, or None if this model needs the loop."""
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
        if not loss.requires_grad:
            raise ScoreError("the loss does not depend on any weight differentiably")
        loss.backward(inputs=mode.anchors)
    return sinks


def _close(a: Tensor, b: Tensor) -> bool:
    scale = max(float(b.abs().max()), 1e-12)
    return a.shape == b.shape and not float((a - b).abs().max()) > _SAME * scale


def _used_elsewhere(output: Tensor, leaves: dict[str, Tensor]) -> bool:
    """Whether the output depends on a weight through an operator that was not split.

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
    leaves: dict[str, Tensor],
    batch: Batch,
    objective: Objective,
    sinks: dict[str, Sink],
) -> dict[str, Sink]:
    for i in range(len(batch)):
        rows = batch.rows(i, i + 1)
        with SingleSample():
            loss = objective(runner.run_soundly(rows), rows)
        if not loss.requires_grad:
            raise ScoreError("the loss does not depend on any weight differentiably")
        found = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
        for name, gradient in zip(leaves, found, strict=True):
            if gradient is not None:
                for sink in sinks.values():
                    sink.take(name, i, gradient[None])
    return sinks


class SingleSample(WithoutDropout):
    """Says clearly what batch norm cannot do with a single value."""

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm:
            _refuse_single_values(args[0] if args else kwargs["input"], _training(args, kwargs))
        return func(*args, **kwargs)


def _training(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return bool(args[5] if len(args) > 5 else kwargs.get("training", False))


def _refuse_single_values(source: Tensor, training: bool) -> None:
    if training and source[0, 0].numel() == 1:
        raise ScoreError(
            "batch norm of one sample sees a single value per channel "
            f"(shape {tuple(source.shape)}), whose variance is zero: undefined by its publication"
        )


class PerSample(WithoutDropout):
    """Makes batch norm per sample, and convolutions and linear layers form per-sample gradients.

    Attributes:
        uses: weight name -> number of calls that split it.
        anchors: leaves to run the backward to; it needs some, and all weights are cut out.
    """

    def __init__(self, leaves: dict[str, Tensor], sinks: list[Sink], first: int = 0):
        super().__init__()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._sinks = sinks
        self._whole = any(sink.whole for sink in sinks)
        self._first = first
        self.uses: dict[str, int] = {}
        self.anchors: list[Tensor] = []
        self._waiting: dict[str, tuple[int, Tensor]] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm:
            return _instance_statistics(*args, **kwargs)
        name = self._weight(args, kwargs)
        if name is not None:
            if func is F.linear:
                return self._linear(name, *args, **kwargs)
            if func in _CONVOLUTIONS:
                return self._convolution(name, _CONVOLUTIONS[func], *args, **kwargs)
        return func(*args, **kwargs)

    def _weight(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        return self._names.get(id(weight)) if isinstance(weight, Tensor) else None

    def _linear(
        self, name: str, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        return self._split(_Linear, name, input, weight.detach(), bias)

    def _convolution(
        self,
        name: str,
        dims: int,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if input.dim() != dims + 2 or isinstance(padding, str):
            # "same" padding may be uneven: pad first, then convolve without.
            if padding != "same" or input.dim() != dims + 2:
                padding = 0 if padding == "valid" else padding
            if isinstance(padding, str):
                input, padding = _pad_same(input, weight, _per_axis(dilation, dims)), 0
        settings = (
            _per_axis(stride, dims),
            _per_axis(padding, dims),
            _per_axis(dilation, dims),
            groups,
        )
        return self._split(_Convolution, name, input, weight.detach(), bias, *settings)

    def _split(self, function: Any, name: str, input: Tensor, *rest: Any) -> Tensor:
        self.uses[name] = self.uses.get(name, 0) + 1
        # Something must require a gradient for the backward to come by.
        anchor = torch.zeros((), dtype=input.dtype, device=input.device, requires_grad=True)
        self.anchors.append(anchor)
        result: Tensor = function.apply(self, name, anchor, input, *rest)
        return result

    def at_once(self, name: str, weight: Tensor, samples: int) -> int:
        """Of how many samples to form gradients at a time: never beyond a share of memory."""
        if self._whole or self.uses[name] > 1:
            return samples
        return max(1, _SLICE_ELEMENTS // weight.numel())

    def arrived(self, name: str, offset: int, gradients: Tensor) -> None:
        """Take the gradients (n, ...) of one use of a weight, from sample ``offset`` on."""
        left = self.uses[name]
        if left > 1 or name in self._waiting:
            # Used several times: the sample's gradient is the sum over uses.
            count, held = self._waiting.pop(name, (0, torch.zeros_like(gradients)))
            held = held + gradients
            if count + 1 < left:
                self._waiting[name] = (count + 1, held)
                return
            gradients = held
        for sink in self._sinks:
            sink.take(name, self._first + offset, gradients)

    def arrived_outer(self, name: str, output: Tensor, input: Tensor) -> None:
        """Take the gradients of a linear layer of one position: outer products."""
        if self.uses[name] > 1:
            self.arrived(name, 0, torch.einsum("no,ni->noi", output, input))
            return
        for sink in self._sinks:
            sink.take_outer(name, self._first, output, input)


_CONVOLUTIONS: dict[Any, int] = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class _Linear(torch.autograd.Function):
    """A linear layer whose backward reports per-sample gradients instead of the weight's."""

    @staticmethod
    def forward(
        ctx: Any,
        mode: PerSample,
        name: str,
        anchor: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.mode, ctx.name = mode, name
        ctx.save_for_backward(input, weight)
        return F.linear(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        if input.dim() == 2:
            ctx.mode.arrived_outer(ctx.name, gradient, input)
        else:
            positions = gradient.flatten(1, -2).transpose(1, 2)
            sources = input.flatten(1, -2)
            rows = ctx.mode.at_once(ctx.name, weight, len(input))
            for i in range(0, len(input), rows):
                ctx.mode.arrived(
                    ctx.name, i, torch.bmm(positions[i : i + rows], sources[i : i + rows])
                )
        back = gradient @ weight if ctx.needs_input_grad[3] else None
        return None, None, gradient.new_zeros(()), back, None, None


class _Convolution(torch.autograd.Function):
    """A convolution whose backward reports per-sample gradients instead of the weight's."""

    @staticmethod
    def forward(
        ctx: Any,
        mode: PerSample,
        name: str,
        anchor: Tensor,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        ctx.mode, ctx.name, ctx.settings = mode, name, (stride, padding, dilation, groups)
        ctx.save_for_backward(input, weight)
        return torch.convolution(
            input, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        none = [0] * len(stride)
        # Samples in slices, so that their gradients never outgrow a fixed share of memory.
        rows = ctx.mode.at_once(ctx.name, weight, len(input))
        for start in range(0, len(input), rows):
            stop = start + rows
            _Convolution._report(ctx, start, gradient[start:stop], input[start:stop])
        back = None
        if ctx.needs_input_grad[3]:
            back = torch.ops.aten.convolution_backward(
                gradient,
                input,
                weight,
                None,
                stride,
                padding,
                dilation,
                False,
                none,
                groups,
                [True, False, False],
            )[0]
        return None, None, gradient.new_zeros(()), back, None, None, None, None, None, None

    @staticmethod
    def _report(ctx: Any, start: int, gradient: Tensor, input: Tensor) -> None:
        weight = ctx.saved_tensors[1]
        stride, padding, dilation, groups = ctx.settings
        samples = len(input)
        # One grouped convolution: samples are groups, so each gets its own weight gradient.
        per_sample = torch.ops.aten.convolution_backward(
            gradient.reshape(1, -1, *gradient.shape[2:]),
            input.reshape(1, -1, *input.shape[2:]),
            weight.new_empty(1).expand(samples * weight.shape[0], *weight.shape[1:]),
            None,
            stride,
            padding,
            dilation,
            False,
            [0] * len(stride),
            samples * groups,
            [False, True, False],
        )[1]
        ctx.mode.arrived(ctx.name, start, per_sample.reshape(samples, *weight.shape))


def _instance_statistics(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm as each sample alone would see it."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    _refuse_single_values(input, training)
    return F.instance_norm(input, None, None, weight, bias, True, momentum, eps)


def _per_axis(value: Any, dims: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * dims if len(values) == 1 else values


def _pad_same(input: Tensor, weight: Tensor, dilation: list[int]) -> Tensor:
    """Pad so that a convolution of stride 1 keeps the size; an odd pixel goes last."""
    pads: list[int] = []
    for axis in reversed(range(len(dilation))):
        total = dilation[axis] * (weight.shape[2 + axis] - 1)
        pads += [total // 2, total - total // 2]
    return F.pad(input, pads)
