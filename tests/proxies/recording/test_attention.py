"""Attention maps, whatever makes them: modules, fused functions, or a softmax written by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.proxies.activations.transformers import _attention_weights
from archrank.proxies.recording.attention import attention_maps

N, TOKENS, WIDTH, HEADS = 5, 6, 8, 2
NAMES = ["attention_confidence", "attention_importance"]


class Transformer(nn.Module):
    """One attention layer; the same function whichever way it is written."""

    def __init__(self, kind: str = "by hand", layers: int = 1):
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.embed, self.head = kind, nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, HEADS, 0.1, batch_first=True) for _ in range(layers)
        )
        if kind != "module":
            self.attend = nn.ModuleList(Projections(one) for one in self.attend)
        self.masks: list[Tensor] = []
        self.maps: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.embed(x))
        for one in self.attend:
            if self.kind == "module":
                x = x + one(x, x, x, need_weights=False)[0]
                continue
            q, k, v = (p(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in one.inputs)
            if self.kind == "fused":
                mixed = F.scaled_dot_product_attention(q, k, v)
            else:
                weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(WIDTH // HEADS), -1)
                if self.masks:
                    self.maps.append(weights.detach())
                    weights = weights * self.masks[len(self.maps) - 1]
                mixed = weights @ v
            x = x + one.out(mixed.transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


class Projections(nn.Module):
    """The projections of an attention module, apart."""

    def __init__(self, module: nn.MultiheadAttention):
        super().__init__()
        self.inputs = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():
            weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
            for one, weight, bias in zip(self.inputs, weights, biases, strict=True):
                one.weight.copy_(weight)
                one.bias.copy_(bias)
            self.out.load_state_dict(module.out_proj.state_dict())


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(N, TOKENS, 4, generator=generator, dtype=torch.float64)
    return tokens, torch.arange(N) % 3


def by_masks(layers: int) -> tuple[float, float]:
    """Confidence by loops, and importance as the gradient of a mask per sample and head."""
    net, (tokens, labels) = Transformer(layers=layers).double(), data()
    net.masks = [
        torch.ones(N, HEADS, 1, 1, dtype=torch.float64, requires_grad=True) for _ in range(layers)
    ]
    loss = F.cross_entropy(net(tokens), labels)
    importance = []
    for gradient in torch.autograd.grad(loss, net.masks):
        for head in range(HEADS):
            per_sample = [abs(float(gradient[n, head])) for n in range(N)]
            importance.append(np.mean(per_sample))
    confidence = []
    for found in net.maps:
        for head in range(HEADS):
            rows = found[:, head].reshape(-1, TOKENS).tolist()
            confidence.append(np.mean([max(row) for row in rows]))
    return float(np.mean(confidence)), float(np.mean(importance))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", ["module", "fused", "by hand"])
def test_the_gradient_of_a_mask_on_each_head(kind: str, layers: int) -> None:
    tokens, labels = data()
    scores = archrank.score(Transformer(kind, layers).double(), tokens, labels, proxies=NAMES)
    confidence, importance = by_masks(layers)
    assert scores["attention_confidence"].value == pytest.approx(confidence, rel=1e-9)
    assert scores["attention_importance"].value == pytest.approx(importance, rel=1e-9)
    assert 1 / TOKENS <= confidence <= 1


class Windows(nn.Module):
    """Attention within windows of two tokens, the windows as more samples (Swin)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).reshape(-1, 2, HEADS, WIDTH // HEADS).transpose(1, 2)
        weights = (x @ x.transpose(-2, -1)).softmax(-1)
        if self.mask is not None:
            weights = weights * self.mask.repeat_interleave(TOKENS // 2, 0)
        x = (weights @ x).transpose(1, 2).reshape(-1, TOKENS, WIDTH)
        return self.head(x.mean(1))


def test_a_head_is_one_in_all_its_windows() -> None:
    tokens, labels = data()
    net = Windows().double()
    scores = archrank.score(net, tokens, labels, proxies=NAMES)
    net.mask = torch.ones(N, HEADS, 1, 1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(tokens), labels), net.mask)
    assert scores["attention_importance"].value == pytest.approx(float(gradient.abs().mean()))


class OtherSoftmax(nn.Module):
    """A softmax that is no attention: over channels of square images, or of vectors."""

    def __init__(self, square: bool):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 3)
        self.square = square

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.square:
            return self.head((x * x.softmax(1)).mean((2, 3)))
        x = x.mean((2, 3))
        return self.head(x * x.softmax(-1))


@pytest.mark.parametrize("square", [False, True])
def test_no_attention(square: bool) -> None:
    runs = []
    net = OtherSoftmax(square)
    net.register_forward_pre_hook(lambda m, args: runs.append(args[0].is_meta))
    for result in archrank.score(net, (3, 6, 6), proxies=NAMES).values():
        assert result.status == "not applicable"
        assert "the model has no attention" in result.reason
    assert runs.count(False) <= (1 if square else 0)  # the graph alone tells, if it can


def test_confidence_needs_no_loss() -> None:
    net = Transformer()
    net.head = nn.Linear(WIDTH, 1)  # one class
    scores = archrank.score(net, (TOKENS, 4), proxies=NAMES)
    assert scores["attention_confidence"].status == "ok"
    assert "one class" in scores["attention_importance"].reason


def test_attention_to_other_tokens_is_left_out() -> None:
    class Queries(nn.Module):
        """Four learnt queries look at six tokens: no tokens to tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
            self.queries = nn.Parameter(torch.randn(4, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            weights = (self.queries @ x.transpose(1, 2)).softmax(-1)
            return self.head((weights @ x).mean(1))

    tokens, labels = (t.float() if t.is_floating_point() else t for t in data())
    scores = archrank.score(Queries(), tokens, labels, proxies=NAMES)
    assert all("no attention" in result.reason for result in scores.values())


def nuclear(matrix: Tensor) -> float:
    return float(np.linalg.svd(matrix.detach().numpy(), compute_uv=False).sum())


@pytest.mark.parametrize("kind", ["module", "fused", "by hand"])
def test_dss_by_hand(kind: str) -> None:
    net = Transformer(kind).double()
    value = archrank.score(net, *data(), proxies="dss")["dss"].value
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    net.eval()  # dropout off
    net(torch.ones(1, TOKENS, 4, dtype=torch.float64)).sum().backward()
    expected = 0.0
    for name, p in net.named_parameters():
        if p.dim() < 2:
            continue
        if "attend" in name:  # queries, keys, values and the output
            expected += nuclear(p.grad) * nuclear(p)
        else:
            expected += float((p.detach() * p.grad).abs().sum())
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["module", "fused", "by hand"])
def test_weights_of_attention_in_the_graph(kind: str) -> None:
    net = Transformer(kind, layers=2)
    graph = archrank.trace(net, (TOKENS, 4))
    assert len(attention_maps(graph)) == 2
    expected = {name for name, p in net.named_parameters() if "attend" in name and p.dim() > 1}
    assert {n for n in _attention_weights(graph) if n.endswith("weight")} == expected


def test_dss_without_attention_is_synflow() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 3))
    scores = archrank.score(net, (TOKENS, 4), proxies="dss,synflow")
    assert scores["dss"].value == pytest.approx(scores["synflow"].value)
