"""Models of timm: strings, networks made without weights, and their published sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import archrank
from archrank.data import space, table
from archrank.errors import InputError, MissingExtraError

pytest.importorskip("timm")


def test_strings_say_model_recipe_and_size() -> None:
    zoo = space("imagenet_zoo")
    assert zoo.normalise("resnet18") == "resnet18@224"
    assert zoo.normalise("resnet18.a1_in1k") == "resnet18.a1_in1k@224"
    assert zoo.normalise("vit_base_patch16_384") == "vit_base_patch16_384@384"
    assert zoo.canonical("resnet18.a1_in1k@288") == "resnet18@288"
    assert zoo.inputs(arch="resnet18@160") == (3, 160, 160)
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        zoo.build("Resnet18")
    with pytest.raises(InputError, match="position 9"):
        zoo.build("resnet18@5")


def test_sizes_of_images_reach_the_network() -> None:
    zoo = space("imagenet_zoo")
    small, large = zoo.graph("deit_tiny_patch16_224@160"), zoo.graph("deit_tiny_patch16_224@224")
    assert large.params - small.params == 192 * (14**2 - 10**2)  # positions
    assert zoo.graph("resnet18@160").params == zoo.graph("resnet18@224").params


def test_graphs_are_those_of_timm_s_own_models() -> None:
    import timm

    zoo = space("imagenet_zoo")
    for name in ("mobilenetv3_small_050", "test_efficientnet", "test_vit"):
        assert zoo.graph(name) == archrank.trace(timm.create_model(name), zoo.inputs(arch=name))


def test_nothing_is_allocated_on_the_meta_device() -> None:
    network = None
    with torch.device("meta"):
        network = space("imagenet_zoo").build("vit_giant_patch14_224")  # a billion weights
    assert all(weight.device.type == "meta" for weight in network.parameters())


def test_published_sizes(published: Path) -> None:
    """Parameters and multiply-adds, as timm counts them; the whole table in an experiment."""
    speed = table("imagenet_zoo_speed")
    zoo = space("imagenet_zoo")
    names = "resnet50@224 efficientnet_b0@224 mobilevit_s@256 swin_tiny_patch4_window7_224@224"
    for name in names.split():
        graph, row = zoo.graph(name), speed[name]
        assert graph.params == pytest.approx(row["params"], abs=5_001)
        assert graph.flops == pytest.approx(row["macs"], rel=0.03)
    assert np.isfinite(speed.costs["params"]).mean() > 0.99
    assert all(name in zoo for name in table("imagenet_zoo").architectures)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"archrank\[zoo\]"):
        space("imagenet_zoo").graph("resnet18@224")
