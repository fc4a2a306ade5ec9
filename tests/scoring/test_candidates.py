"""Where candidates come from."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import pytest
import tiny_networks as nets
import torch
from torch import nn

import archrank
from archrank.errors import InputError, MissingExtraError
from archrank.scoring.candidates import Candidate, collect

FILE = """
import torch
from torch import nn
from torch.nn import Linear

INPUT = (4,)
WIDTH = 3
ready = nn.Linear(4, 2)

def small(): return nn.Linear(4, 2)
def sized(width=7): return nn.Linear(4, width)
def needs_an_argument(width): return nn.Linear(4, width)
def _hidden(): return nn.Linear(4, 2)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x): return self.layer(x)

class NeedsAnArgument(nn.Module):
    def __init__(self, width): super().__init__()
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "my models.py"
    path.write_text(FILE)
    return path


def names(candidates) -> list[str]:
    return [c.name for c in collect(candidates)]


def test_modules_and_callables() -> None:
    net = nets.wide()
    found = collect([net, nets.narrow, nets.Tiny, partial(nets.Tiny, 5), lambda: nets.wide()])
    assert [c.name for c in found[:3]] == ["Tiny", "narrow", "Tiny-2"]
    assert len({c.name for c in found}) == 5
    assert found[0].build() is net
    assert not found[0].rebuilds
    assert found[3].build().head.in_features == 5


def test_one_of_anything() -> None:
    assert names(nets.narrow) == ["narrow"]
    assert names(nets.wide()) == ["Tiny"]
    assert names(Candidate("mine", nets.wide)) == ["mine"]
    assert names({"a": nets.wide, "b": nets.wide()}) == ["a", "b"]
    assert names(c for c in (nets.wide, nets.narrow)) == ["wide", "narrow"]


def test_a_file(models: Path) -> None:
    found = collect(str(models))
    assert [c.name for c in found] == ["ready", "small", "sized", "Net"]
    assert {c.inputs for c in found} == {(4,)}
    assert [c.rebuilds for c in found] == [False, True, True, True]
    ranking = archrank.rank(models, by="params")
    assert ranking.best == "sized"
    assert ranking.failures.empty


def test_one_of_a_file(models: Path) -> None:
    assert names(f"{models}:Net") == ["Net"]
    assert isinstance(collect(f"{models}:sized")[0].build(), nn.Linear)


def test_candidates_of_files_travel_by_name(models: Path) -> None:
    candidate = pickle.loads(pickle.dumps(collect(f"{models}:Net")[0]))
    assert candidate.build()(torch.zeros(1, 4)).shape == (1, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def broken(:\n", r"line 1.*SyntaxError"),
        ("x = 1\nraise ValueError('on import')\n", r"line 2.*ValueError: on import"),
        ("import no_such_package\n", r"line 1.*ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("x = 3\n", "has no candidates"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        collect(str(path))
    assert "bad.py" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("missing.py", "no file 'missing.py'"),
        ("models.txt", "expected a Python file"),
        ("hub:resnet18", "expected a Python file"),
        (3, "got int"),
        ([], "got none"),
        ({}, "got none"),
    ],
)
def test_what_is_no_candidate(spec, said: str) -> None:
    with pytest.raises(InputError, match=said):
        collect(spec)


def test_a_wrong_name_gets_the_closest(models: Path) -> None:
    with pytest.raises(InputError, match="small"):
        collect(f"{models}:smal")
    with pytest.raises(InputError, match="no module and no callable"):
        collect(f"{models}:WIDTH")


def test_a_missing_zoo_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archrank\[zoo\]'") as caught:
        collect("timm:resnet18")
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), MissingExtraError)


def zoo(name: str):
    try:
        return __import__(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported here: {error}")


def test_timm() -> None:
    zoo("timm")
    assert names("timm:resnet18") == ["timm:resnet18"]
    assert len(names("timm:mobilenetv3_small_0*")) >= 2
    with pytest.raises(InputError, match="resnet18"):
        collect("timm:resnet_18")
    ranking = archrank.rank(["timm:resnet18", "timm:test_vit"], by="params")
    assert ranking.table["params"].tolist()[0] == 11_689_512
    assert ranking.failures.empty


def test_torchvision() -> None:
    zoo("torchvision")
    assert "torchvision:resnet18" in names("torchvision:*")
    assert not [n for n in names("torchvision:*") if "fcos" in n or "deeplab" in n]
    ranking = archrank.rank("torchvision:squeezenet1_*", by="params,flops")
    assert ranking.table["name"].tolist() == [
        "torchvision:squeezenet1_0",
        "torchvision:squeezenet1_1",
    ]
    assert collect("torchvision:inception_v3")[0].inputs == (3, 299, 299)  # 224 does not fit it


def test_architectures_of_a_space() -> None:
    plain, other = collect(["hiaml:z-z-a22-l20", "nats_sss@cifar100:8:8:8:8:8"])
    assert plain.name == "hiaml:z-z-a22-l20"
    assert plain.inputs == other.inputs == (3, 32, 32)
    assert other.build()(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert pickle.loads(pickle.dumps(plain)).build is not None
    with pytest.raises(InputError, match=r"position 2 of 'z-zz'"):
        collect("hiaml:z-zz")
    with pytest.raises(InputError, match="task: got 'mnist'"):
        collect("hiaml@mnist:z-z-z-z")
    with pytest.raises(InputError, match="an architecture of a space"):
        collect("himal:z-z-z-z")
