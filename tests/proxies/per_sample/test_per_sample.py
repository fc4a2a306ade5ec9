"""Batched GradSign is the one-image loop, whatever the layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.errors import ScoreError
from archrank.proxies import per_sample
from archrank.proxies.per_sample import _batched, per_sample_signals
from archrank.proxies.recording.batches import make_batches
from archrank.proxies.recording.model_runner import ModelRunner
from archrank.proxies.recording.signals import SignSums

SAMPLES = 9


def sign_sums(given: ModelRunner) -> SignSums:
    return per_sample_signals(given, frozenset({"sign_sums"}))["sign_sums"]


def batched(given: ModelRunner) -> bool:
    with given.substituted() as leaves:
        return _batched(given, leaves, given.batches[0], given.sum_of_losses, {})


class Calls(nn.Module):
    """A network from a function of its own parameters."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def conv_net(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 5))


def shared(m: Calls, x: Tensor) -> Tensor:
    x = m.stem(x)
    for _ in range(3):
        x = torch.relu(m.block(x)) + x
    return m.head(x.mean((2, 3)))


def shared_unseen(m: Calls, x: Tensor) -> Tensor:
    """Return what uses some layers again for what the loss does not see."""
    features = m.conv(x)
    _ = m.conv(2 * x)
    tokens = torch.relu(features).mean((2, 3))
    once, again = torch.tanh(m.mid(tokens)), torch.tanh(m.mid(3 * tokens))
    return m.head(once + again.detach())


def fixed_point(m: Calls, x: Tensor) -> Tensor:
    """Return the last step of a fixed point that is looked for without gradients."""
    start = torch.tanh(m.conv(x).mean((2, 3)))
    found = torch.zeros_like(start)
    with torch.no_grad():
        for _ in range(4):
            found = torch.tanh(m.mid(found) + start)
    return m.head(torch.tanh(m.mid(found) + start))


def attention(m: Calls, x: Tensor) -> Tensor:
    tokens = m.embed(x.flatten(2).transpose(1, 2))
    tokens = tokens + m.attend(tokens, tokens, tokens)[0]
    return m.head(m.norm(tokens).mean(1))


def mixes_samples(m: Calls, x: Tensor) -> Tensor:
    x = m.conv(x)
    return m.head(torch.relu(x - x.mean(0, keepdim=True) + 0.1 * x).mean((2, 3)))


def by_keyword(m: Calls, x: Tensor) -> Tensor:
    x = F.conv2d(x, weight=m.conv.weight, bias=m.conv.bias, padding=1)
    return F.linear(input=torch.relu(x).mean((2, 3)), weight=m.head.weight, bias=m.head.bias)


def rows_as_sequence(m: Calls, x: Tensor) -> Tensor:
    return m.head(m.lstm(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


def volume(m: Calls, x: Tensor) -> Tensor:
    return m.head(torch.tanh(m.conv(x.unsqueeze(1))).flatten(2).mean(2))


def line(m: Calls, x: Tensor) -> Tensor:
    return m.head(torch.relu(m.conv(x.flatten(2))).mean(2))


def token_layers() -> dict[str, nn.Module]:
    layers = {"embed": nn.Linear(3, 6), "qkv": nn.Linear(6, 18), "out": nn.Linear(6, 6)}
    return {**layers, "head": nn.Linear(6, 5)}


def windows(m: Calls, x: Tensor) -> Tensor:
    """Attention within windows of 2x2, which are folded into the batch, as Swin has them."""
    x = m.embed(x.permute(0, 2, 3, 1))
    n, h, w, c = x.shape
    x = x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    q, k, v = m.qkv(x).chunk(3, -1)
    x = m.out(F.scaled_dot_product_attention(q, k, v))
    return m.head(torch.relu(x).reshape(n, -1, c).mean(1))


def positions_first(m: Calls, x: Tensor) -> Tensor:
    """Attention over what lies at one place of all patches, those outside the samples."""
    n = len(x)
    x = m.embed(x.flatten(2).transpose(1, 2)).view(n, 16, 4, -1)
    x = x.permute(2, 0, 1, 3).reshape(4 * n, 16, -1)  # (places samples, patches, channels)
    q, k, v = m.qkv(x).chunk(3, -1)
    x = m.out(F.scaled_dot_product_attention(q, k, v))
    return m.head(torch.relu(x).view(4, n, 16, -1).mean((0, 2)))


def sequence_first(m: Calls, x: Tensor) -> Tensor:
    x = m.embed(x.flatten(2).permute(2, 0, 1))
    return m.head(torch.relu(m.out(x)).mean(0))


def tokens_in_the_batch(m: Calls, x: Tensor) -> Tensor:
    """Return a linear layer of two dimensions and batch norm over all tokens of all samples."""
    tokens = m.norm(m.embed(x.flatten(2).transpose(1, 2).reshape(-1, 3)))
    return m.head(torch.relu(tokens).view(len(x), -1, 6).mean(1))


def frames(m: Calls, x: Tensor) -> Tensor:
    """Four frames of each clip, folded into the batch, under batch norm."""
    n = len(x)
    x = x.view(n, 3, 4, 2, 8).transpose(1, 2).flatten(0, 1)
    x = torch.relu(m.norm(m.conv(x))).mean((2, 3))
    return m.head(x.view(n, 4, -1).mean(1))


def late_copy(m: Calls, x: Tensor) -> Tensor:
    """Two views of each sample one after the other in the batch, as contrastive models do."""
    features = torch.relu(m.conv(torch.cat([x, x.flip(3)])).mean((2, 3)))
    return m.head(sum(features.chunk(2)))


def experts(m: Calls, x: Tensor) -> Tensor:
    """Return a mixture of experts, each of which gets the tokens that are routed to it."""
    n, tokens = len(x), m.embed(x.flatten(2).transpose(1, 2)).flatten(0, 1)
    choice = m.router(tokens).argmax(-1)
    made = torch.zeros_like(tokens)
    for i in range(2):
        chosen = choice == i
        made[chosen] = torch.relu(m.experts[i](tokens[chosen]))
    return m.head(made.view(n, -1, 6).mean(1))


def sorted_samples(m: Calls, x: Tensor) -> Tensor:
    """Return samples in the order of their means, as recurrent networks sort them by length."""
    order = x.mean((1, 2, 3)).argsort()
    x = torch.relu(m.conv(x[order])).mean((2, 3))
    return m.head(torch.relu(m.mid(x[order.argsort()])))


def causal(m: Calls, x: Tensor) -> Tensor:
    """Attention that takes the batch for a sequence: later samples see earlier ones."""
    x = m.embed(x.flatten(1))[None]
    return m.head(torch.relu(F.scaled_dot_product_attention(x, x, x, is_causal=True)[0]))


def coordinates(m: Calls, x: Tensor) -> Tensor:
    """Return a bias computed from constants, which no sample has a part in."""
    bias = m.bias(torch.arange(8.0, dtype=x.dtype)[:, None])
    return m.head(torch.relu(m.conv(x).mean((2, 3)) + bias.mean(0)))


NETWORKS = {
    "windows": lambda: Calls(windows, **token_layers()),
    "positions first": lambda: Calls(positions_first, **token_layers()),
    "sequence first": lambda: Calls(sequence_first, **token_layers()),
    "tokens in the batch": lambda: Calls(
        tokens_in_the_batch, embed=nn.Linear(3, 6), norm=nn.BatchNorm1d(6), head=nn.Linear(6, 5)
    ),
    "frames": lambda: Calls(
        frames, conv=nn.Conv2d(3, 6, 2), norm=nn.BatchNorm2d(6), head=nn.Linear(6, 5)
    ),
    "late copy": lambda: Calls(late_copy, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(6, 5)),
    "plain": lambda: conv_net(nn.Conv2d(3, 6, 3), nn.ReLU(), width=6),
    "batch norm": lambda: conv_net(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), width=6
    ),
    "no affine": lambda: conv_net(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False, track_running_stats=False), width=6
    ),
    "strided": lambda: conv_net(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 5, 3, 2), width=4
    ),
    "dilated": lambda: conv_net(nn.Conv2d(3, 6, (3, 2), dilation=(2, 1), padding=2), width=6),
    "grouped": lambda: conv_net(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 9, 3, groups=3), nn.ReLU(), width=9
    ),
    "depthwise": lambda: conv_net(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, padding=1, groups=6), nn.ReLU(), width=12
    ),
    "same": lambda: conv_net(nn.Conv2d(3, 6, (2, 4), padding="same"), nn.ReLU(), width=6),
    "valid": lambda: conv_net(nn.Conv2d(3, 6, 3, padding="valid"), nn.ReLU(), width=6),
    "one dimension": lambda: Calls(line, conv=nn.Conv1d(3, 4, 5, 2, 1), head=nn.Linear(4, 5)),
    "three dimensions": lambda: Calls(volume, conv=nn.Conv3d(1, 4, 3), head=nn.Linear(4, 5)),
    "shared weights": lambda: Calls(
        shared, stem=nn.Conv2d(3, 6, 1), block=nn.Conv2d(6, 6, 3, padding=1), head=nn.Linear(6, 5)
    ),
    "shared, unseen by the loss": lambda: Calls(
        shared_unseen, conv=nn.Conv2d(3, 6, 3), mid=nn.Linear(6, 6), head=nn.Linear(6, 5)
    ),
    "fixed point": lambda: Calls(
        fixed_point, conv=nn.Conv2d(3, 6, 3), mid=nn.Linear(6, 6), head=nn.Linear(6, 5)
    ),
    "keywords": lambda: Calls(by_keyword, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(6, 5)),
    "tokens": lambda: nn.Sequential(
        nn.Flatten(2), nn.Linear(64, 8), nn.LayerNorm(8), nn.GELU(), nn.Flatten(), nn.Linear(24, 5)
    ),
    "attention": lambda: Calls(
        attention,
        embed=nn.Linear(3, 8),
        attend=nn.MultiheadAttention(8, 2, batch_first=True),
        norm=nn.LayerNorm(8),
        head=nn.Linear(8, 5),
    ),
}
LOOPED = {
    "experts": lambda: Calls(
        experts,
        embed=nn.Linear(3, 6),
        router=nn.Linear(6, 2),
        experts=nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)]),
        head=nn.Linear(6, 5),
    ),
    "sorted samples": lambda: Calls(
        sorted_samples, conv=nn.Conv2d(3, 6, 3), mid=nn.Linear(6, 6), head=nn.Linear(6, 5)
    ),
    "causal": lambda: Calls(causal, embed=nn.Linear(192, 6), head=nn.Linear(6, 5)),
    "coordinates": lambda: Calls(
        coordinates, conv=nn.Conv2d(3, 6, 3), bias=nn.Linear(1, 6), head=nn.Linear(6, 5)
    ),
    "lstm": lambda: Calls(
        rows_as_sequence, lstm=nn.LSTM(24, 7, batch_first=True), head=nn.Linear(7, 5)
    ),
    "transposed": lambda: conv_net(nn.ConvTranspose2d(3, 6, 3), nn.ReLU(), width=6),
    "mixed samples": lambda: Calls(mixes_samples, conv=nn.Conv2d(3, 6, 3), head=nn.Linear(6, 5)),
}


def runner(name: str, dtype: torch.dtype = torch.float64, shape=(3, 8, 8)) -> ModelRunner:
    torch.manual_seed(0)
    model = {**NETWORKS, **LOOPED}[name]().to(dtype)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, *shape, generator=generator, dtype=dtype)
    batches = make_batches(model, images, torch.arange(SAMPLES) % 5, 0, SAMPLES, dtype, 1)
    return ModelRunner(model, archrank.trace(model, images), batches, None, 0, dtype)


def published_loop(given: ModelRunner) -> dict[str, Tensor]:
    """One image at a time through the model itself, as the published code does."""
    model, batch = given.model.train(), given.batches[0]
    names = given.weight_names
    parameters = dict(model.named_parameters())
    sums = {n: torch.zeros_like(parameters[n]) for n in names}
    for i in range(SAMPLES):
        model.zero_grad()
        F.cross_entropy(model(batch.args[0][i : i + 1]), batch.targets[i : i + 1]).backward()
        for n in names:
            if parameters[n].grad is not None:
                sums[n] += parameters[n].grad.sign()
    return sums


@pytest.mark.parametrize("name", [*NETWORKS, *LOOPED])
def test_equals_the_published_loop(name: str) -> None:
    given = runner(name)
    ours = sign_sums(given)
    expected = published_loop(given)
    assert ours.samples == SAMPLES
    assert ours.sums.keys() == expected.keys() != set()
    for weight, sums in expected.items():
        assert torch.equal(ours.sums[weight].double(), sums), weight


@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_flips_few_signs(name: str) -> None:
    given = runner(name, torch.float32)
    total = sum(float(s.abs().sum()) for s in sign_sums(given).sums.values())
    expected = sum(float(s.abs().sum()) for s in published_loop(given).values())
    assert total == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_these_are_batched(name: str) -> None:
    assert batched(runner(name))


@pytest.mark.parametrize("name", LOOPED)
def test_these_are_looped(name: str) -> None:
    assert not batched(runner(name))


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_chunks_are_exact(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = runner("batch norm")
    expected = sign_sums(given)
    monkeypatch.setattr(per_sample, "_CHUNK", chunk)
    for weight, sums in sign_sums(given).sums.items():
        assert torch.equal(sums, expected.sums[weight])


def test_users_loss_is_taken_sample_by_sample() -> None:
    given = runner("plain")
    given.loss = lambda output, target: (output.softmax(1)[:, 0] * (target + 1)).max()
    ours = sign_sums(given)
    model, batch = given.model.train(), given.batches[0]
    weight = model[0].weight
    sums = torch.zeros_like(weight)
    for i in range(SAMPLES):
        model.zero_grad()
        given.loss(model(batch.args[0][i : i + 1]), batch.targets[i : i + 1]).backward()
        sums += weight.grad.sign()
    assert torch.equal(ours.sums["0.weight"], sums)


def test_single_values_under_batch_norm_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 8), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 5))
    result = archrank.score(net, (3, 8, 8), proxies="gradsign", batch_size=4)["gradsign"]
    assert result.status == "not applicable"
    assert "single value" in result.reason
    with pytest.raises(ScoreError, match="single value"):
        sign_sums(replace(runner("plain"), model=net.double()))


def test_an_input_of_sequences_first_is_read_by_its_samples() -> None:
    class Sequence(nn.Module):
        def __init__(self, steps: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Linear(3, 6), nn.Linear(6, 5)
            self.steps = steps

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.embed(x)).mean(self.steps))

    x, y = torch.randn(9, 4, 3).double(), torch.arange(9) % 5
    twin = archrank.score(Sequence(1).double(), x, y, proxies="gradsign")["gradsign"]
    first = Sequence(0).double()
    result = archrank.score(first, x.transpose(0, 1), y, proxies="gradsign")["gradsign"]
    assert (result.status, result.value) == ("ok", pytest.approx(twin.value))


def test_a_threshold_of_the_batch_cuts_off_some_samples_alone() -> None:
    """A sample that the batch leaves as it is does not show that none is changed."""

    class Cuts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            size = x.norm(dim=1)
            x = x * (size >= size.median())[:, None]
            return self.head(F.relu(self.two(x)))

    x, targets = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 4
    model = Cuts()
    weights = [model.one.weight, model.two.weight, model.head.weight]
    signs = [torch.zeros_like(w) for w in weights]
    for i in range(6):
        loss = F.cross_entropy(model(x[i : i + 1]), targets[i : i + 1])
        for total, gradient in zip(signs, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
    found = archrank.score(model, x, targets, proxies="gradsign")["gradsign"].value
    assert found == sum(float(total.abs().sum()) for total in signs)
