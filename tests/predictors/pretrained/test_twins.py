"""One network, written by two libraries, has one expected top-1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import archrank
from archrank.graphs import Graph
from archrank.predictors import GraphEnsemble
from archrank.predictors.pretrained.shipped import shipped
from archrank.vision import import_vision

transformers = pytest.importorskip("transformers")

IMAGE = (3, 224, 224)
_SMALL = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
_BASIC = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}


def _of(kind: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        config = getattr(transformers, f"{kind}Config")(num_labels=1000, **settings)
        model: nn.Module = getattr(transformers, f"{kind}ForImageClassification")(config)
        return model

    return build


TWINS = {
    "resnet18": _of("ResNet", **_BASIC),
    "resnet50": _of("ResNet"),
    "deit_small_patch16_224": _of("DeiT", **_SMALL),
    "vit_base_patch16_224": _of("ViT"),
    "swin_tiny_patch4_window7_224": _of("Swin"),
    "convnext_tiny": _of("ConvNext"),
    "regnety_040": _of("RegNet"),
    "poolformer_s12": _of("PoolFormer", depths=[2, 2, 6, 2]),
}
"""timm's name -> the same network of Hugging Face."""


@pytest.fixture(scope="module")
def expert() -> GraphEnsemble:
    found = shipped().expert_
    assert found is not None
    return found


def _traced(build: Callable[[], nn.Module]) -> Graph:
    with torch.device("meta"):
        return archrank.trace(build(), IMAGE)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_hugging_face_and_timm_are_judged_alike(name: str, expert: GraphEnsemble) -> None:
    try:
        timm = import_vision("timm")
    except ImportError:
        pytest.skip("timm is not installed")
    ours, theirs = _traced(TWINS[name]), _traced(lambda: timm.create_model(name))
    assert ours.params == pytest.approx(theirs.params, rel=0.01)
    expected, known = expert.predict([ours, theirs])
    assert expected == pytest.approx(known, abs=0.3)


def test_larger_ones_of_a_family_are_expected_to_be_better(expert: GraphEnsemble) -> None:
    sizes = (
        {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
        _SMALL,
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    )
    tops = expert.predict([_traced(_of("DeiT", **size)) for size in sizes])
    assert sorted(tops) == list(tops)
    # Published: 72.2, 79.9 and 81.8 % (Touvron et al., 2021), within the intervals of 90 %.
    assert tops == pytest.approx([72.2, 79.9, 81.8], abs=2.5)
