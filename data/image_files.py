"""Published images in files of the data folder: MNIST and CIFAR-10, in several forms."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import InputError, MissingExtraError

Pixels = npt.NDArray[np.uint8]

_CIFAR_JPEG, _CIFAR_TAR, _CIFAR_FOLDER = (
    "cifar10_jpeg.tar.xz",
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
)
_MNIST_ARRAYS = "mnist_train.npz"
_MNIST_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
_TO_GET = {
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"],
    ),
    "mnist": (
        "http://yann.lecun.com/exdb/mnist",
        [f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}" for name in _MNIST_IDX],
    ),
}
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError),
    *(tarfile.TarError, zlib.error, pickle.UnpicklingError),
)


_ARRAYS = ("_reconstruct", "ndarray", "dtype")


class Images:
    """Training images (n, channels, height, width) and their classes (n,), drawn by position.

    Args:
        labels: the classes of all images.
        pixels: the values of all images; None if they are packed.
        packed: the JPEG file of each image, which is read when the image is drawn.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.int64],
        pixels: Pixels | None = None,
        packed: tuple[bytes, ...] = (),
    ):
        self.labels, self._pixels, self._packed = torch.from_numpy(labels), pixels, packed

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, places: Tensor) -> Tensor:
        """Return the images at some positions, with values from 0 to 1."""
        if self._pixels is None:
            chosen = np.stack([_unpacked(self._packed[i]) for i in places.tolist()])
        else:
            chosen = self._pixels[places.numpy()]
        return torch.from_numpy(chosen).float() / 255


def published(name: str) -> Images:
    """Return the training images of ``"mnist"`` or ``"cifar10"``.

    CIFAR-10 is read from ``cifar-10-python.tar.gz``, from the folder ``cifar-10-batches-py`` in it,
    or from JPEG files in ``cifar10_jpeg.tar.xz``; MNIST from the two ``.gz`` files of its training
    images, or from arrays in ``mnist_train.npz``.

    Raises:
        InputError: no such file is in ``images/`` of the data folder, or it is damaged.
    """
    from .fetching import data_folder

    folder = data_folder() / "images"
    path = _file_of(name, folder)
    if path is None:
        home, addresses = _TO_GET[name]
        files = [address.rpartition("/")[2] for address in addresses]
        fetch = " && ".join(f"curl -fLO {address}" for address in addresses)
        raise InputError(
            f"source: {name!r} is not in {str(folder)!r}, where {' and '.join(files)} "
            f"({home}) belong{'s' if len(files) == 1 else ''}. To get it: mkdir -p {folder} && "
            f"cd {folder} && {fetch}. Or set ARCHRANK_DATA to the folder that holds images/; "
            "'digits' needs no file"
        )
    try:
        return _READERS[path.name](path)
    except _DAMAGE as error:
        raise InputError(
            f"source: {str(path)!r} cannot be read ({' '.join(str(error).split())}); if it is "
            "damaged, delete it and get it again"
        ) from error


def _file_of(name: str, folder: Path) -> Path | None:
    """Return the first file that holds the images; None if there is none."""
    if name == "cifar10":
        known = [folder / one for one in (_CIFAR_JPEG, _CIFAR_FOLDER, _CIFAR_TAR)]
    else:
        known = [folder / one for one in (_MNIST_ARRAYS, _MNIST_IDX[0])]
    return next((path for path in known if path.exists()), None)


@cache
def _cifar_jpeg(path: Path) -> Images:
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
    labels = np.array([folders.index(name.partition("/")[0]) for name in names], dtype=np.int64)
    return Images(labels, packed=tuple(found[name] for name in names))


def _unpacked(content: bytes) -> Pixels:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("reading CIFAR-10 images", "pillow", "data", error) from error
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


@cache
def _cifar_batches(path: Path) -> Images:
    batches = [_Batch(io.BytesIO(raw), encoding="bytes").load() for raw in _batch_files(path)]
    pixels = np.concatenate([batch[b"data"] for batch in batches])
    labels = np.concatenate([np.asarray(batch[b"labels"], np.int64) for batch in batches])
    return Images(labels, pixels.reshape(-1, 3, 32, 32))


def _batch_files(path: Path) -> Iterator[bytes]:
    """Yield the contents of the five training batches in a folder or an archive."""
    names = [f"data_batch_{number}" for number in range(1, 6)]
    if path.is_dir():
        yield from ((path / name).read_bytes() for name in names)
        return
    with tarfile.open(path) as archive:
        for name in names:
            content = archive.extractfile(f"{_CIFAR_FOLDER}/{name}")
            assert content is not None
            yield content.read()


class _Batch(pickle.Unpickler):
    """A reader of CIFAR-10's pickles, which accepts arrays and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the classes and functions that arrays and their bytes are made of; refuse all
        others."""
        of_arrays = module.partition(".")[0] == "numpy" and name in _ARRAYS
        if of_arrays or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")


@cache
def _mnist_arrays(path: Path) -> Images:
    with np.load(path, allow_pickle=False) as file:
        arrays = {array.ndim: array for array in (file[name] for name in file.files)}
    return Images(arrays[1].astype(np.int64), arrays[3][:, None])


@cache
def _mnist_idx(path: Path) -> Images:
    pixels, labels = (_idx(path.with_name(name)) for name in _MNIST_IDX)
    return Images(labels.astype(np.int64), pixels[:, None])


def _idx(path: Path) -> Pixels:
    """Read an IDX file of bytes: 0, 0, 8, the number of dimensions, their lengths, the values."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError("it does not begin as an IDX file of bytes")
    start = 4 + 4 * raw[3]
    lengths = np.frombuffer(raw[4:start], ">u4")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(lengths)


_READERS = {
    _CIFAR_JPEG: _cifar_jpeg,
    _CIFAR_TAR: _cifar_batches,
    _CIFAR_FOLDER: _cifar_batches,
    _MNIST_ARRAYS: _mnist_arrays,
    _MNIST_IDX[0]: _mnist_idx,
}
