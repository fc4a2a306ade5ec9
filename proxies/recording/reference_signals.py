"""Signals that only published codes read, from modules, batches and parameters.

The proxies of ``variants`` read them. Each random tensor that a published code draws is drawn here
by its own function, so that a comparison can use the same numbers in both codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import NotApplicable, ScoreError
from ...graphs.module_path import module_calls
from .attempts import Recorded, attempt
from .blocks.views import blocks
from .changed_weights import recorded_features
from .differentiation import Gradients, gradients
from .model_runner import ModelRunner
from .modes import WithoutDropout
from .recorders.outputs import OutputRecorder
from .recorders.rectifiers import CodeKernel, PatternCount
from .samples.survey import Layouts
from .signals import ModuleSize, Perturbation

_GAMMA = 1e-2


def second_draw(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return the perturbation of an input: normal numbers of the same shape."""
    return torch.randn(tensor.shape, generator=generator).to(tensor)


def square_image(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return one normal image of 64x64 pixels."""
    return torch.randn(1, like.shape[1], 64, 64, generator=generator).to(like)


# --- rectifiers, found by their modules' classes --------------------------------------------------


def record_relus(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward that records the inputs of modules only, and ignores functions."""
    recorded: Recorded = {}
    with attempt(recorded, *wanted):
        batch = runner.first
        layouts = Layouts()  # the code reads rows
        recorders: dict[str, CodeKernel | PatternCount] = {
            "named_relu_kernel": CodeKernel(layouts.counted(len(batch))),
            "relu_kernel": CodeKernel(layouts.counted(len(batch))),
            "relu_patterns": PatternCount(layouts.counted(len(batch))),
        }
        found: set[str] = set()

        def see(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            for name in wanted & _sees(module, args):
                found.add(name)
                recorders[name].see(args[0].detach())

        with runner.substituted(gradients=False), WithoutDropout(), module_calls(see):
            runner.run_soundly(batch)
        for name in wanted:
            with attempt(recorded, name):
                if name not in found:
                    raise NotApplicable("the model has no nn.ReLU module that this code looks for")
                recorded[name] = recorders[name].result()
    return recorded


def _sees(module: nn.Module, args: tuple[Any, ...]) -> set[str]:
    """Return the names of the signals that need the module's input."""
    if not args or not isinstance(args[0], Tensor):
        return set()
    seen = {"named_relu_kernel"} if "ReLU" in type(module).__name__ else set()
    if isinstance(module, nn.ReLU):
        seen.add("relu_kernel")
        if args[0].dim() == 4:
            seen.add("relu_patterns")
    return seen


# --- every module ---------------------------------------------------------------------------------


def record_module_features(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward of one image of 64x64 pixels, whatever the batch."""
    recorded: Recorded = {}
    with attempt(recorded, "module_features"):
        tensors = runner.first.tensors
        if len(tensors) != 1 or tensors[0].dim() != 4:
            raise NotApplicable("this code reads images alone")
        generator = torch.Generator().manual_seed(runner.seed)
        image = square_image(tensors[0], generator)
        features: list[Tensor] = []

        def see(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                # at once, for an in-place operator may overwrite it
                features.append(output[0].detach().reshape(output.shape[1], -1).clone())

        with runner.substituted(gradients=False), WithoutDropout(), module_calls(see):
            runner.model(image)
        recorded["module_features"] = features
    return recorded


def record_module_sizes(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward of one sample; count parameters and operations of childless modules."""
    recorded: Recorded = {}
    with attempt(recorded, "module_sizes"):
        sizes: list[ModuleSize] = []

        def see(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not any(module.children()) and isinstance(output, Tensor):
                parameters = sum(p.numel() for p in module.parameters())
                sizes.append(ModuleSize(parameters, _operations(module, args[0], output)))

        with runner.substituted(gradients=False), WithoutDropout(), module_calls(see):
            runner.run(runner.some(1))
        recorded["module_sizes"] = sizes
    return recorded


def _operations(module: nn.Module, source: Tensor, output: Tensor) -> int:
    """Return the number of operations as the published code counts them.

    These are products of convolutions and linear layers, additions of a convolution's bias, and
    passes of batch norm, ReLU and pooling over elements.
    """
    if isinstance(module, nn.Conv2d):
        weight = module.weight
        return output.numel() * (weight[0].numel() + (module.bias is not None))
    if isinstance(module, nn.Linear):
        return output.numel() * source.shape[-1]
    if isinstance(module, nn.BatchNorm2d):
        return source.numel() * (2 if module.affine else 1)
    if isinstance(module, (nn.ReLU, nn.ReLU6)):
        return source.numel()
    if isinstance(module, (nn.AvgPool2d, nn.MaxPool2d)):
        size = module.kernel_size
        area = size * size if isinstance(size, int) else size[0] * size[1]
        return output.numel() * area
    return 0


# --- gradients ------------------------------------------------------------------------------------


def _loss_gradients(runner: ModelRunner, leaves: Gradients, index: int) -> Gradients:
    """Return the gradient of one batch's loss; zeros for parameters that it does not depend on."""
    batch = runner.batches[index]
    with WithoutDropout():
        loss = runner.batch_loss(runner.run_soundly(batch), batch)
    return gradients(loss, leaves)


def record_parameter_gradients(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward and backward to all parameters."""
    recorded: Recorded = {}
    with attempt(recorded, "parameter_gradients"):
        names = [name for name, _ in runner.model.named_parameters()]
        with runner.substituted(names=names) as leaves:
            recorded["parameter_gradients"] = _loss_gradients(runner, leaves, 0)
    return recorded


def record_second_saliencies(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward and backward, on copies if the network overwrites outputs of its layers."""
    recorded: Recorded = {}
    with attempt(recorded, "second_saliencies"), runner.substituted() as leaves:
        batch = runner.first
        for copies in (False, True):
            outputs = OutputRecorder(leaves, None, copies=copies)
            with outputs:
                output = runner.run_soundly(batch)
            if not outputs.overwritten():
                break
        loss = runner.batch_loss(output, batch)
        with outputs.listening():
            gradients(loss, leaves)
        recorded["second_saliencies"] = outputs.saliencies
    return recorded


def record_batch_gradients(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward and backward of every batch."""
    recorded: Recorded = {}
    with attempt(recorded, "batch_gradients"):
        if len(runner.batches) < 2:
            raise ScoreError("needs at least two batches, got one")
        with runner.substituted() as leaves:
            recorded["batch_gradients"] = [
                _loss_gradients(runner, leaves, i) for i in range(len(runner.batches))
            ]
    return recorded


def record_coupled_kernel(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward of the batch and one backward of each of its samples."""
    recorded: Recorded = {}
    with attempt(recorded, "coupled_kernel"):
        names = [name for name, _ in runner.model.named_parameters() if "weight" in name]
        batch = runner.first
        with runner.substituted(names=names) as leaves:
            with WithoutDropout():
                output = runner.real_output(runner.run_soundly(batch))
            rows = []
            for sample in output:
                found = gradients(sample.sum(), leaves, retain_graph=True)
                rows.append(torch.cat([gradient.flatten() for gradient in found.values()]))
            matrix = torch.stack(rows)
            recorded["coupled_kernel"] = matrix @ matrix.T
    return recorded


# --- features -------------------------------------------------------------------------------------


def record_given_perturbation(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run two forwards of the unchanged network: one of the batch, one of the perturbed batch."""
    recorded: Recorded = {}
    with attempt(recorded, "given_perturbation"):
        batch = runner.first
        generator = torch.Generator().manual_seed(runner.seed)
        moved = batch.map(lambda t: t + _GAMMA * second_draw(t, generator))
        with runner.substituted(gradients=False):
            one, other = (recorded_features(runner, data).features() for data in (batch, moved))
            norms = [m for m in runner.model.modules() if isinstance(m, nn.BatchNorm2d)]
            variances = [float(m.running_var.mean()) for m in norms if m.running_var is not None]
        if one.dim() != 4:
            raise NotApplicable("this code reads features of images alone")
        distance = (one - other).abs().sum(dim=(1, 2, 3)).mean()
        recorded["given_perturbation"] = Perturbation(float(distance), variances)
    return recorded


def record_given_blocks(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run the pass of AZ-NAS over the unchanged network and batch."""
    recorded: Recorded = {}
    with attempt(recorded, "given_blocks"):
        generator = torch.Generator().manual_seed(runner.seed)
        recorded["given_blocks"] = blocks(runner, runner.first, None, generator)
    return recorded
