"""Data that is given or named: drawn once, the same for all candidates."""

from __future__ import annotations

import pickle
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import tiny_networks as nets
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import archrank
from archrank.errors import ArchrankWarning, InputError
from archrank.proxies.given_data import drawn, parted
from archrank.scoring.candidates import collect
from archrank.scoring.data import _digest
from archrank.scoring.named_data import DataSource, named_loss

TWINS = {"first": nets.narrow, "second": nets.narrow_again}
X = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(40) % 10


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x, y) for x, y in zip(X, Y, strict=True)])


def generator():
    for i in range(0, 40, 8):
        yield X[i : i + 8], Y[i : i + 8]


SOURCES = {
    "a loader that shuffles": lambda: DataLoader(TensorDataset(X, Y), 8, shuffle=True),
    "a data set": lambda: TensorDataset(X, Y),
    "a stream": Stream,
    "an iterator": lambda: iter(DataLoader(TensorDataset(X, Y), 8, shuffle=True)),
    "a generator": generator,
    "a list": lambda: [*generator()],
    "dictionaries": lambda: [{"pixels": x, "labels": y} for x, y in generator()],
    "a tuple": lambda: (X[:8], Y[:8]),
    "an array": lambda: X[:8].numpy().astype(np.float64),
}


SEEN: SimpleQueue[tuple[int, float]] = SimpleQueue()
"""What spies note: neither a model nor what its code reaches holds anything after all."""


class Spy(nets.Tiny):
    """Notes what it is run on."""

    def __init__(self, width: int):
        super().__init__(width)
        self.width = width

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.device.type != "meta" and pixels.dtype == torch.float32:
            SEEN.put((self.width, round(float(pixels.detach().sum()), 3)))
        return super().forward(pixels)


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_all_candidates_see_the_same(make) -> None:
    spies = [Spy(width) for width in (4, 5, 6)]
    ranking = archrank.rank(spies, make(), by="plain,zico", batch_size=8)
    assert np.isfinite(ranking.table["plain"].to_numpy(float)).all()
    seen: dict[int, set[float]] = {4: set(), 5: set(), 6: set()}
    while not SEEN.empty():
        width, total = SEEN.get()
        seen[width].add(total)
    assert seen[4]
    assert seen[4] == seen[5] == seen[6]


def test_images_and_labels_as_score_takes_them() -> None:
    net = nets.narrow()
    ranking = archrank.rank({"net": net}, X, Y, by="snip")
    assert ranking.table["snip"][0] == archrank.score(net, X, Y, proxies="snip")["snip"].value
    arrays = archrank.rank({"net": net}, X.numpy(), Y.numpy(), by="snip")
    lists = archrank.rank({"net": net}, X, Y.tolist(), by="snip")
    assert arrays.table["snip"][0] == lists.table["snip"][0] == ranking.table["snip"][0]
    other = archrank.rank({"net": net}, X, Y.flip(0), by="snip")
    assert other.table["snip"][0] != ranking.table["snip"][0]


@pytest.mark.parametrize("by", ["params", ["snip", "params"]])
def test_names_in_the_place_of_targets_are_what_to_rank_by(by) -> None:
    short = archrank.rank(TWINS, (3, 8, 8), by, batch_size=4)
    assert short.by == archrank.rank(TWINS, (3, 8, 8), by=by, batch_size=4).by


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
        return self.layer(a + b) * scale


def test_parts_of_a_batch() -> None:
    a, b, y = torch.randn(8, 4), torch.randn(8, 4), torch.arange(8)
    for given in (
        [(a, b, y)],
        [[a, b, y]],
        [((a, b), y)],
        [([a, b], y)],
        [{"a": a, "b": b, "label": y}],
        [({"a": a, "b": b}, y)],
        DataLoader(TensorDataset(a, b, y), 8),
    ):
        inputs, targets = parted(Two(), drawn(given)[0])
        values = [*inputs.values()] if isinstance(inputs, dict) else [*inputs]
        assert torch.equal(values[0], a)
        assert torch.equal(values[1], b)
        assert torch.equal(targets, y)
    inputs, targets = parted(Two(), (a, b))  # both are needed
    assert len(inputs) == 2
    assert targets is None
    inputs, targets = parted(nets.narrow(), [X])
    assert inputs is X
    assert targets is None
    net = Two()
    expected = archrank.score(net, (a, b), y, proxies="snip")["snip"].value
    for given in ([(a, b, y)], [{"a": a, "b": b, "label": y}], [((a, b), y)]):
        assert archrank.score(net, given, proxies="snip")["snip"].value == expected
        assert archrank.rank([net], given, by="snip").table["snip"][0] == expected


def test_one_input_is_left_whole_where_forward_takes_it() -> None:
    a, b = torch.randn(8, 4), torch.randn(8, 4)
    inputs, targets = parted(Two(), (a, b), is_batch=False)
    assert len(inputs) == 2
    assert targets is None
    assert archrank.score(Two(), (a, b), proxies="params")["params"].value == 50


def test_samples_of_a_data_set_are_drawn_at_random_and_leave_no_trace() -> None:
    state = torch.get_rng_state()
    (x, y), (x2, _) = drawn(TensorDataset(X, Y), 8, 2, seed=3)
    assert not torch.equal(x, X[:8])
    assert all(
        any(torch.equal(one, X[i]) and label == Y[i] for i in range(40))
        for one, label in zip(x, y, strict=True)
    )
    pixels = torch.cat([x, x2])
    assert len(torch.unique(pixels.flatten(1), dim=0)) == 16  # none twice
    again = drawn(TensorDataset(X, Y), 8, 2, seed=3)
    assert torch.equal(again[0][0], x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("wrong", [[], iter(()), 3, object()])
def test_no_data(wrong) -> None:
    with pytest.raises(InputError, match="inputs"):
        archrank.rank(TWINS, wrong, by="params")


def test_an_iterator_that_is_used_up() -> None:
    data = iter([(X, Y)])
    archrank.rank(TWINS, data, by="params")
    with pytest.raises(InputError, match="only once"):
        archrank.rank(TWINS, data, by="params")


def test_samples_that_are_no_tensors() -> None:
    with pytest.raises(InputError, match="transform"):
        archrank.rank(TWINS, _Pictures(), by="params")


class _Pictures:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> object:
        return object()


class _Broken(_Pictures):
    def __getitem__(self, index: int) -> object:
        raise FileNotFoundError("/data/7.png")


class _Ragged(_Pictures):
    def __getitem__(self, index: int) -> object:
        return torch.zeros(3, 4 + index, 4), 0


@pytest.mark.parametrize("workers", [None, 0, 2])
@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (_Broken(), "FileNotFoundError: /data/7.png"),
        (_Ragged(), "RuntimeError: stack expects each tensor to be equal size"),
    ],
)
def test_data_that_cannot_be_read_say_why(samples: Any, said: str, workers: int | None) -> None:
    data = samples if workers is None else DataLoader(samples, 3, num_workers=workers)
    with pytest.raises(InputError, match=f"^inputs: .*{said}"):
        archrank.rank([nn.Identity()], data, by="params")


# --- by name --------------------------------------------------------------------------------------

FILE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
INPUT = (3, 8, 8)
data = TensorDataset(torch.randn(32, 3, 8, 8), torch.arange(32) % 5)
loader = DataLoader(data, 8, shuffle=True)
def make(): return [(torch.ones(4, 3, 8, 8), torch.arange(4))]
def loss(output, targets): return (output.sum(1) - targets).square().mean()
class MyLoss(nn.Module):
    def forward(self, output, targets): return loss(output, targets)
ready = MyLoss()
SIZE = 3
def forgot(): data
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.slow
def test_data_of_a_file(file: Path) -> None:
    net = nets.narrow()
    (x, y), *_ = DataSource(f"{file}:make").batches([], 8, 2, 0)
    expected = archrank.score(net, x, y, proxies="snip")["snip"].value
    assert archrank.rank([net], f"{file}:make", by="snip").table["snip"][0] == expected
    for name in ("data", "loader"):
        (x, _), _ = DataSource(f"{file}:{name}").batches([], 8, 2, 0)
        assert x.shape == (8, 3, 8, 8)
    with pytest.raises(InputError, match="did you mean 'loader'"):
        DataSource(f"{file}:load").batches([], 8, 2, 0)


def test_a_loader_that_returns_nothing(file: Path) -> None:
    with pytest.raises(InputError, match="forgot returns None"):
        DataSource(f"{file}:forgot").batches([], 4, 1, 0)


@pytest.mark.parametrize("name", ["loss", "MyLoss", "ready"])
def test_loss_of_a_file(file: Path, name: str) -> None:
    net = nets.narrow()

    def mine(output: Tensor, targets: Tensor) -> Tensor:
        return (output.sum(1) - targets).square().mean()

    expected = archrank.score(net, X, Y, "snip", mine)["snip"].value
    assert archrank.rank([net], X, Y, "snip", loss=f"{file}:{name}").table["snip"][0] == expected
    loss = pickle.loads(pickle.dumps(named_loss(f"{file}:{name}")))
    assert loss(X.flatten(1), Y) == mine(X.flatten(1), Y)
    before = _digest(loss)
    assert before == _digest(named_loss(f"{file}:{name}")) is not None


def test_no_such_loss(file: Path) -> None:
    for wrong, said in (("SIZE", "expected a function"), ("los", "did you mean 'loss'")):
        with pytest.raises(InputError, match=said):
            named_loss(f"{file}:{wrong}")
    with pytest.raises(InputError, match="mse"):
        named_loss("mse")


def test_embedded_images() -> None:
    first, second = DataSource("digits").batches([(1, 8, 8), None], 16, 2, 0)
    assert first[0].shape == (16, 1, 8, 8)
    assert not torch.equal(first[0], second[0])
    assert DataSource("digits", (3, 32, 32)).batches([(1, 8, 8)], 4, 1, 0)[0][0].shape[1:] == (
        *(3, 32, 32),
    )
    with pytest.raises(InputError, match="one shape for all"):
        DataSource("digits").batches([(1, 8, 8), (3, 8, 8)], 4, 1, 0)
    with pytest.raises(InputError, match="did you mean 'digits'"):
        DataSource("Digits").batches([], 4, 1, 0)
    ranking = archrank.rank(collect([nets.narrow]), DataSource("digits", (3, 8, 8)), by="snip")
    assert ranking.failures.empty


def test_folders_that_need_a_word(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "Val"):
        (tmp_path / part / "cat").mkdir(parents=True)
        for i in range(3):
            image.new("RGB", (5, 5), (40 * i, 0, 0)).save(tmp_path / part / "cat" / f"{i}.png")
    with pytest.raises(InputError, match="holds Val and train, which are parts of a data set"):
        DataSource(str(tmp_path)).batches([], 2, 1, 0)
    with pytest.warns(ArchrankWarning, match="holds 3 images, fewer than a batch of 8"):
        ((x, y),) = DataSource(str(tmp_path / "train")).batches([], 8, 1, 0)
    assert (len(x), y.tolist()) == (3, [0, 0, 0])
    with pytest.warns(ArchrankWarning, match="has no folders of classes"):
        DataSource(str(tmp_path / "train" / "cat")).batches([], 2, 1, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_deep_images_keep_their_values(dtype: type, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    most = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    values = np.random.default_rng(0).random((4, 6, 6))
    for i, one in enumerate(values):
        image.fromarray((one * most).astype(dtype)).save(tmp_path / f"{i}.tif")
    with pytest.warns(ArchrankWarning):
        (x,) = DataSource(str(tmp_path), (3, 6, 6)).batches([], 4, 1, 0)
    assert torch.equal(x[:, 0], x[:, 2])
    expected = (values - values.mean()) / values.std(ddof=1)
    assert np.allclose(np.sort(x[:, 0].ravel()), np.sort(expected.ravel()), atol=0.03)


def test_a_folder_of_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for i in range(6):
            level = 60 if name == "cat" else 200
            pixels = random.integers(level - 20, level + 20, (10, 12, 3), dtype=np.uint8)
            image.fromarray(pixels).save(tmp_path / "classes" / name / f"{i}.png")
    (x, y), (x2, _) = DataSource(str(tmp_path / "classes"), (3, 8, 8)).batches([], 5, 2, 0)
    assert x.shape == x2.shape == (5, 3, 8, 8)
    both = torch.cat([x, x2])
    assert both.mean((0, 2, 3)).abs().max() < 1e-4
    bright = x.mean((1, 2, 3)) > 0
    assert torch.equal(bright.long(), y)  # cats are dark
    with pytest.warns(ArchrankWarning, match="no folders of classes"):
        grey = DataSource(str(tmp_path / "classes" / "cat"), (1, 8, 8)).batches([], 4, 2, 0)
    assert [tuple(g.shape) for g in grey] == [(4, 1, 8, 8), (2, 1, 8, 8)]
    (tmp_path / "classes" / "cat" / "9.png").write_text("no image")
    with pytest.warns(ArchrankWarning), pytest.raises(InputError, match=r"9\.png"):
        DataSource(str(tmp_path / "classes"), (3, 8, 8)).batches([], 50, 1, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        DataSource(str(tmp_path / "empty")).batches([], 5, 2, 0)
