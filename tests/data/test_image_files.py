"""Published images in the forms in which their homes give them."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from archrank.data import images
from archrank.data.image_files import _Batch, published
from archrank.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 3072), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 50)
DIGITS = RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHRANK_DATA", str(tmp_path))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def cifar(folder: Path) -> Path:
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    for number in range(5):
        part = slice(10 * number, 10 * number + 10)
        batch = {b"data": PIXELS[part], b"labels": LABELS[part].tolist(), b"batch_label": b"x"}
        (batches / f"data_batch_{number + 1}").write_bytes(pickle.dumps(batch, protocol=2))
    return batches


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_as_its_home_gives_it(folder: Path, tmp_path: Path, packed: bool) -> None:
    batches = cifar(tmp_path if packed else folder)
    if packed:
        with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
            archive.add(batches, batches.name)
    found = published("cifar10")
    assert found.labels.tolist() == LABELS.tolist()
    expected = torch.from_numpy(PIXELS.reshape(50, 3, 32, 32)).float() / 255
    assert torch.equal(found.at(torch.arange(50)), expected)
    x, y = images("cifar10", 50, seed=0)
    assert x.shape == (50, 3, 32, 32)
    assert sorted(y.tolist()) == sorted(LABELS.tolist())
    mean, deviation = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.247, 0.2435, 0.2616])
    back = x * deviation.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)
    torch.testing.assert_close(back.sum((0, 2, 3)), expected.sum((0, 2, 3)))


def test_mnist_as_its_home_gives_it(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(DIGITS))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(LABELS[:20]))
    found = published("mnist")
    assert found.labels.tolist() == LABELS[:20].tolist()
    assert torch.equal(
        found.at(torch.tensor([7])), torch.from_numpy(DIGITS[7:8, None]).float() / 255
    )
    assert images("mnist", 8, seed=1)[0].shape == (8, 1, 28, 28)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", ["cifar-10-python.tar.gz"]),
        ("mnist", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]),
    ],
)
def test_what_is_not_there_says_how_to_get_it(folder: Path, name: str, files: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        images(name, 4, seed=0)
    said = str(raised.value)
    assert f"{name!r} is not in {str(folder)!r}" in said
    assert f"mkdir -p {folder} && cd {folder} && curl" in said
    assert all(f"/{file}" in said for file in files)


class Evil:
    """What would run a command when it is unpickled."""

    def __reduce__(self):
        return print, ("this must not run",)


def test_damage_and_what_would_run_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = folder / "cifar-10-python.tar.gz"
    archive.write_bytes(b"<html>moved</html>")
    with pytest.raises(InputError, match=r"cannot be read .* delete it and get it again"):
        images("cifar10", 4, seed=0)
    archive.unlink()
    old = b"cnumpy.core.multiarray\n_reconstruct\n."  # as Python 2 and an old NumPy write it
    assert callable(_Batch(io.BytesIO(old)).load())
    batches = cifar(folder)
    (batches / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil()}, protocol=2))
    with pytest.raises(InputError, match=r"holds __builtin__\.print, which is no array"):
        images("cifar10", 4, seed=0)
    assert capsys.readouterr().out == ""
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(DIGITS))
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte\.gz"):
        images("mnist", 4, seed=0)
