"""Batches of real images for proxies that need data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError

SOURCES = ("digits", "mnist", "cifar10", "random")
"""The sources of images: digits comes with the package; mnist and cifar10 are in ``images/`` of the
data folder."""

_MEANS = {"cifar10": (0.4914, 0.4822, 0.4465), "mnist": (0.1307,)}
_DEVIATIONS = {"cifar10": (0.2470, 0.2435, 0.2616), "mnist": (0.3081,)}


def images(
    source: str | tuple[Tensor, Tensor],
    n: int,
    seed: int,
    inputs: tuple[int, ...] | None = None,
    classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``n`` normalised images and their labels, in the shape that a network takes.

    Args:
        source: one of ``SOURCES``, or your own tensors (images, labels), which are not changed.
        n: the number of images, without repetition.
        seed: the seed of the choice of images.
        inputs: the shape (channels, height, width) that the network takes; images of another size
            are resized. Grey images are repeated over channels, and coloured ones averaged. By
            default, images keep their shape.
        classes: the number of classes. For ``"random"``, labels are drawn from it (10 by default).
            For other sources, a label beyond it is an error.

    Returns:
        float32 images (n, channels, height, width) and int64 labels (n,).

    Raises:
        InputError: the source is unknown, there are too few images, or the file is missing (the
            message says where to put it).

    Example:
        >>> from archrank.data import images
        >>> x, y = images("digits", 16, seed=0)
        >>> x.shape, y.dtype
        (torch.Size([16, 1, 8, 8]), torch.int64)
        >>> images("digits", 4, seed=0, inputs=(3, 32, 32))[0].shape
        torch.Size([4, 3, 32, 32])
    """
    if n < 1:
        raise InputError(f"n: got {n}, expected at least 1 image")
    if isinstance(source, tuple):
        x, y = _own(source, n, seed)
    elif source == "random":
        generator = torch.Generator().manual_seed(seed)
        shape = inputs or (3, 32, 32)
        x = torch.randn(n, *shape, generator=generator)
        y = torch.randint(classes or 10, (n,), generator=generator)
    elif source == "digits":
        from .digits.protocol import batches

        x, y = batches(n, seed)
    elif source in _MEANS:
        x, y = _published(source, n, seed)
    else:
        raise InputError(
            f"source: got {source!r}, expected one of {', '.join(SOURCES)} or a tuple of tensors"
        )
    if classes is not None and int(y.max()) >= classes:
        raise InputError(
            f"classes: got {classes}, but the labels of {source!r} go up to {int(y.max())}; use "
            "source='random' or a network with more outputs"
        )
    return (x if inputs is None else _fitted(x, inputs)), y


def _own(source: tuple[Any, ...], n: int, seed: int) -> tuple[Tensor, Tensor]:
    if len(source) != 2 or not all(isinstance(t, Tensor) for t in source):
        raise InputError("source: expected a tuple (images, labels) of two tensors")
    x, y = source
    if len(x) != len(y):
        raise InputError(f"source: {len(x)} images but {len(y)} labels")
    index = _chosen(len(x), n, seed)
    return x[index], y[index]


def _published(source: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
    from .image_files import published

    found = published(source)
    index = _chosen(len(found), n, seed)
    mean, deviation = (
        torch.tensor(values[source]).view(1, -1, 1, 1) for values in (_MEANS, _DEVIATIONS)
    )
    return ((found.at(index) - mean) / deviation).contiguous(), found.labels[index]


def _chosen(total: int, n: int, seed: int) -> Tensor:
    if n > total:
        raise InputError(f"n: got {n}, but there are only {total} images")
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:n]


def _fitted(x: Tensor, inputs: tuple[int, ...]) -> Tensor:
    if len(inputs) != 3:
        raise InputError(f"inputs: got {inputs}, expected (channels, height, width)")
    channels, height, width = inputs
    if tuple(x.shape[2:]) != (height, width):
        x = F.interpolate(x, (height, width), mode="bilinear", antialias=True)
    if x.shape[1] != channels:
        grey = x.mean(1, keepdim=True)
        x = grey.expand(-1, channels, -1, -1).contiguous()
    return x
