"""What is random in training is off: a network with and without it has the same scores."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import archrank
from archrank.graphs.randomness import random_state


class Patched(nn.Module):
    """Patches of an image, some layers over them, a classifier; ``change`` is random."""

    def __init__(self, change: Callable[[Patched, Tensor], Tensor], rate: float):
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 4)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.change, self.rate = change, rate

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            h = torch.relu(layer(x))
            x = x + (self.change(self, h) if self.training and self.rate else h)
        return self.head(x.mean(1))


def drop_path(net: Patched, h: Tensor) -> Tensor:
    return h * h.new_empty(h.shape[0], 1, 1).bernoulli_(1 - net.rate).div_(1 - net.rate)


def drop_block(net: Patched, h: Tensor) -> Tensor:
    mask = (torch.rand(h.shape[:2], device=h.device) > net.rate).float()[..., None]
    return h * mask / mask.mean()


def shake(net: Patched, h: Tensor) -> Tensor:
    share = random.random()
    return h * share + h.detach() * (1 - share)


OWN = {
    "stochastic depth": drop_path,
    "dropped blocks": drop_block,
    "noise": lambda net, h: h + net.rate * torch.randn_like(h),
    "layer drop by torch": lambda net, h: h * 0 if torch.rand([]) < net.rate else h,
    "layer drop by NumPy": lambda net, h: h * 0 if np.random.rand() < net.rate else h,
    "layer drop by Python": lambda net, h: h * 0 if random.random() < net.rate else h,
    "shaken": shake,
    "functional dropout": lambda net, h: nn.functional.dropout(h, net.rate),
    "native dropout": lambda net, h: torch.native_dropout(h, net.rate, True)[0],
}


class Holding(Patched):
    """A network that holds the generator which it draws from."""

    def __init__(self, library: str, rate: float):
        super().__init__(lambda net, h: h * self.drawn(h), rate)
        made = {
            "torch": torch.Generator().manual_seed(1),
            "NumPy": np.random.default_rng(1),
            "old NumPy": np.random.RandomState(1),
            "Python": random.Random(1),
        }
        self.generator = made[library]

    def drawn(self, h: Tensor) -> Tensor | float:
        if isinstance(self.generator, torch.Generator):
            return torch.rand(h.shape, generator=self.generator).to(h)
        if isinstance(self.generator, random.Random):
            return self.generator.random()
        return float(self.generator.normal())


@pytest.mark.parametrize("library", ["torch", "NumPy", "old NumPy", "Python"])
def test_generators_that_the_network_holds(library: str) -> None:
    net = Holding(library, 0.5)
    before = random_state([net.generator])
    found = archrank.score(net, (3, 8, 8), batch_size=4, proxies="snip,gradsign,flops,near")
    assert random_state([net.generator]) == before
    net.rate = 0.0
    without = archrank.score(net, (3, 8, 8), batch_size=4, proxies="snip,gradsign,flops,near")
    for name, result in found.items():
        assert result.value == without[name].value, name


GENERATOR, NUMBERS = torch.Generator().manual_seed(1), np.random.default_rng(1)


@pytest.mark.parametrize("library", ["torch", "NumPy", "in a list"])
def test_generators_of_the_file(library: str) -> None:
    """Those that a function reads by its globals, or inside what it holds."""
    held = [random.Random(1)]
    draws: dict[str, Callable[[Patched, Tensor], Tensor]] = {
        "torch": lambda net, h: h * (lambda: torch.rand((), generator=GENERATOR).to(h))(),
        "NumPy": lambda net, h: h * NUMBERS.random(),
        "in a list": lambda net, h: h * held[0].random(),
    }
    own = [GENERATOR, NUMBERS, *held]
    before = random_state(own)[-len(own) :]
    found, without = (
        scores(lambda rate: Patched(draws[library], rate), rate, (3, 8, 8)) for rate in (0.5, 0.0)
    )
    assert found == without
    assert random_state(own)[-len(own) :] == before


def timm_vit(**rates: float) -> nn.Module:
    vit = pytest.importorskip("timm").models.vision_transformer.VisionTransformer
    return vit(img_size=8, patch_size=4, embed_dim=8, depth=3, num_heads=2, num_classes=4, **rates)


def convnext(rate: float) -> nn.Module:
    convnext = pytest.importorskip("torchvision").models.convnext
    blocks = [convnext.CNBlockConfig(8, 16, 2), convnext.CNBlockConfig(16, None, 2)]
    return convnext.ConvNeXt(blocks, stochastic_depth_prob=rate, num_classes=4)


def resnet_with_blocks(rate: float) -> nn.Module:
    timm = pytest.importorskip("timm")
    block = timm.models.resnet.BasicBlock
    return timm.models.resnet.ResNet(
        block, (1, 1, 1, 1), num_classes=4, channels=(8, 8, 8, 8), stem_width=8,
        drop_block_rate=rate, drop_path_rate=rate,
    )  # fmt: skip


LIBRARIES = {
    "timm's paths": lambda rate: timm_vit(drop_path_rate=rate),
    "timm's patches": lambda rate: timm_vit(patch_drop_rate=rate),
    "timm's dropouts": lambda rate: timm_vit(
        proj_drop_rate=rate, attn_drop_rate=rate, pos_drop_rate=rate, drop_rate=rate
    ),
    "timm's blocks": resnet_with_blocks,
    "torchvision's depth": convnext,
}
SHAPES = {"torchvision's depth": (3, 16, 16), "timm's blocks": (3, 32, 32)}


def scores(build: Callable[[float], nn.Module], rate: float, shape: tuple[int, ...]):
    torch.manual_seed(0)
    net = build(rate)
    before = random_state()
    found = archrank.score(net, shape, batch_size=4)
    assert random_state() == before
    assert all(module.training for module in net.modules())
    return {name: (result.value, result.status) for name, result in found.items()}


@pytest.mark.parametrize("kind", [*OWN, *LIBRARIES])
def test_a_network_with_and_without_chance_scores_the_same(kind: str) -> None:
    build = LIBRARIES.get(kind) or (lambda rate: Patched(OWN[kind], rate))
    shape = SHAPES.get(kind, (3, 8, 8))
    assert scores(build, 0.5, shape) == scores(build, 0.0, shape)


def test_dropped_layers_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")

    def build(rate: float) -> nn.Module:
        config = transformers.Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
            conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, classifier_proj_size=8,
            num_labels=4, apply_spec_augment=False, layerdrop=rate,
        )  # fmt: skip
        return transformers.Wav2Vec2ForSequenceClassification(config).train()

    assert scores(build, 0.5, (200,)) == scores(build, 0.0, (200,))


def test_what_is_always_random_scores_the_same_each_time() -> None:
    class Sampled(Patched):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            return h + torch.randn_like(h) * np.random.rand() * random.random()

    net, before = Sampled(drop_path, 0.0), random_state()
    first, second = (archrank.score(net, (3, 8, 8), batch_size=4) for _ in range(2))
    assert random_state() == before
    for name, result in first.items():
        assert (result.value, result.status) == (second[name].value, second[name].status), name


def test_a_shuffled_loader_gives_the_same_batches_and_moves_nothing() -> None:
    data = TensorDataset(torch.randn(32, 3, 8, 8), torch.arange(32) % 4)
    net, found = Patched(drop_path, 0.5), []
    for draws in range(2):
        torch.rand(draws)
        before = random_state()
        loader = DataLoader(data, batch_size=8, shuffle=True)
        found.append(archrank.score(net, loader, proxies="snip,zico", seed=3))
        assert random_state() == before
    assert found[0]["zico"].value == found[1]["zico"].value


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_forward_gathers_is_undone(fails: bool) -> None:
    class Gathers(Patched):
        def __init__(self) -> None:
            super().__init__(drop_path, 0.5)
            self.features, self.state, self.steps = [], None, torch.zeros(1)

        def forward(self, x: Tensor) -> Tensor:
            self.features.append(x)
            self.state = x if self.state is None else self.state + x  # of the call before
            self.steps += 1
            if fails and len(self.features) > 0 and not x.is_meta:
                raise ValueError("half-way")
            return super().forward(x) + self.steps.sum()

    net = Gathers()
    seen: list[Tensor] = []
    net.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    steps = net.steps
    found = archrank.score(net, (3, 8, 8), batch_size=4)
    assert (net.features, net.state, seen) == ([], None, [])
    assert net.steps is steps
    assert float(steps) == 0
    assert not steps.requires_grad
    assert any(result.status == "ok" for result in found.values())


# What counts -> what holds the count, how it grows, how it is read.
COUNTERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], float]]] = {
    "object": (lambda: SimpleNamespace(n=0), lambda c: vars(c).update(n=c.n + 1), lambda c: c.n),
    "table": (lambda: {"n": 0}, lambda c: c.update(n=c["n"] + 1), lambda c: c["n"]),
    "list": (list, lambda c: c.append(None), len),
    "array": (lambda: np.zeros(2), lambda c: c.__iadd__(1), lambda c: float(c[0])),
    "tensor": (lambda: torch.zeros(2), lambda c: c.add_(1), lambda c: float(c[0])),
}


@pytest.mark.parametrize("kind", COUNTERS)
def test_each_forward_begins_alike(kind: str) -> None:
    """A warm-up counts forwards; how many a proxy runs, and which ran before, changes nothing."""

    class Warms(nn.Module):
        calls = 0

        def __init__(self, counter: Any):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)
            self.counter, self.steps = counter, 0

        def forward(self, x: Tensor) -> Tensor:
            share = 0.25
            if self.counter is not None:
                COUNTERS[kind][1](self.counter)
                self.steps += 1
                type(self).calls += 1
                share = (COUNTERS[kind][2](self.counter) + self.steps + self.calls) / 12
            x = F.relu(self.one(x))
            return self.head(x + share * F.relu(self.two(x)))

    x = [torch.randn(8, 5, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    data = [(one, torch.arange(8) % 4) for one in x]
    model, twin = Warms(COUNTERS[kind][0]()), Warms(None)
    found, expected = archrank.score(model, data), archrank.score(twin, data)
    assert (model.steps, Warms.calls) == (0, 0)
    assert COUNTERS[kind][2](model.counter) == 0
    for name, result in expected.items():
        assert found[name].status == result.status, name
        if result.value is not None:
            assert found[name].value == pytest.approx(result.value, rel=1e-5), name


@pytest.mark.parametrize("validates", [True, False])
def test_a_distribution_of_torch_is_what_its_formula_is(validates: bool) -> None:
    """Its checks of arguments read values, which a trace does not have."""

    class Latent(nn.Module):
        def __init__(self, whole: bool):
            super().__init__()
            self.mean, self.deviation = nn.Linear(6, 8), nn.Linear(6, 8)
            self.head, self.whole = nn.Linear(8, 4), whole

        def forward(self, x: Tensor) -> Tensor:
            mean, deviation = self.mean(x), F.softplus(self.deviation(x))
            if self.whole:
                made = torch.distributions.Normal(mean, deviation).rsample()
            else:
                made = mean + torch.empty(mean.shape, dtype=mean.dtype).normal_() * deviation
            return self.head(F.relu(made))

    checks = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(validates)
    try:
        torch.manual_seed(0)
        models = [Latent(whole).double() for whole in (True, False)]
        models[1].load_state_dict(models[0].state_dict())
        x = torch.randn(5, 6, dtype=torch.float64)
        assert archrank.trace(models[0], x).exact
        scores, expected = (archrank.score(m, x, torch.arange(5) % 4) for m in models)
        assert torch.distributions.Distribution._validate_args == validates
    finally:
        torch.distributions.Distribution.set_default_validate_args(checks)
    for name, result in expected.items():
        assert scores[name].status == result.status, name
        assert scores[name].value == pytest.approx(result.value), name
