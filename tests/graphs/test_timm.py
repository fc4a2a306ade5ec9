"""Every family of timm's models is traced."""

from __future__ import annotations

import warnings

import pytest
import torch

from archrank.graphs import trace

PER_MODULE = 2


def sample() -> list[str]:
    """Of each of timm's modules the models with the shortest names (usually the plain ones)."""
    try:
        import timm
        from timm.models import list_modules
    except ImportError:
        return []
    return [
        name
        for module in list_modules()
        for name in sorted(timm.list_models(module=module), key=lambda n: (len(n), n))[:PER_MODULE]
    ]


def test_the_sample_is_large_enough():
    pytest.importorskip("timm")
    assert len(sample()) >= 150


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
