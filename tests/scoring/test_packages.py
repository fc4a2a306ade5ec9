"""Candidates in packages, and by the names that files list them under."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from torch import nn

from archrank.errors import InputError
from archrank.scoring.candidates import collect

BLOCK = """
from torch import nn
def block(inner, outer): return nn.Sequential(nn.Conv2d(inner, outer, 3), nn.ReLU())
"""
NETS = """
from torch import nn
from .parts.blocks import block
class Narrow(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(block(3, width), nn.Flatten(), nn.LazyLinear(2))
    def forward(self, x): return self.layers(x)
class Wide(Narrow):
    def __init__(self): super().__init__(8)
"""
LISTED = """
from torch import nn
INPUT = (3, 8, 8)
def candidates():
    for width in (4, 8):
        yield f"width {width}", lambda width=width: nn.Conv2d(3, width, 3)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "zoo of mine" / "hourly_nets"
    (package / "parts").mkdir(parents=True)
    (package / "parts" / "__init__.py").touch()
    (package / "parts" / "blocks.py").write_text(BLOCK)
    (package / "nets.py").write_text(NETS)
    (package / "__init__.py").write_text(
        "from torch.nn import Linear\nfrom .nets import Narrow, Wide\n"
    )
    (tmp_path / "listed.py").write_text(LISTED)
    return package


def test_a_package_gives_what_it_offers(folder: Path) -> None:
    found = collect(str(folder))
    assert [c.name for c in found] == ["Narrow", "Wide"]
    again = pickle.loads(pickle.dumps(found[1]))
    (convolution, *_) = (m for m in again.build().modules() if isinstance(m, nn.Conv2d))
    assert convolution.out_channels == 8
    assert [c.name for c in collect(f"{folder}:Narrow")] == ["Narrow"]


def test_a_file_of_a_package_may_import_its_neighbours_relatively(folder: Path) -> None:
    assert [c.name for c in collect(str(folder / "nets.py"))] == ["Narrow", "Wide"]


def test_a_relative_import_outside_of_a_package_is_explained(folder: Path) -> None:
    (folder / "__init__.py").unlink()
    with pytest.raises(InputError, match=r"put an empty __init__.py into '.*hourly_nets'"):
        collect(str(folder / "nets.py"))
    with pytest.raises(InputError, match=r"which is a folder without __init__.py"):
        collect(str(folder))


def test_pairs_have_names(folder: Path) -> None:
    pairs = [("small", nn.Linear(2, 2)), ("mine", str(folder))]
    assert [c.name for c in collect(pairs)] == ["small", "mine/Narrow", "mine/Wide"]
    assert [c.name for c in collect(dict(pairs))] == ["small", "mine/Narrow", "mine/Wide"]


def test_what_a_file_lists_can_be_named(folder: Path) -> None:
    assert [c.name for c in collect("listed.py")] == ["width 4", "width 8"]
    (one,) = collect("listed.py:width 8")
    assert one.build().out_channels == 8
    assert one.inputs == (3, 8, 8)
    with pytest.raises(InputError, match=r"has no 'width 9'; .*it lists width 4, width 8"):
        collect("listed.py:width 9")
