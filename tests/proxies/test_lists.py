"""Models that take a list of images, as detectors do, score as those that take them in a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import compared
from torch import Tensor, nn

import archrank

OF_LISTS = {"flops", "activations", "az_complexity", "nasgraph", "nasgraph_density"}
OF_BLOCKS = {"az_expressivity", "az_progressivity", "az_trainability"}


class Detector(nn.Module):
    """A network that takes images in one of several ways."""

    def __init__(self, way: str):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.head, self.way = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4), way

    def features(self, x: Tensor) -> Tensor:
        x = torch.relu(self.two(torch.relu(self.norm(self.one(x)))))
        return self.head(x.mean((2, 3)))

    def forward(self, images: Any, threshold: float = 0.5) -> Any:
        if self.way == "tensor":
            return self.features(images)
        if self.way == "one by one":
            return torch.cat([self.features(image[None]) for image in images])
        if self.way == "padded":
            height = max(image.shape[1] for image in images)
            images = [F.pad(image, (0, 0, 0, height - image.shape[1])) for image in images]
        made = self.features(torch.stack(images))
        return [{"logits": one} for one in made] if self.way == "outputs listed" else made


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 6, 3, 8, 8, generator=generator, dtype=torch.float64)
    return [(one, torch.arange(6) % 4) for one in images]


@pytest.mark.parametrize("way", ["stacked", "padded", "outputs listed"])
def test_images_of_one_shape_are_a_batch(way: str) -> None:
    expected = archrank.score(Detector("tensor").double(), data())
    listed = [([*images], targets) for images, targets in data()]
    model = Detector(way).double()
    out = OF_LISTS | (OF_BLOCKS if way == "padded" else set())  # each image is padded by itself
    compared(archrank.score(model, listed), expected, out)
    images, targets = listed[0]
    named = archrank.score(model, {"images": images}, targets, proxies="synflow,jacob_cov,flops")
    one = archrank.trace(Detector("tensor"), torch.randn(1, 3, 8, 8))
    for name, result in named.items():
        if name != "flops":
            assert result.value == pytest.approx(expected[name].value, rel=1e-3), name
    assert named.graph.product_flops == one.product_flops


def test_images_one_by_one_have_no_features() -> None:
    images, targets = data()[0]
    names = ["synflow", "jacob_cov", "near", "naswot", "zen", "croze"]
    found = archrank.score(
        Detector("one by one").double().eval(), ([*images],), targets, proxies=names
    )
    twin = archrank.score(Detector("tensor").double().eval(), images, targets, proxies=names)
    assert found["synflow"].value == pytest.approx(twin["synflow"].value)
    for name in names[2:]:
        assert found[name].status == "unsupported", name
        assert "in turn" in str(found[name].reason), name


@pytest.mark.parametrize("way", ["padded", "one by one"])
def test_what_needs_a_sample_of_images_of_several_shapes_is_refused(way: str) -> None:
    images = [torch.randn(3, 8 + i, 8) for i in range(4)]
    model, targets = Detector(way).eval(), torch.arange(4)
    found = archrank.score(model, (images,), targets)
    for name in ("synflow", "logsynflow", "jacob_cov", "epe_nas"):
        assert found[name].status == "not applicable", name
        assert "differ in shape" in str(found[name].reason), name
    for name in ("near", "meco", "naswot", "fisher"):
        assert found[name].status == "unsupported", name
    as_given = archrank.score(model, (images,), targets, proxies="gradsign")["gradsign"]
    weights = [model.one.weight, model.two.weight, model.head.weight]
    loss = F.cross_entropy(model.train()(images), targets)
    gradients = torch.autograd.grad(loss, weights)
    snip = sum(float((w * g).abs().sum()) for w, g in zip(weights, gradients, strict=True))
    assert found["snip"].value == pytest.approx(snip, rel=1e-4)
    assert as_given.value is not None


@pytest.mark.parametrize("samples", [2, 5])
def test_two_views_of_each_sample_are_no_samples(samples: int) -> None:
    class Views(nn.Module):
        def __init__(self, listed: bool):
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.head, self.listed = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), listed

        def forward(self, *views: Any) -> Tensor:
            (views,) = views if self.listed else (views,)
            return self.head(sum(torch.relu(self.layer(view)).mean((2, 3)) for view in views))

    views = [torch.randn(samples, 3, 8, 8) for _ in range(2)]
    targets = torch.arange(samples) % 4
    names = "synflow,jacob_cov,snip,gradsign,naswot,near,flops,activations"
    found = archrank.score(Views(True), (views,), targets, proxies=names)
    expected = archrank.score(Views(False), tuple(views), targets, proxies=names)
    compared(found, expected, set())
