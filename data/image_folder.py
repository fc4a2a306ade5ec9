"""Images of a folder with one subfolder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, MissingExtraError

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_SIDE = 64


def folder_images(
    folder: Path, n: int, count: int, seed: int, inputs: tuple[int, ...] | None = None
) -> list[tuple[Tensor, Tensor] | Tensor]:
    """Draw ``count`` batches of ``n`` images and, of folders per class, their labels.

    Args:
        folder: with a folder per class, numbered in the order of their names, or without labels.
        n: images per batch; fewer where there are fewer, and none is in two batches.
        count: how many batches at most.
        seed: which images.
        inputs: shape (channels, height, width) that they are resized to; default (3, 64, 64).

    Raises:
        InputError: there are no images, or one cannot be read.
        MissingExtraError: Pillow is not installed.

    Notes:
        Each channel is shifted and scaled to mean 0 and deviation 1 over what is drawn (our
        choice: networks are not trained yet, so that no other statistics are theirs).
    """
    channels, height, width = _checked(inputs or (3, _SIDE, _SIDE))
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise InputError(
            f"data: {str(folder)!r} holds no images ({', '.join(sorted(SUFFIXES))}); expected a "
            "folder of images, with one folder per class in it"
        )
    classes = sorted({file.relative_to(folder).parts[0] for file in files if file.parent != folder})
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
            fitted = picture.convert("RGB" if channels == 3 else "L").resize((width, height))
            pixels = torch.from_numpy(np.array(fitted, dtype=np.float32) / 255)
    except (OSError, ValueError) as error:
        raise InputError(
            f"data: {str(file)!r} cannot be read as an image ({error}); leave it out"
        ) from error
    return pixels.view(height, width, channels).permute(2, 0, 1)
