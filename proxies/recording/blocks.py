"""Blocks of any network, found from its data flow, and the pass of AZ-NAS over them.

A block ends where a single tensor carries everything that is still to be read: at such a *cut* the
network is one function after another. Norms that follow a layer, and activations that follow a
layer, its norm or a sum, belong to its block if they lie in the same module. Networks whose cells
read two earlier outputs (DARTS) have no cuts between cells; there the outputs of their modules are
taken instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ScoreError
from ...graphs.recording import ModulePath
from ...graphs.tracing import tensors_in
from ..activations.spectra import eigenvalues, finite
from .attempts import Recorded, attempt
from .model_runner import Batch, ModelRunner, WithoutDropout
from .recorders import PRODUCTS
from .signals import Block

Change = Callable[[str, Tensor], Tensor]

_NORMS = frozenset(
    {F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, torch.batch_norm, F.rms_norm}
)
_CHANNELS_LAST = frozenset({F.linear, F.layer_norm, F.rms_norm})
_KEEPS = frozenset({"activation", "merge"})  # the order of dimensions
_ACTIVATIONS = frozenset(
    "relu relu6 leaky_relu prelu elu selu celu gelu silu mish hardswish hardtanh sigmoid tanh "
    "hardsigmoid softplus clamp".split()
)
_ELEMENTWISE = frozenset("add radd iadd sub mul rmul imul div cat concat where lerp".split())
_LISTS = (nn.Sequential, nn.ModuleList)
_FEWEST_PRODUCTS = 8  # a network of fewer is one stretch anyway


@dataclass
class Call:
    """One function call on something that depends on the input."""

    kind: str
    path: str
    sources: set[int]
    shape: tuple[int, ...]
    channels_last: bool = False  # images as linear layers and layer norm read them: (N, H, W, C)
    last_read: int = -1


@dataclass
class Flow:
    """The calls of one forward, and what each module that returned a tensor ended with."""

    calls: list[Call] = field(default_factory=list)
    inputs_read: int = -1
    modules: list[tuple[str, int, int]] = field(default_factory=list)  # path, first, last call


class FlowRecorder(WithoutDropout):
    """Writes down which call reads which call's result."""

    def __init__(self, inputs: Iterable[Tensor], weights: Iterable[Tensor], path: ModulePath):
        super().__init__()
        self.flow = Flow()
        self._path = path
        self._maker = {id(tensor): -1 for tensor in inputs}
        self._weights = {id(weight) for weight in weights}
        self._keep: list[Any] = []  # a freed tensor's identity must not come back

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        operands = _tensors((args, kwargs))
        sources = {self._maker[id(t)] for t in operands if id(t) in self._maker}
        made = _tensors(result)
        if result is None and operands:
            made = operands[:1]  # an assignment to a part of it
        if not sources or not made:
            return result
        index = len(self.flow.calls)
        for source in sources:
            if source < 0:
                self.flow.inputs_read = index
            else:
                self.flow.calls[source].last_read = index
        weighted = any(id(t) in self._weights for t in operands)
        kind, shape = _kind(func, weighted, len(sources)), tuple(made[0].shape)
        alike = [c for c in self._read(sources) if c.shape == shape] if kind in _KEEPS else []
        last = func in _CHANNELS_LAST or any(c.channels_last for c in alike)
        self.flow.calls.append(Call(kind, self._path.current, sources, shape, last))
        for tensor in made:
            self._maker[id(tensor)] = index
            self._keep.append(tensor)
        return result

    def _read(self, sources: set[int]) -> list[Call]:
        return [self.flow.calls[source] for source in sources if source >= 0]

    def left(self, path: str, first: int, output: Any) -> None:
        """A module returned: note the call that made its output, if one did."""
        made = [self._maker[id(t)] for t in _tensors(output) if id(t) in self._maker]
        if len(made) == 1 and made[0] >= first:
            self.flow.modules.append((path, first, made[0]))


def _tensors(value: Any) -> list[Tensor]:
    return list(tensors_in(value))


def _kind(func: Any, weighted: bool, sources: int) -> str:
    if func in _NORMS:
        return "norm"
    name = getattr(func, "__name__", "").strip("_")
    if func in PRODUCTS or (weighted and name not in _ELEMENTWISE):
        return "product"
    if sources > 1:
        return "merge"
    return "activation" if name in _ACTIVATIONS else "other"


def recorded_flow(runner: ModelRunner, batch: Batch) -> Flow:
    """The data flow of one forward, inside :meth:`ModelRunner.substituted`."""
    path = ModulePath(runner.model)
    weights = [p for p in runner.model.parameters() if p.dim() > 1]
    recorder = FlowRecorder(batch.tensors, weights, path)
    started: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        started.append(len(recorder.flow.calls))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if started:
            recorder.left(path.current, started.pop(), output)

    hooks = nn.modules.module
    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave),
    ]
    try:
        with path.tracked(), recorder:
            runner.run(batch)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.flow


def boundaries(flow: Flow, modules: Mapping[str, nn.Module]) -> list[int]:
    """The calls whose results are the blocks' outputs, in order.

    Args:
        flow: of a forward.
        modules: the model's modules by path.
    """
    containers = {path for path, module in modules.items() if any(module.children())}
    found = _cut_boundaries(flow, containers)
    found = _without_split_twins(flow, found, modules)
    products = [i for i, call in enumerate(flow.calls) if call.kind == "product"]
    edges = [-1, *found, len(flow.calls)]
    largest = max(sum(a < p <= b for p in products) for a, b in pairwise(edges))
    if len(products) >= _FEWEST_PRODUCTS and 2 * largest > len(products):
        return _module_boundaries(flow, products) or found
    return found


def _cut_boundaries(flow: Flow, containers: set[str]) -> list[int]:
    calls = flow.calls
    reach, cuts = flow.inputs_read, []  # furthest reader of anything before the call itself
    for i, call in enumerate(calls):
        if reach <= i and call.last_read > i:
            cuts.append(i)
        reach = max(reach, call.last_read)
    is_cut, found = set(cuts), []
    since_last = 0
    i = 0
    while i < len(calls):
        since_last += calls[i].kind == "product"
        if i in is_cut and since_last and len(calls[i].shape) > 2:
            i = _last_attached(calls, i, is_cut, containers)
            found.append(i)
            since_last = 0
        i += 1
    return found


def _last_attached(calls: list[Call], i: int, cuts: set[int], containers: set[str]) -> int:
    """The last of the cuts from ``i`` on that norms and activations of the same block make."""
    kind = calls[i].kind
    while i + 1 in cuts:
        following = calls[i + 1]
        inside = _belongs(following.path, _home(calls[i].path, containers), calls)
        attached = (following.kind == "norm" and kind in ("product", "other")) or (
            following.kind == "activation"
        )
        if not (inside and attached):
            break
        i, kind = i + 1, following.kind
    return i


def _belongs(path: str, home: str, calls: list[Call]) -> bool:
    """Whether a norm or activation at ``path`` follows inside ``home``, not at the start of a
    block that home holds, as in networks of pre-activation."""
    inside = f"{home}." if home else ""
    if path == home or not path.startswith(inside):
        return path == home
    child = inside + path[len(inside) :].partition(".")[0]
    return not any(
        call.kind == "product" and f"{call.path}.".startswith(f"{child}.") for call in calls
    )


def _home(path: str, containers: set[str]) -> str:
    """The module that a call belongs to: its own if it has children, else the one around it."""
    return path if path in containers else path.rpartition(".")[0]


def _without_split_twins(
    flow: Flow, found: list[int], modules: Mapping[str, nn.Module]
) -> list[int]:
    """No boundary inside a module if another one of its class is a block as a whole.

    An inverted residual without its shortcut is a chain, of which every convolution would be a
    block, beside others of its class that are one block each.
    """
    products = [i for i, call in enumerate(flow.calls) if call.kind == "product"]
    spans: dict[type[nn.Module], list[tuple[int, int]]] = {}
    for path, first, last in flow.modules:
        kind = type(modules[path]) if path in modules else nn.Sequential
        if kind not in _LISTS and sum(first <= p <= last for p in products) > 1:
            spans.setdefault(kind, []).append((first, last))
    inner: set[int] = set()
    for several in spans.values():
        inside = [{b for b in found if first <= b < last} for first, last in several]
        if not all(inside):
            inner.update(*inside)
    return [b for b in found if b not in inner]


def _module_boundaries(flow: Flow, products: list[int]) -> list[int]:
    """Outputs of the outermost modules of which none holds more than half of the products."""
    chosen: dict[str, list[int]] = {}
    for path, first, last in sorted(flow.modules, key=lambda module: module[0].count(".")):
        held = sum(first <= p <= last for p in products)
        around = any(path.startswith(f"{outer}.") for outer in chosen)
        if path and not around and 0 < 2 * held <= len(products):
            chosen.setdefault(path, []).append(last)
    found = sorted(last for several in chosen.values() for last in several)
    return [last for last in found if len(flow.calls[last].shape) > 2] if len(found) > 2 else []


class BoundaryRecorder(WithoutDropout):
    """Keeps the results of the calls at the boundaries, connected to autograd."""

    def __init__(self, inputs: Iterable[Tensor], wanted: Iterable[int], copies: bool = False):
        super().__init__()
        self._depends = {id(tensor) for tensor in inputs}
        self._wanted = set(wanted)
        self._copies = copies
        self._versions: list[int] = []
        self._index = 0
        self._keep: list[Any] = []
        self.features: list[Tensor] = []

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        operands = _tensors((args, kwargs))
        made = _tensors(result)
        if result is None and operands:
            made = operands[:1]
        if not made or not any(id(t) in self._depends for t in operands):
            return result
        if self._index in self._wanted:
            # A feature of tokens alone depends on no float input: let it be differentiated to.
            self.features.append(made[0] if made[0].requires_grad else made[0].requires_grad_())
            self._versions.append(made[0]._version)
            if self._copies and result is made[0]:
                result = result.clone()  # for the network to write to
                made.append(result)
        self._index += 1
        self._depends.update(id(t) for t in made)
        self._keep.extend(made)
        return result

    def overwritten(self) -> bool:
        """Whether an in-place operator changed any feature."""
        pairs = zip(self.features, self._versions, strict=True)
        return any(feature._version != version for feature, version in pairs)


def rademacher(shape: tuple[int, ...], index: int, generator: torch.Generator) -> Tensor:
    """Random signs for the output of block ``index``."""
    return torch.randint(2, shape, generator=generator).mul(2).sub(1)


def kaiming(runner: ModelRunner, generator: torch.Generator) -> Change:
    """Weights Kaiming-normal by fan-in, scales of norms 1, biases 0; all else as given."""
    weights, scales = set(runner.weight_names), runner.norm_scales

    def drawn(name: str, parameter: Tensor) -> Tensor:
        if name in weights:
            deviation = math.sqrt(2 / parameter[0].numel())
            return torch.randn(parameter.shape, generator=generator).to(parameter).mul(deviation)
        if name in scales:
            return torch.ones_like(parameter)
        return torch.zeros_like(parameter) if name.endswith("bias") else parameter

    return drawn


def record_blocks(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """One forward of a Kaiming network on Gaussian inputs, and one pull-back through each block."""
    recorded: Recorded = {}
    with attempt(recorded, "blocks"):
        generator = torch.Generator().manual_seed(runner.seed)

        def gaussian(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        batch = runner.batches[0].map(gaussian)
        recorded["blocks"] = blocks(runner, batch, kaiming(runner, generator), generator)
    return recorded


def blocks(
    runner: ModelRunner, batch: Batch, change: Change | None, generator: torch.Generator
) -> list[Block]:
    """Entropy and trainability of every block of the network, its weights changed.

    Raises:
        ScoreError: it has fewer than two blocks.
    """
    modules = dict(runner.model.named_modules())
    with runner.substituted(gradients=False):
        flow = recorded_flow(runner, batch.rows(0, 2))
        ends = boundaries(flow, modules)
    if len(ends) < 2:
        raise ScoreError(f"found {len(ends)} blocks in the model's data flow, at least 2 needed")
    moving = batch.map(lambda t: t.clone().requires_grad_() if t.is_floating_point() else t)
    with runner.substituted(change=change):
        recorder = BoundaryRecorder(moving.tensors, ends)
        with recorder:
            runner.run(moving)
        if recorder.overwritten():
            recorder = BoundaryRecorder(moving.tensors, ends, copies=True)
            with recorder:
                runner.run(moving)
        features = recorder.features
        last = [flow.calls[end].channels_last for end in ends]
        found = []
        for i, feature in enumerate(features):
            norm = None
            if i > 0:
                probe = rademacher(tuple(feature.shape), i, generator).to(feature)
                pulled = _pulled_back(features[i - 1], feature, probe)
                norm = _spectral_norm(_second(pulled, last[i - 1]), _second(probe, last[i]))
            found.append(Block(_entropy(_second(feature.detach(), last[i])), norm))
    return found


def _second(feature: Tensor, channels_last: bool) -> Tensor:
    """Images with channels second; tokens as they are."""
    return feature.movedim(-1, 1) if channels_last and feature.dim() > 3 else feature


def _entropy(feature: Tensor) -> float:
    """Entropy of the normalised eigenvalues of the channels' covariance."""
    rows = _rows(feature)
    rows = rows - rows.mean(dim=0)
    values = eigenvalues(rows.T @ rows / len(rows), "a block's features").clamp_min(0)
    if not float(values.sum()) > 0:
        raise ScoreError("the features of a block are constant")
    shares = values / values.sum()
    return float(-(shares * torch.log(shares.clamp_min(1e-30))).sum())


def _rows(feature: Tensor) -> Tensor:
    """Positions of all samples by channels: images (N, C, ...), tokens (N, T, C)."""
    channels_last: Tensor = feature if feature.dim() == 3 else feature.movedim(1, -1)
    return channels_last.flatten(0, -2)


def _pulled_back(before: Tensor, after: Tensor, probe: Tensor) -> Tensor:
    pulled = torch.autograd.grad(after, before, probe, retain_graph=True, allow_unused=True)[0]
    if pulled is None:
        raise ScoreError("a block's output does not depend on the block before it")
    return pulled


def _spectral_norm(pulled: Tensor, probe: Tensor) -> float | None:
    """Largest singular value of g_in^T g_out / positions, g_in the pull-back of the probe g_out.

    None where positions do not correspond, as between an image and tokens; NaN for an identity.
    """
    if pulled.dim() == probe.dim() == 4:
        pulled, probe = _folded(pulled, probe.shape[2:]), _folded(probe, pulled.shape[2:])
    if pulled.shape == probe.shape and bool(torch.allclose(pulled, probe)):
        return float("nan")
    one, other = _rows(pulled), _rows(probe)
    if len(one) != len(other):
        return None
    product = finite((one.T @ other / len(other)).double(), "a block's gradients")
    return float(torch.linalg.matrix_norm(product, 2))


def _folded(image: Tensor, size: torch.Size) -> Tensor:
    """The image with its positions folded into channels until it has no more than ``size``.

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
