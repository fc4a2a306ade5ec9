"""One function has one score, whatever way its samples are laid out, for every proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

OF_THE_GRAPH = {
    *("params", "flops", "activations", "az_complexity", "swap_regular"),
    *("nasgraph", "nasgraph_density"),
}
N = 6


class Model(nn.Module):
    """Layers by name, and one of several ways to run them."""

    def __init__(self, way: Callable[..., Any], **layers: nn.Module):
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.way(self, *args, **kwargs)


def attend(m: Model, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).chunk(3, -1)
    return m.out(F.scaled_dot_product_attention(q, k, v))


def token_layers() -> dict[str, nn.Module]:
    return {
        "embed": nn.Linear(3, 8),
        "qkv": nn.Linear(8, 24),
        "out": nn.Linear(8, 8),
        "mid": nn.Linear(8, 8),
        "norm": nn.LayerNorm(8),
        "head": nn.Linear(8, 4),
    }


def finish(m: Model, x: Tensor) -> Tensor:
    """From tokens (N, T, C) on."""
    x = torch.relu(m.mid(m.norm(x)))
    return m.head(F.gelu(m.out(x)).mean(1))


def plain(m: Model, x: Tensor) -> Tensor:
    return finish(m, attend(m, m.embed(x)))


def first_is_time(m: Model, x: Tensor) -> Tensor:
    x = m.embed(x.transpose(0, 1))
    x = attend(m, x.transpose(0, 1)).transpose(0, 1)
    x = torch.relu(m.mid(m.norm(x)))
    return m.head(F.gelu(m.out(x)).mean(0))


def flat(m: Model, x: Tensor) -> Tensor:
    n, tokens, _ = x.shape
    x = m.embed(x.reshape(n * tokens, 3))
    x = attend(m, x.view(n, tokens, -1)).flatten(0, 1)
    x = torch.relu(m.mid(m.norm(x)))
    return m.head(F.gelu(m.out(x)).view(n, tokens, -1).mean(1))


def windows_apart(m: Model, x: Tensor) -> Tensor:
    """Attention in windows of two tokens, in a dimension of their own."""
    n, tokens, _ = x.shape
    x = m.embed(x).view(n, tokens // 2, 2, -1)
    return finish(m, attend(m, x).flatten(1, 2))


def windows_folded(m: Model, x: Tensor) -> Tensor:
    n, tokens, _ = x.shape
    x = m.embed(x).view(n * tokens // 2, 2, -1)
    return finish(m, attend(m, x).view(n, tokens, -1))


def windows_outside(m: Model, x: Tensor) -> Tensor:
    """Return the same windows, those of one place together, (windows samples, 2, C)."""
    n, tokens, _ = x.shape
    x = m.embed(x).view(n, tokens // 2, 2, -1).transpose(0, 1).reshape(n * tokens // 2, 2, -1)
    x = attend(m, x).view(tokens // 2, n, 2, -1).transpose(0, 1)
    return finish(m, x.reshape(n, tokens, -1))


def clip_layers(volume: bool) -> dict[str, nn.Module]:
    kernels, norm = ([(1, 3, 3)] * 2, nn.BatchNorm3d(6)) if volume else ([3, 3], nn.BatchNorm2d(6))
    conv = nn.Conv3d if volume else nn.Conv2d
    one, two = conv(3, 6, kernels[0], padding=0), conv(6, 6, kernels[1], padding=0)
    return {"one": one, "norm": norm, "two": two, "head": nn.Linear(6, 4)}


def frames_folded(m: Model, x: Tensor) -> Tensor:
    n, _, time = x.shape[:3]
    x = torch.relu(m.norm(m.one(x.transpose(1, 2).flatten(0, 1))))
    x = torch.relu(m.two(x)).mean((2, 3))
    return m.head(x.view(n, time, -1).mean(1))


def frames_as_volume(m: Model, x: Tensor) -> Tensor:
    x = torch.relu(m.norm(m.one(x)))
    return m.head(torch.relu(m.two(x)).mean((2, 3, 4)))


def frames_apart(m: Model, x: Tensor) -> Tensor:
    """Pool frames that samples have together, (time, samples, C, H, W)."""
    time, n = x.shape[2], len(x)
    x = torch.relu(m.norm(m.one(x.permute(2, 0, 1, 3, 4).flatten(0, 1))))
    return m.head(torch.relu(m.two(x)).unflatten(0, (time, n)).mean((0, 3, 4)))


def frames_of_samples(m: Model, x: Tensor) -> Tensor:
    x = torch.relu(m.norm(m.one(x.transpose(1, 2).flatten(0, 1))))
    return m.head(torch.relu(m.two(x)).unflatten(0, (-1, 4)).mean((1, 3, 4)))


def samples_last(m: Model, x: Tensor) -> Tensor:
    """From channels first, (C, tokens, samples), on."""
    x = torch.einsum("oi,nti->otn", m.embed.weight, x) + m.embed.bias[:, None, None]
    x = torch.einsum("oi,itn->otn", m.mid.weight, F.gelu(x)) + m.mid.bias[:, None, None]
    return m.head(torch.relu(x).mean(1).T)


def samples_first(m: Model, x: Tensor) -> Tensor:
    return m.head(torch.relu(m.mid(F.gelu(m.embed(x)))).mean(1))


def in_place(m: Model, x: Tensor) -> Tensor:
    x = torch.relu_(m.embed(x))
    x = attend(m, x)
    x += 1
    x = F.gelu(m.mid(torch.relu_(x)).mul_(2.0))
    return m.head(x.mean(1))


def out_of_place(m: Model, x: Tensor) -> Tensor:
    x = attend(m, torch.relu(m.embed(x)))
    x = F.gelu(m.mid(torch.relu(x + 1)) * 2.0)
    return m.head(x.mean(1))


def masked_in_place(m: Model, x: Tensor) -> Tensor:
    x = m.embed(x)
    x[:, 0] = 0
    return finish(m, attend(m, x))


def masked(m: Model, x: Tensor) -> Tensor:
    x = m.embed(x)
    mask = torch.arange(x.shape[1], dtype=x.dtype).clamp_max(1)[:, None]
    return finish(m, attend(m, x * mask))


def with_detached(m: Model, x: Tensor) -> Any:
    logits = plain(m, x)
    return logits, [logits.detach(), (logits.detach() * 2).exp()]


def with_auxiliary(m: Model, x: Tensor) -> Any:
    logits = plain(m, x)
    return {"logits": logits, "auxiliary": logits.logsumexp(1).mean(), "flag": True}


TOKENS, SAME, CLIPS = (8, 3), (N, 3), (3, 4, 8, 8)
"""Eight tokens, as many tokens as samples, and clips of four frames."""

PAIRS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "sequence first": (first_is_time, plain, TOKENS),
    "sequence first, as many samples": (first_is_time, plain, SAME),
    "tokens folded": (flat, plain, TOKENS),
    "tokens folded, as many samples": (flat, plain, SAME),
    "windows folded": (windows_folded, windows_apart, TOKENS),
    "windows outside": (windows_outside, windows_apart, TOKENS),
    "frames folded": (frames_folded, frames_as_volume, CLIPS),
    "frames of samples": (frames_apart, frames_of_samples, CLIPS),
    "samples last": (samples_last, samples_first, TOKENS),
    "in place": (in_place, out_of_place, TOKENS),
    "masked in place": (masked_in_place, masked, TOKENS),
    "auxiliary output of no dimension": (with_auxiliary, plain, TOKENS),
}


def built(way: Any, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    layers = clip_layers(way is frames_as_volume) if shape == CLIPS else token_layers()
    model = Model(way, **layers)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return model.double()


def given(shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(N, *shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(x, torch.arange(N) % 4) for x in images]


def compared(scores: archrank.Scores, expected: archrank.Scores, out: set[str]) -> None:
    for name in set(expected) - out:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        if expected[name].value is not None:
            wanted = pytest.approx(expected[name].value, rel=1e-6, abs=1e-9)
            assert scores[name].value == wanted, name


@pytest.mark.parametrize("kind", PAIRS)
def test_both_layouts_score_the_same(kind: str) -> None:
    one, other, shape = PAIRS[kind]
    data = given(shape)
    models = built(one, shape), built(other, shape)
    outputs = [m(data[0][0]) for m in models]
    outputs = [o["logits"] if isinstance(o, dict) else o for o in outputs]
    assert torch.allclose(*outputs)
    scores, expected = (archrank.score(m, data) for m in models)
    # Where samples and channels are not in order, a block ends before they are put so.
    blocks = {name for name in expected if name.startswith("az_")} if one is samples_last else set()
    compared(scores, expected, OF_THE_GRAPH | blocks)


def test_what_is_detached_beside_the_logits_is_not_taken_for_them() -> None:
    data = given(TOKENS)
    scores, expected = (archrank.score(built(way, TOKENS), data) for way in (with_detached, plain))
    compared(scores, expected, OF_THE_GRAPH)
