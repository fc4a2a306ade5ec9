"""Batches of real images for proxies that need data."""

from __future__ import annotations

import io
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError, MissingExtraError

SOURCES = ("digits", "mnist", "cifar10", "random")
"""digits comes with the package; mnist and cifar10 lie in the data folder under ``images/``."""

_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_MNIST_MEAN, _MNIST_STD = 0.1307, 0.3081


def images(
    source: str | tuple[Tensor, Tensor],
    n: int,
    seed: int,
    inputs: tuple[int, ...] | None = None,
    classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``n`` normalised images and their labels, in the shape that a network takes.

    Args:
        source: one of ``SOURCES``, or your own tensors (images, labels), taken as they are.
        n: the number of images, without repetition.
        seed: the seed of the choice of images.
        inputs: the shape (channels, height, width) that the network takes; images of another size
            are resized, grey ones repeated over channels, coloured ones averaged. Their own shape
            by default.
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
    elif source == "mnist":
        x, y = _mnist(n, seed)
    elif source == "cifar10":
        x, y = _cifar10(n, seed)
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


def _file(name: str) -> Path:
    from .fetching import data_folder

    path = data_folder() / "images" / name
    if not path.exists():
        raise InputError(
            f"source: no file {str(path)!r}. Put {name} there, or set ARCHRANK_DATA to the folder "
            "that holds images/; source='digits' needs no file"
        )
    return path


@cache
def _mnist_arrays(path: Path) -> tuple[Tensor, Tensor]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {array.ndim: array for array in (file[name] for name in file.files)}
    return torch.from_numpy(arrays[3]), torch.from_numpy(arrays[1].astype(np.int64))


def _mnist(n: int, seed: int) -> tuple[Tensor, Tensor]:
    pixels, labels = _mnist_arrays(_file("mnist_train.npz"))
    index = _chosen(len(pixels), n, seed)
    return (pixels[index].unsqueeze(1).float() / 255 - _MNIST_MEAN) / _MNIST_STD, labels[index]


@cache
def _cifar_files(path: Path) -> list[tuple[int, bytes]]:
    """Return (label, JPEG) of the training images in the order of their names; 15 MB."""
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if member.isfile() and "train" in parts and member.name.endswith((".jpg", ".jpeg")):
                content = archive.extractfile(member)
                assert content is not None
                found["/".join(parts[-2:])] = content.read()
    names = sorted(found)
    folders = sorted({name.partition("/")[0] for name in names})
    return [(folders.index(name.partition("/")[0]), found[name]) for name in names]


def _cifar10(n: int, seed: int) -> tuple[Tensor, Tensor]:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("reading CIFAR-10 images", "pillow", "data", error) from error
    files = _cifar_files(_file("cifar10_jpeg.tar.xz"))
    pixels, labels = [], []
    for i in _chosen(len(files), n, seed).tolist():
        label, content = files[i]
        with Image.open(io.BytesIO(content)) as picture:
            pixels.append(np.asarray(picture.convert("RGB")))
        labels.append(label)
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (_CIFAR_MEAN, _CIFAR_STD))
    return ((x - mean) / std).contiguous(), torch.tensor(labels, dtype=torch.int64)
