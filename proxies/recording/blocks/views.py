"""The pass of AZ-NAS over a network's blocks, whose ends ``boundaries`` finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import NotApplicable, ScoreError
from ...spectra import eigenvalues, entropy, gram, spectral_norm
from ..attempts import Recorded, attempt
from ..batches import Batch
from ..differentiation import loud_operators
from ..model_runner import ModelRunner
from ..samples.formulas import version_of
from ..samples.layout import ROWS, Layout, layout_of
from ..samples.survey import moves_rows, rows_first
from ..signals import Block
from ..weights.biases import bias_names
from .boundaries import boundaries
from .data_flow import DependentCalls, Flow, recorded_flow

Change = Callable[[str, Tensor], Tensor]

_IN_PARTS = (
    "the model runs other layers, or on other parts of the batch, for {samples} samples than for "
    "two, so its blocks cannot be told: run each layer on the whole batch"
)


class BoundaryRecorder(DependentCalls):
    """A recorder of the results of the calls at the boundaries, connected to autograd."""

    def __init__(self, inputs: Iterable[Tensor], wanted: Iterable[int], copies: bool = False):
        super().__init__(inputs)
        self._wanted = set(wanted)
        self._copies = copies
        self._versions: list[int] = []
        self.features: list[Tensor] = []
        self.calls = 0

    def seen(
        self,
        index: int,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        made: list[Tensor],
        result: Any,
    ) -> Any:
        self.calls = index + 1
        if index not in self._wanted:
            return result
        # A feature of tokens alone depends on no float input: let it be differentiated to.
        self.features.append(made[0] if made[0].requires_grad else made[0].requires_grad_())
        self._versions.append(version_of(made[0]))
        if self._copies and result is made[0]:
            return result.clone()  # for the network to write to
        return result

    def overwritten(self) -> bool:
        """Return whether an in-place operator changed any feature."""
        pairs = zip(self.features, self._versions, strict=True)
        return any(version_of(feature) != version for feature, version in pairs)


def rademacher(shape: tuple[int, ...], index: int, generator: torch.Generator) -> Tensor:
    """Return random signs for the output of block ``index``."""
    return torch.randint(2, shape, generator=generator, dtype=torch.int8).mul_(2).sub_(1)


def kaiming(runner: ModelRunner, generator: torch.Generator) -> Change:
    """Return a change: weights Kaiming-normal by fan-in, scales of norms 1, biases 0.

    What multiplies element by element, such as filters in Fourier space, has no fan-in and stays.
    """
    by_element = runner.special.filters | runner.special.summed
    weights, scales = set(runner.weight_names) - by_element, runner.norm_scales
    own = runner.effective().biases.values()
    biases = bias_names(runner.model, runner.graph).union(own)

    def drawn(name: str, parameter: Tensor) -> Tensor:
        if name in weights:
            deviation = math.sqrt(2 / parameter[0].numel())
            return torch.randn(parameter.shape, generator=generator).to(parameter).mul_(deviation)
        if name in scales:
            return torch.ones_like(parameter)
        return torch.zeros_like(parameter) if name in biases else parameter

    return drawn


def record_blocks(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward of a Kaiming network on Gaussian inputs; pull back through each block."""
    recorded: Recorded = {}
    with attempt(recorded, "blocks"):
        generator = torch.Generator().manual_seed(runner.seed)

        def gaussian(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        batch = runner.first.map(gaussian)
        recorded["blocks"] = blocks(runner, batch, kaiming(runner, generator), generator)
    return recorded


def blocks(
    runner: ModelRunner, batch: Batch, change: Change | None, generator: torch.Generator
) -> list[Block]:
    """Return entropy and trainability of every block of the network, its weights changed.

    Raises:
        ScoreError: it has fewer than two blocks.
    """
    modules = dict(runner.model.named_modules())
    moved = moves_rows(runner.graph) and bool(runner.layouts().moved)
    with runner.substituted(gradients=False):
        flow, layouts = _flow(runner, batch)
        ends = boundaries(flow, modules)
    if len(ends) < 2:
        raise NotApplicable(
            f"blocks in the model's data flow: found {len(ends)}, at least 2 needed"
        )
    with runner.substituted(change=change):
        found = []
        before: tuple[Tensor, Place] | None = None
        for i, feature in enumerate(_features(runner, batch, ends, len(flow.calls))):
            end = flow.calls[ends[i]]
            place = Place(layouts[ends[i]], len(batch), end.channels_last)
            if runner.separable and not place.layout.fits(feature, len(batch)):
                raise ScoreError(_IN_PARTS.format(samples=len(batch)))
            rows = place.parts(feature)
            norm = None
            if before is not None and not moved:
                # Signs are drawn by sample and channel, so that they are the same in every layout.
                second = _second(rows, place) if rows.dim() > 3 else rows
                probe = rademacher(tuple(second.shape), i, generator).to(feature)
                probe = probe.movedim(1, -1) if rows.dim() > 3 and place.channels_last else probe
                pulled = _pulled_back(before[0], feature, place.whole(probe, feature.shape))
                norm = _spectral_norm(
                    _second(before[1].parts(pulled), before[1]), _second(probe, place)
                )
            found.append(Block(_entropy(_second(rows.detach(), place)), norm))
            before = feature, place
    return found


@dataclass(frozen=True)
class Place:
    """Where the samples and the channels of a block's output lie.

    Attributes:
        layout: of the samples; rows where it is unclear.
        samples: in the batch.
        channels_last: or second.
    """

    layout: Layout
    samples: int
    channels_last: bool

    @property
    def _folds_images(self) -> bool:
        return self.layout.outer * self.layout.inner > 1 and not self.channels_last

    def parts(self, feature: Tensor) -> Tensor:
        """Return the feature samples first, what was folded into the batch behind the channels."""
        if self._folds_images and self.layout.dim == 1:  # samples lie among the channels
            return self.layout.parts(feature, self.samples).flatten(1, 2)
        if self._folds_images and feature.dim() > 2:
            return self.layout.parts(feature.movedim(1, -1), self.samples).movedim(-1, 1)
        return self.layout.parts(feature, self.samples)

    def whole(self, parts: Tensor, shape: torch.Size) -> Tensor:
        """Return what ``parts`` made of a feature of this shape as it was."""
        if self._folds_images and self.layout.dim == 1:
            return self.layout.whole(parts.unflatten(1, (shape[0], -1)), shape)
        if self._folds_images and len(shape) > 2:
            last = torch.Size((shape[0], *shape[2:], shape[1]))
            return self.layout.whole(parts.movedim(1, -1), last).movedim(-1, 1)
        return self.layout.whole(parts, shape)


def _flow(runner: ModelRunner, batch: Batch) -> tuple[Flow, list[Layout]]:
    """Return the data flow of two samples, and where they lie in the result of each call.

    What is folded into the batch gets the shape that it has by sample.
    """
    if not runner.separable:
        flow = recorded_flow(runner, batch)
        return flow, [ROWS] * len(flow.calls)
    shown = rows_first(runner.graph) and not runner.effective().for_each
    if shown or len(batch) < 2:
        flow = recorded_flow(runner, batch.rows(0, 2))
        return flow, [ROWS] * len(flow.calls)
    beside: list[Tensor] = []
    alone: list[Tensor] = []
    flow = recorded_flow(runner, batch.rows(0, 2), beside)
    recorded_flow(runner, batch.rows(1, 2), alone)
    layouts = []
    for i, (call, result) in enumerate(zip(flow.calls, beside, strict=True)):
        layout = layout_of(result, 2, alone[i], 1)[0] if i < len(alone) else None
        layouts.append(layout or ROWS)
        if layout is not None and call.shape:
            call.shape = tuple(layout.parts(result, 2).shape)
    return flow, layouts


def _features(runner: ModelRunner, batch: Batch, ends: list[int], calls: int) -> list[Tensor]:
    """Return the results at the blocks' ends, on copies if the network overwrites them.

    Raises:
        ScoreError: the network makes other than ``calls`` calls, so that ends lie elsewhere.
    """
    moving = batch.map(lambda t: t.clone().requires_grad_() if t.is_floating_point() else t)
    recorder = BoundaryRecorder(moving.held, ends)
    with recorder:
        runner.run(moving)
    if recorder.overwritten():
        recorder = BoundaryRecorder(moving.held, ends, copies=True)
        with recorder:
            runner.run(moving)
    if recorder.calls != calls:
        raise ScoreError(_IN_PARTS.format(samples=len(batch)))
    return recorder.features


def _second(feature: Tensor, place: Place) -> Tensor:
    """Return images, and signals as images of one row, with channels second; tokens as they are."""
    if feature.dim() == 3:
        return feature if place.channels_last else feature.unsqueeze(2)
    return feature.movedim(-1, 1) if place.channels_last else feature


def _entropy(feature: Tensor) -> float:
    """Return the entropy of the normalised eigenvalues of the channels' covariance."""
    rows = _rows(feature)
    rows = rows - rows.mean(dim=0)
    values = eigenvalues(gram(rows) / len(rows), "a block's features").clamp_min(0)
    if not float(values.sum()) > 0:
        raise NotApplicable("the features of a block are constant")
    return float(entropy(values))


def _rows(feature: Tensor) -> Tensor:
    """Return positions of all samples by channels: of images (N, C, ...), tokens (N, T, C)."""
    channels_last: Tensor = feature if feature.dim() == 3 else feature.movedim(1, -1)
    return channels_last.flatten(0, -2)


def _pulled_back(before: Tensor, after: Tensor, probe: Tensor) -> Tensor:
    with loud_operators():
        (pulled,) = torch.autograd.grad(after, before, probe, retain_graph=True, allow_unused=True)
    if pulled is None:
        raise NotApplicable("a block's output does not depend on the block before it")
    return pulled


def _spectral_norm(pulled: Tensor, probe: Tensor) -> float | None:
    """Return the largest singular value of g_in^T g_out / positions, g_in pulled back from g_out.

    None where positions do not correspond, as between an image and tokens; NaN for an identity.
    """
    if pulled.dim() == probe.dim() == 4:
        pulled, probe = _folded(pulled, probe.shape[2:]), _folded(probe, pulled.shape[2:])
    if pulled.shape == probe.shape:
        corner = (slice(1), slice(1))  # tells most apart, before all is compared
        if torch.allclose(pulled[corner], probe[corner]) and torch.allclose(pulled, probe):
            return float("nan")
    one, other = _rows(pulled), _rows(probe)
    if len(one) != len(other):
        return None
    return spectral_norm(one, other / len(other), "a block's gradients")


def _folded(image: Tensor, size: torch.Size) -> Tensor:
    """Return the image with its positions folded into channels until it has no more than ``size``.

    What a stride does not divide is padded with zeros.
    """
    factor = max(-(-have // want) for have, want in zip(image.shape[2:], size, strict=True))
    if factor <= 1:
        return image
    missing = [factor * want - have for have, want in zip(image.shape[2:], size, strict=True)]
    if min(missing) < 0:
        return image
    padded = F.pad(image, (0, missing[1], 0, missing[0]))
    folded: Tensor = F.pixel_unshuffle(padded, factor)
    return folded
