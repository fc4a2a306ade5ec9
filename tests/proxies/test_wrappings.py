"""Wrappers, hooks, and targets and precisions in other forms change no score."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, compared
from torch import Tensor, nn
from torch.distributed import _composable as composable
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import archrank
from archrank.errors import UnsupportedModelError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    ).double()


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(x, torch.arange(6) % 4) for x in images]


@pytest.fixture(scope="module")
def expected() -> archrank.Scores:
    return archrank.score(network(), batches())


class Functional(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.model, dict(self.model.named_parameters()), (x,))


def hooked(model: nn.Sequential, add: Callable[[nn.Module], Any]) -> nn.Module:
    for layer in (model[0], model[3]):
        add(layer)
    return model


def with_layer(model: nn.Sequential, wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model[3] = wrap(model[3])
    return model


def checkpointed(model: nn.Sequential) -> nn.Module:
    composable.checkpoint(model[3])
    return model


WRAPS: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "checkpointed layer": lambda model: with_layer(model, checkpoint_wrapper),
    "checkpointed in place": checkpointed,
    "compiled layer": lambda model: with_layer(model, partial(torch.compile, backend="eager")),
    "data parallel": nn.DataParallel,
    "synchronised norm": nn.SyncBatchNorm.convert_sync_batchnorm,
    "functional call": Functional,
    "symbolic trace": torch.fx.symbolic_trace,
    "frozen": lambda model: model.requires_grad_(False),
    "channels last": lambda model: model.to(memory_format=torch.channels_last),
    "hook of the backward": lambda model: hooked(
        model, lambda layer: layer.register_full_backward_hook(lambda *_: None)
    ),
    "hook of the forward": lambda model: hooked(
        model, lambda layer: layer.register_forward_hook(lambda _, args, output: None)
    ),
    "hook that reads gradients": lambda model: hooked(
        model,
        lambda layer: layer.register_forward_hook(lambda _, args, output: output.grad_fn and None),
    ),
}


@pytest.mark.parametrize("kind", WRAPS)
def test_wraps(kind: str, expected: archrank.Scores) -> None:
    compared(archrank.score(WRAPS[kind](network()), batches()), expected, OF_THE_GRAPH)


def in_channels_last(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last)


def test_images_in_channels_last(expected: archrank.Scores) -> None:
    given = [(in_channels_last(x), y) for x, y in batches()]
    model = network().to(memory_format=torch.channels_last)
    compared(archrank.score(model, given), expected, OF_THE_GRAPH)


def test_autocast_around_the_call_changes_nothing() -> None:
    given = [(x.float(), y) for x, y in batches()]
    expected = archrank.score(network().float(), given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = archrank.score(network().float(), given)
    assert {n: r.value for n, r in found.items()} == {n: r.value for n, r in expected.items()}


TARGETS: dict[str, Callable[[Tensor], Tensor]] = {
    "of 32 bits": lambda y: y.int(),
    "of 8 bits": lambda y: y.to(torch.uint8),
    "one 1 each": lambda y: F.one_hot(y, 4).double(),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets(kind: str, expected: archrank.Scores) -> None:
    given = [(x, TARGETS[kind](y)) for x, y in batches()]
    compared(archrank.score(network(), given), expected, OF_THE_GRAPH)


def test_probabilities_are_no_classes() -> None:
    given = [(x, torch.full((6, 4), 0.25, dtype=torch.float64)) for x, _ in batches()]
    scores = archrank.score(network(), given)
    assert scores["epe_nas"].status == "not applicable"
    assert "probabilities" in scores["epe_nas"].reason
    assert scores["grad_norm"].status == "ok"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_inputs_of_another_precision_get_a_hint(dtype: torch.dtype) -> None:
    model = copy.deepcopy(network()).float()
    with pytest.raises(UnsupportedModelError, match=r"did you mean inputs.to\(torch.float32\)"):
        archrank.score(model, batches()[0][0].to(dtype))


def test_a_program_exported_for_one_batch_size_says_so() -> None:
    program = torch.export.export(network(), (batches()[0][0],))
    with pytest.raises(UnsupportedModelError, match="dynamic batch size"):
        archrank.score(program.module(), batches())


def test_nothing_is_compiled_while_a_network_is_scored() -> None:
    """A compiled function would compile the modes that look on, again for each of them."""
    double = torch.compile(lambda x: 2 * x, backend="eager")

    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return double(self.layer(x))

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    archrank.score(Compiled(), (4,), batch_size=4, proxies="gradsign,near,synflow")
    assert not torch._dynamo.utils.counters["stats"]
