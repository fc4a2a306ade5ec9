"""Tangent kernels and drawn gradients, batched or looped over, against one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_network import data, network, ours, weights
from torch import Tensor, nn

import archrank
from archrank.errors import ScoreError
from archrank.proxies import per_sample
from archrank.proxies.gradients.tangent import ntk_condition, vkdnw, vkdnw_entropy
from archrank.proxies.recording.batches import Batch
from archrank.proxies.recording.model_runner import ModelRunner

N = 7


class Net(nn.Module):
    """Tokens through layers that can, or cannot, be split by sample."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.embed, self.head = kind, nn.Linear(4, 6), nn.Linear(6, 3)
        if kind == "recurrent":
            self.lstm = nn.LSTM(6, 6, batch_first=True)
        elif kind == "attention":
            self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        else:
            self.twice = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.embed(x))
        if self.kind == "recurrent":
            x = self.lstm(x)[0]
        elif self.kind == "attention":
            x = x + self.attend(x, x, x)[0]
        else:
            x = self.twice(torch.tanh(self.twice(x)))
        return self.head(x.mean(1))


KINDS = ["shared", "recurrent", "attention"]


def given(kind: str) -> ModelRunner:
    net = Net(kind).double()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(N, 5, 4, generator=generator, dtype=torch.float64)
    graph = archrank.trace(net, tokens)
    return ModelRunner(
        net, graph, [Batch((tokens,), {}, torch.arange(N) % 3)], None, 0, torch.float64
    )


def rows(runner: ModelRunner, value) -> list[np.ndarray]:
    """For each weight, the gradients (N, size) of one sample at a time."""
    parameters = dict(runner.model.named_parameters())
    weights = [parameters[name] for name in runner.weight_names]
    tokens = runner.batches[0].args[0]
    per_sample = []
    for i in range(N):
        found = torch.autograd.grad(value(runner.model(tokens[i : i + 1]), i), weights)
        per_sample.append([g.flatten().numpy() for g in found])
    return [np.stack(layer) for layer in zip(*per_sample, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_sample_by_sample(kind: str) -> None:
    runner = given(kind)
    expected = sum(g @ g.T for g in rows(runner, lambda output, i: output.sum()))
    wanted = frozenset({"tangent_kernel"})
    kernel = per_sample.per_sample_signals(runner, wanted)["tangent_kernel"]
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-9)
    v = np.linalg.eigvalsh(expected)
    assert ntk_condition(kernel).total == pytest.approx(v[-1] / v[0], rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_drawn_entries_sample_by_sample(kind: str) -> None:
    runner = given(kind)
    labels = runner.batches[0].targets
    layers = rows(runner, lambda output, i: F.cross_entropy(output, labels[i : i + 1]))
    generator = torch.Generator().manual_seed(0)
    drawn = [int(torch.randint(g.shape[1], (), generator=generator)) for g in layers]
    expected = np.stack([g[:, place] for g, place in zip(layers, drawn, strict=True)], axis=1)
    wanted = frozenset({"gradient_entries"})
    found = per_sample.per_sample_signals(runner, wanted)["gradient_entries"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_entries_in_chunks_are_exact(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = frozenset({"gradient_entries", "sign_sums"})
    expected = per_sample.per_sample_signals(given("shared"), wanted)
    monkeypatch.setattr(per_sample, "_CHUNK", chunk)
    found = per_sample.per_sample_signals(given("shared"), wanted)
    torch.testing.assert_close(found["gradient_entries"], expected["gradient_entries"])
    for name, sums in expected["sign_sums"].sums.items():
        assert torch.equal(found["sign_sums"].sums[name], sums)


def test_gradients_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_sample, "_KERNEL_ELEMENTS", 100)
    for kind, fits in (("shared", True), ("recurrent", False)):
        runner = given(kind)
        result = archrank.score(runner.model, *runner.batches[0].args, proxies="ntk_condition")
        assert (result["ntk_condition"].status == "ok") == fits
        assert fits or "pass a smaller batch" in result["ntk_condition"].reason


def test_kernels_without_a_condition() -> None:
    with pytest.raises(ScoreError, match="one sample"):
        ntk_condition(torch.ones(1, 1, dtype=torch.float64))
    with pytest.raises(ScoreError, match="singular"):
        ntk_condition(torch.ones(3, 3, dtype=torch.float64))
    with pytest.raises(ScoreError, match="not finite"):
        ntk_condition(torch.full((3, 3), float("nan"), dtype=torch.float64))
    assert ntk_condition(torch.diag(torch.tensor([2.0, 1.0, 8.0])).double()).total == 8


def test_vkdnw_puts_depth_first() -> None:
    generator = torch.Generator().manual_seed(0)
    shallow, deep = (torch.randn(9, n, generator=generator).double() for n in (4, 8))
    for entries in (shallow, deep):
        entropy = vkdnw_entropy(entries).total
        assert 0 <= entropy <= np.log(9)
        assert vkdnw(entries).total == pytest.approx(entries.shape[1] + entropy)
        assert vkdnw_entropy(5 * entries).total == pytest.approx(entropy)
    assert vkdnw(deep).total > vkdnw(shallow).total
    # orthogonal gradients of one length: all deciles are the same
    assert vkdnw_entropy(torch.eye(6, dtype=torch.float64)).total == pytest.approx(np.log(9))
    with pytest.raises(ScoreError, match="all zero"):
        vkdnw(torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(ScoreError, match="not finite"):
        vkdnw(torch.full((4, 3), float("inf"), dtype=torch.float64))


def per_sample_rows(net: nn.Module, images: Tensor, value) -> np.ndarray:
    """Gradients of all weights, one image through the network at a time."""
    rows = []
    for i in range(len(images)):
        found = torch.autograd.grad(value(net.train()(images[i : i + 1]), i), weights(net))
        rows.append(torch.cat([g.flatten() for g in found]).numpy())
    return np.stack(rows)


def test_ntk_condition_by_a_loop_over_samples() -> None:
    rows = per_sample_rows(network(), data()[0], lambda output, i: output.sum())
    v = np.linalg.eigvalsh(rows @ rows.T)
    assert ours("ntk_condition") == pytest.approx(v[-1] / v[0], rel=1e-6)


def test_ntk_condition_reads_64_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(70, 3, 6, 6, generator=generator).double()
    whole, first = (
        archrank.score(network(), i, proxies="ntk_condition") for i in (images, images[:64])
    )
    assert whole["ntk_condition"].value == first["ntk_condition"].value


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_vkdnw_of_the_drawn_weights(seed: int) -> None:
    (images, labels), sizes = data(), [w.numel() for w in weights(network())]

    def loss(output: Tensor, i: int) -> Tensor:
        return F.cross_entropy(output, labels[i : i + 1])

    rows = per_sample_rows(network(), images, loss)
    generator = torch.Generator().manual_seed(seed)
    drawn = [int(torch.randint(size, (), generator=generator)) for size in sizes]
    offsets = np.cumsum([0, *sizes[:-1]])
    entries = rows[:, offsets + np.array(drawn)]
    values = np.linalg.eigvalsh(entries.T @ entries / len(entries))
    deciles = np.quantile(values, np.arange(1, 10) / 10)
    p = deciles / deciles.sum()
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()  # a drawn weight may have no gradient
    assert ours("vkdnw_entropy", seed=seed) == pytest.approx(entropy)
    assert ours("vkdnw", seed=seed) == pytest.approx(3 + entropy)
