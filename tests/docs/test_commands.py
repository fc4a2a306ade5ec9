"""The commands of the pages work as they are written, in their order, in a fresh folder."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_docs import PAGES, ROOT, commands
from typer.testing import CliRunner

from archrank.cli.app import EXAMPLES, app
from archrank.data import space

MODELS = """
from torch import nn

INPUT = (3, 32, 32)

def narrow() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )

def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3),
                         nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

def wide() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))

def flat() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))
"""
DATA = """
import torch
from torch.utils.data import DataLoader, TensorDataset

images, labels = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
loader = DataLoader(TensorDataset(images, labels), 16, shuffle=True)

def loss(output, targets):
    return torch.nn.functional.cross_entropy(output, targets, label_smoothing=0.1)
"""
SMALLER = {
    "--sample": "12", "--networks": "4", "--wirings": "6", "--seeds": "2", "--batch": "4",
    "--batch-sizes": "1,2", "--seconds": "0.02", "--epochs": "1",
}  # fmt: skip
"""Sizes that take minutes or hours as they are written."""
SMALL = {"measure": ["--seconds"], "pretrain": ["--epochs"], "rank": ["--batch"]}
"""Which of them a command takes where a page leaves it at its default."""
NOT_HERE = {
    "fetch": "needs the network",
    "import": "needs files that were downloaded",
    "--address": "needs a Ray cluster",
    "--recipe": "takes hours",
    "cuda": "needs a GPU",
    "cifar10": "needs its images",
    "several/": "needs measurements of several devices",
    "timm": "needs timm, beside a torchvision that fits",
}
NEED_TABLES = ("--space nasbench201 --task", "verify nasbench201")
_EXAMPLES = [shlex.split(example)[1:] for example in EXAMPLES.values()]
_TOGETHER = [page for page in PAGES if commands(page) and page != "README.md"]
"""The commands of the README run as they are written, in ``test_readme.py``."""


def _write_images(folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label in range(10):
        (folder / f"class {label}").mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            image.fromarray(pixels).save(folder / f"class {label}" / f"{number}.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", "examples")
    Path("my_models.py").write_text(MODELS)
    Path("my_data.py").write_text(DATA)
    cells = space("nasbench201")
    names = cells.sample(4, seed=0)
    lines = [f'"{name}",{np.log(cells.graph(name).params)}' for name in names]
    _write_images(Path("my_images"))
    Path("results.csv").write_text("name,accuracy\nnarrow,0.71\nnet,0.78\nwide,0.8\n")
    Path("labels.csv").write_text("\n".join(["architecture,accuracy", *lines]))
    Path("candidates.txt").write_text("\n".join(cells.sample(5, seed=1)))
    Path("archs.txt").write_text("\n".join(space("fbnet").sample(6, seed=0)))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", _TOGETHER)
def test_commands_work_in_order(page: str, folder: Path) -> None:
    for words in commands(page):
        text = " ".join(words)
        alone = words in _EXAMPLES  # of the list of options, each for itself
        if alone or any(what in text for what in (*NOT_HERE, *NEED_TABLES)):
            continue
        for option, value in SMALLER.items():
            if option in words:
                words[words.index(option) + 1] = value
        for option in SMALL.get(words[0], ()):
            if option not in words:
                words += [option, SMALLER[option]]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{page}: {text}\n{result.output}\n{result.exception!r}"
        assert "Traceback" not in result.output
