"""Tiny models of Hugging Face's transformers, against loops over samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

N, CLASSES = 4, 3
Build = Callable[[Any], nn.Module]


class Logits(nn.Module):
    """A model, of which the first hidden states are averaged for a head, or the logits are read."""

    def __init__(self, model: nn.Module, width: int = 0):
        super().__init__()
        self.model, self.head = model, nn.Linear(width, CLASSES) if width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        made = self.model(x)
        return self.head(made.last_hidden_state.mean(1)) if "logits" not in made else made.logits


def mixture(t: Any) -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = t.MixtralConfig(vocab_size=50, num_local_experts=4, use_cache=False, **sizes, **heads)
    config._experts_implementation = "eager"
    return Logits(t.MixtralModel(config), 16)


def state_space(t: Any) -> nn.Module:
    config = t.MambaConfig(
        vocab_size=50, hidden_size=16, state_size=4, num_hidden_layers=1, use_cache=False
    )
    return Logits(t.MambaModel(config), 16)


def response_norms(t: Any) -> nn.Module:
    config = t.ConvNextV2Config(
        hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, image_size=32, num_labels=CLASSES
    )
    return Logits(t.ConvNextV2ForImageClassification(config))


def windows(t: Any) -> nn.Module:
    config = t.SwinConfig(
        image_size=32, embed_dim=8, depths=[2], num_heads=[2], window_size=4, num_labels=CLASSES
    )
    return Logits(t.SwinForImageClassification(config))


MODELS: dict[str, tuple[Build, bool]] = {
    "Mixtral": (mixture, True),
    "Mamba": (state_space, True),
    "ConvNeXt V2": (response_norms, False),
    "Swin": (windows, False),
}


@pytest.mark.parametrize("name", MODELS)
def test_against_a_loop_over_samples(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    build, reads_tokens = MODELS[name]
    torch.manual_seed(0)
    try:
        model = build(transformers).double().eval()
    except ModuleNotFoundError as error:
        pytest.skip(f"transformers cannot import it here: {error}")
    x = torch.randint(50, (N, 8)) if reads_tokens else torch.randn(N, 3, 32, 32).double()
    y = torch.arange(N) % CLASSES
    found = archrank.score(model, (x, y), proxies="snip,gradsign,fisher")

    # A is of decays, which multiply element by element; tables hold positions.
    left = ("embed_tokens", "model.embeddings.weight", "A_log", "grn", "table")
    known = model.named_parameters()
    weights = [p for n, p in known if p.dim() > 1 and not any(word in n for word in left)]
    slopes = torch.autograd.grad(F.cross_entropy(model(x), y), weights)
    snip = sum(float((w * g).abs().sum().detach()) for w, g in zip(weights, slopes, strict=True))
    assert found["snip"].value == pytest.approx(snip, rel=1e-6)
    signs = [torch.zeros_like(w) for w in weights]
    for i in range(N):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        for total, gradient in zip(signs, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
    total = sum(float(s.abs().sum()) for s in signs)
    assert found["gradsign"].value == pytest.approx(total, rel=1e-3)  # of zeros but for rounding
    assert found["fisher"].status == "ok"
