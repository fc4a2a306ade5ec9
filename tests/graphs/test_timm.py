"""Every family of timm's models is traced."""

from __future__ import annotations

import warnings

import pytest
import torch

from archrank.graphs import trace

SECOND = """
convmixer_1536_20 convnext_base deepseek_vit_412m_enc dla60 test_coatnet mobilenetv5_base
naflexvit_base_patch16_map regnetv_064 resnet26 legacy_seresnet18 tiny_vit_11m_224 test_vit2
vit_base_r26_s32_224
""".split()
"""Models whose modules the first model of the same module of timm has not."""


def sample() -> list[str]:
    """Of each of timm's modules the model with the shortest name (usually a plain one)."""
    try:
        import timm
        from timm.models import list_modules
    except ImportError:
        return []
    first = [
        min(timm.list_models(module=module), key=lambda n: (len(n), n)) for module in list_modules()
    ]
    return [*first, *SECOND]


def test_the_sample_is_large_enough():
    pytest.importorskip("timm")
    assert len(sample()) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", sample())
def test_timm(name):
    timm = pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False)
    graph = trace(model, model.default_cfg.get("input_size", (3, 224, 224)))
    assert graph.params == sum(p.numel() for p in model.parameters())
    assert graph.product_flops > 0
    assert graph.depth > 3
    assert graph.unknown_operators == {}
    assert graph.exact
