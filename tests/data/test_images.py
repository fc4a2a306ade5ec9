"""Batches of images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from archrank.data import images
from archrank.errors import InputError


@pytest.mark.parametrize("source", ["digits", "random"])
def test_same_seed_same_batch(source: str) -> None:
    x, y = images(source, 32, seed=1)
    again, labels = images(source, 32, seed=1)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    assert not torch.equal(x, images(source, 32, seed=2)[0])
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert torch.isfinite(x).all()


@pytest.mark.slow
@pytest.mark.parametrize(("source", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_real_images(
    source: str, shape: tuple[int, ...], shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHRANK_DATA", str(shared_data))
    x, y = images(source, 256, seed=0)
    assert tuple(x.shape[1:]) == shape
    assert set(y.tolist()) == set(range(10))
    assert abs(float(x.mean())) < 0.2
    assert 0.7 < float(x.std()) < 1.3
    assert len({image.numpy().tobytes() for image in x}) == 256


def test_fitting() -> None:
    x, _ = images("digits", 8, seed=0, inputs=(3, 16, 16))
    assert x.shape == (8, 3, 16, 16)
    assert torch.equal(x[:, 0], x[:, 2])
    own, labels = torch.rand(10, 3, 8, 8), torch.arange(10)
    x, y = images((own, labels), 4, seed=0, inputs=(1, 8, 8))
    torch.testing.assert_close(x[:, 0], own[y].mean(1))


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="source: got 'imagenet', expected one of digits"):
        images("imagenet", 4, 0)
    with pytest.raises(InputError, match="only 10 images"):
        images((torch.rand(10, 1, 8, 8), torch.arange(10)), 11, 0)
    with pytest.raises(InputError, match="10 images but 9 labels"):
        images((torch.rand(10, 1, 8, 8), torch.arange(9)), 4, 0)
    with pytest.raises(InputError, match="classes: got 2"):
        images("digits", 64, 0, classes=2)
    with pytest.raises(InputError, match="at least 1"):
        images("random", 0, 0)
    monkeypatch.setenv("ARCHRANK_DATA", str(tmp_path))
    with pytest.raises(InputError, match="'mnist' is not in"):
        images("mnist", 4, 0)
