"""Images from a folder with one subfolder per class."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ArchrankWarning, InputError, MissingExtraError

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_SIDE = 64
_PARTS = frozenset("train training val valid validation dev eval evaluation test testing".split())
"""Names of parts of data sets, which are sibling folders like classes."""


def folder_images(
    folder: Path, n: int, count: int, seed: int, inputs: tuple[int, ...] | None = None
) -> list[tuple[Tensor, Tensor] | Tensor]:
    """Draw ``count`` batches of ``n`` images, with labels if there is a folder per class.

    Args:
        folder: a folder of images without labels, or with one subfolder per class. Classes are
            numbered in the order of names.
        n: the number of images per batch, or fewer if there are fewer; no image is in two batches.
        count: the largest number of batches.
        seed: the seed of the choice of images.
        inputs: the shape (channels, height, width) to resize to; default (3, 64, 64).

    Raises:
        InputError: there are no images, one cannot be read, or the folder holds the parts of a
            data set, such as train and val.
        MissingExtraError: Pillow is not installed.

    Notes:
        Each channel is standardised over the drawn images. This is our choice, since networks
        before training have no statistics of their own.
    """
    channels, height, width = _checked(inputs or (3, _SIDE, _SIDE))
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    classes = sorted({file.relative_to(folder).parts[0] for file in files if file.parent != folder})
    _check(folder, files, classes, n)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))
    chosen = [files[i] for i in order[: n * count].tolist()]
    pixels = torch.stack([_read(file, channels, height, width) for file in chosen])
    mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    scaled = (pixels - mean) / std.clamp_min(1e-6)
    if not classes:
        return list(scaled.split(n))
    loose = [file for file in chosen if file.parent == folder]
    if loose:
        raise InputError(
            f"data: {str(loose[0])!r} is next to the folders of the classes; move it into one of "
            "them"
        )
    labels = torch.tensor([classes.index(file.relative_to(folder).parts[0]) for file in chosen])
    return list(zip(scaled.split(n), labels.split(n), strict=True))


def _check(folder: Path, files: list[Path], classes: list[str], n: int) -> None:
    """Refuse a folder without images or with several data sets; warn of missing classes and
    images."""
    if not files:
        raise InputError(
            f"data: {str(folder)!r} holds no images ({', '.join(sorted(SUFFIXES))}); expected a "
            "folder of images, with one folder per class in it"
        )
    if classes and _PARTS.issuperset(name.casefold() for name in classes):
        raise InputError(
            f"data: {str(folder)!r} holds {' and '.join(classes)}, which are parts of a data set, "
            f"not classes; name one of them, as {str(folder / classes[0])!r}"
        )
    if not classes:
        _warn(
            f"data: {str(folder)!r} has no folders of classes, so proxies that need labels get "
            "random ones"
        )
    if len(files) < n:
        _warn(f"data: {str(folder)!r} holds {len(files)} images, fewer than a batch of {n}")


def _warn(text: str) -> None:
    warnings.warn(text, ArchrankWarning, stacklevel=4)


def _checked(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"data: images of shape {shape}, expected (1 or 3, height, width)")
    return shape[0], shape[1], shape[2]


def _read(file: Path, channels: int, height: int, width: int) -> Tensor:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("reading images", "pillow", "data", error) from error
    try:
        with Image.open(file) as picture:
            deep = picture.mode[0] in "IF"  # 16 bits or fractions, which Pillow would cut off
            mode = "F" if deep else "RGB" if channels == 3 else "L"
            fitted = picture.convert(mode).resize((width, height))
            pixels = torch.from_numpy(np.array(fitted, dtype=np.float32))
            pixels /= 1 if picture.mode == "F" else 65535 if deep else 255
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"data: {str(file)!r} cannot be read as an image ({error}); leave it out"
        ) from error
    return pixels.view(height, width, -1).permute(2, 0, 1).expand(channels, -1, -1)
