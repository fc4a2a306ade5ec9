"""Passes over a network whose weights are replaced: by Gaussian ones, or by a constant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ...errors import NotApplicable
from .attempts import Recorded, attempt
from .batches import Batch
from .model_runner import ModelRunner
from .modes import WithoutDropout
from .recorders.pooled import PooledRecorder
from .samples.norms_by_hand import NoBatchNormByHand
from .samples.survey import CountedLayouts
from .signals import Perturbation
from .weights.applying import APPLYING, weight_of

_GAMMA = 1e-2


class _WholeBatches(WithoutDropout):
    """A mode that sees whether layers run on all samples at once.

    Attributes:
        hidden: whether the last layer ran under ``torch.vmap``, which hides what it reads.
    """

    def __init__(self, layouts: CountedLayouts):
        super().__init__()
        self._layouts = layouts
        self.hidden = False

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func in APPLYING:
            self.hidden = is_functorch_wrapped_tensor(result)
            self._layouts.see_layer(f"{func.__name__} {tuple(result.shape)}", result)
        return result


def recorded_features(runner: ModelRunner, batch: Batch) -> PooledRecorder:
    """Return the features that one forward shows; call this inside ``runner.substituted``.

    Raises:
        ScoreError: layers run on parts of the batch, so that the features are of the last part
            alone, or under ``torch.vmap``.
    """
    recorder, layouts = PooledRecorder(), runner.layouts().counted(batch.samples)
    with _WholeBatches(layouts) as layers, recorder:
        runner.run(batch)
    layouts.refuse_turns()
    if layers.hidden and recorder.pooled is None:
        raise NotApplicable("the last layer runs under torch.vmap, which hides what it reads")
    return recorder


def record_perturbation(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run two forwards of a Gaussian-initialised network, without gradients."""
    recorded: Recorded = {}
    with attempt(recorded, "perturbation"):
        batch = runner.first
        batch.check_floating()
        runner.layouts()  # before any weight is replaced
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

        sample = batch.map(lambda t: normal(t) if t.is_floating_point() else t)
        shifted = sample.map(lambda t: t + _GAMMA * normal(t) if t.is_floating_point() else t)
        # In double precision what leaves the range of single, as deep networks without norms do.
        for dtype in (runner.dtype, torch.float64):
            changed = runner.substituted(gradients=False, change=gaussian, dtype=dtype)
            with changed, NoBatchNormByHand(len(sample)):  # its variances are to be read
                one, other = (recorded_features(runner, data) for data in (sample, shifted))
                # by sample, wherever its part of the features lies
                distance = (one.features() - other.features()).abs().sum() / batch.samples
            if bool(distance.isfinite()):
                break
        recorded["perturbation"] = Perturbation(float(distance), one.variances)
    return recorded


_CONSTANTS = (1e-7, 1.0)
_SUMS = frozenset((F.linear, torch.conv1d, torch.conv2d, torch.conv3d))


class ConstantWeights(WithoutDropout):
    """A mode that computes equal outputs once: the outputs of a layer whose weight is one constant.

    Such a layer sums the channels of each of its groups, so all outputs of a group are equal.
    """

    def __init__(self, constant: Iterable[Tensor]):
        super().__init__()
        self._constant = {id(weight) for weight in constant}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in _SUMS and id(weight_of(func, args, kwargs)) in self._constant:
            return _repeated(func, *args, **kwargs)
        return func(*args, **kwargs)


def _repeated(
    func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
) -> Tensor:
    """Return the result of ``func``, computed from one input and one output of each group."""
    channels = 1 - weight.dim()
    groups = input.shape[channels] // weight.shape[1]
    each = len(weight) // groups
    summed = input.unflatten(channels, (groups, -1)).sum(channels)
    one = func(summed, weight[::each, :1], None, *rest, **named)
    result: Tensor = one.repeat_interleave(each, channels)
    return result if bias is None else result + bias.reshape(-1, *[1] * (-1 - channels))


def record_constant_outputs(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run two forwards with every weight at one constant, in double precision."""
    recorded: Recorded = {}
    with attempt(recorded, "constant_outputs"):
        norms = runner.norm_scales
        batch = runner.first.in_precision(torch.float64)
        outputs = []
        for constant in _CONSTANTS:

            def filled(name: str, parameter: Tensor, constant: float = constant) -> Tensor:
                if not parameter.is_floating_point() or parameter.dim() < 2 or name in norms:
                    return parameter
                return torch.full_like(parameter, constant)

            changed = runner.substituted(gradients=False, dtype=torch.float64, change=filled)
            with changed as weights, ConstantWeights(weights.values()):
                output = runner.real_output(runner.run(batch))
                if output.dim() == 0:
                    raise NotApplicable("the output is one number for all samples together")
                outputs.append(output.reshape(len(output), -1))
        recorded["constant_outputs"] = tuple(outputs)
    return recorded
