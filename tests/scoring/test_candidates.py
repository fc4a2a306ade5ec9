"""Where candidates come from."""

from __future__ import annotations

import pickle
import re
from functools import partial
from pathlib import Path

import pytest
import tiny_networks as nets
import torch
from torch import nn

import archrank
from archrank.errors import ArchrankWarning, InputError, MissingExtraError
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


TRAINING = """
from __future__ import annotations
import argparse, functools, os
from typing import TYPE_CHECKING
import torch
from torch import nn
from torch.nn import CrossEntropyLoss
from torchvision.models import ResNet
if TYPE_CHECKING:
    from nowhere import Nothing

args = argparse.ArgumentParser().parse_args()
criterion = CrossEntropyLoss()
relu = nn.ReLU()
SIZE = 3

class Focal(nn.Module):
    def forward(self, logits, targets): return (logits - targets).mean()

class MyLoss(nn.Module): pass

class Block(nn.Module):
    def __init__(self, width): super().__init__()

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.layer = nn.Linear(4, width)
    def forward(self, x): return self.layer(x)

def sized(width): return nn.Sequential(nn.Linear(4, width), nn.ReLU())
def annotated() -> nn.Module: return globals()["sized"](3)
def as_text() -> Net: return Net(3)
def through():
    return sized(SIZE)
def local():
    def inner(): return 3
    net = sized(4)
    net.add_module("more", nn.Linear(4, 2))
    return net.eval().to("cpu")
def either(): return Net() if SIZE > 2 else ready
ready = Net(5)
short = lambda: Net(7)
bound = functools.partial(Net, width=9)
def unknown_hint() -> Nothing: return Net(8)

def write(): open("ran", "w").write("ran")
def main(): write()
def train() -> nn.Module:
    write()
    return Net()
def loss(): return CrossEntropyLoss()
def number() -> int: write()
def unclear(): return globals()["sized"](3)
def wrapped(): return [Net()][0]
def endless(): return endless()
async def later(): return Net()
def several():
    yield Net()
"""
CHOSEN = "Net annotated as_text through local either ready short bound unknown_hint".split()
SAID = {
    "criterion": "a loss",
    "relu": "no weights",
    "Focal": "a loss",
    "MyLoss": "a loss",
    "Block": "needs width",
    "sized": "needs width",
    "main": "not known",
    "write": "not known",
    "train": "does more",
    "loss": "not known",
    "unclear": "not known",
    "endless": "not known",
}


def test_a_training_script_gives_its_networks_and_runs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["archrank", "rank", "train.py", "--by", "params"])
    Path("train.py").write_text(TRAINING.replace("from torchvision.models import ResNet", ""))
    with pytest.warns(ArchrankWarning, match=r"train\.py: left out") as told:
        found = collect("train.py")
    assert [c.name for c in found] == CHOSEN
    said = str(told[0].message)
    for name, why in SAID.items():
        assert re.search(rf"{name} \([^)]*{why}", said), (name, said)
    assert "CANDIDATES" in said
    assert all(isinstance(c.built(), nn.Module) for c in found)
    assert not Path("ran").exists()
    assert len(collect("train.py:train")) == 1  # asked for by name, it is taken
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "listing",
    [
        "CANDIDATES = [Net, Net(5), lambda: Net(7)]",
        "CANDIDATES = {'Net': Net, 'five': Net(5), 'seven': lambda: Net(7)}",
        "def candidates(): return {f'width {w}': functools.partial(Net, w) for w in (2, 5, 7)}",
    ],
)
def test_a_file_may_list_its_candidates(tmp_path: Path, listing: str) -> None:
    path = tmp_path / "listing.py"
    text = TRAINING.replace("args =", "#").replace("from torchvision.models import ResNet", "")
    path.write_text(f"{text}\nINPUT = (4,)\n{listing}\n")
    found = collect(str(path))
    assert len(found) == 3
    assert {c.inputs for c in found} == {(4,)}
    again = [pickle.loads(pickle.dumps(c)) for c in found]
    assert [c.built().layer.out_features for c in again] == [2, 5, 7]
    assert len({c.identity for c in found}) == 3
    assert archrank.rank(path, by="params").table["params"].tolist() == [35, 25, 10]


def test_what_cannot_run_alone_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "lightning.py"
    file.write_text(
        "from abc import abstractmethod, ABC\nfrom torch import nn\n"
        "class Trained(nn.Module):\n    def training_step(self, batch): ...\n"
        "class Abstract(nn.Module, ABC):\n"
        "    def forward(self, x): return self.body(x)\n"
        "    @abstractmethod\n    def body(self, x): ...\n"
        "class Net(Abstract, Trained):\n    def body(self, x): return x\n"
    )
    with pytest.warns(ArchrankWarning, match=r"Trained .it has no forward., Abstract .it is a"):
        assert [one.name for one in collect(str(file))] == ["Net"]


def test_a_network_with_its_loss_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "pairs.py"
    file.write_text("from torch import nn\ndef pair(): return nn.ReLU(), nn.MSELoss()\n")
    (one,) = collect(f"{file}:pair")
    with pytest.raises(InputError, match=r"built a tuple, .*; return the network alone"):
        one.built()


def test_a_file_that_ends_the_program_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(InputError, match=r"line 2: SystemExit: 3; .* below if __name__"):
        collect(str(file))


def test_a_file_named_as_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "big.py").touch()
    monkeypatch.chdir(tmp_path)
    for given, meant in (("nets.big:Big", "nets/big.py:Big"), ("nets/big", "nets/big.py")):
        with pytest.raises(InputError, match=re.escape(f"did you mean {meant!r}?")):
            collect(given)


def test_a_list_may_name_others(tmp_path: Path) -> None:
    path = tmp_path / "listing.py"
    path.write_text("CANDIDATES = ['hiaml:z-z-a22-l20', 'digits:cnn-w16-d2']\n")
    with pytest.raises(InputError, match="digits"):
        collect(str(path))
    path.write_text("CANDIDATES = ['hiaml:z-z-a22-l20']\n")
    assert collect(str(path))[0].inputs == (3, 32, 32)
    path.write_text("CANDIDATES = []\n")
    with pytest.raises(InputError, match="none"):
        collect(str(path))


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
    with pytest.raises(InputError, match="neither a module nor a callable"):
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


def test_arguments_of_a_zoo() -> None:
    zoo("timm")
    (one,) = collect("timm:resnet18[num_classes=10,in_chans=1]")
    assert one.name == "timm:resnet18[num_classes=10,in_chans=1]"
    model = pickle.loads(pickle.dumps(one)).built()
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 10)
    assert one.inputs_for(model) == (1, 224, 224)
    assert one.identity != collect("timm:resnet18")[0].identity
    assert names("timm:resnet1[08]") == ["timm:resnet10t", "timm:resnet18"] or names(
        "timm:resnet1[08]"
    ) == ["timm:resnet18"]
    for wrong in ("[num_classes=10", "[num_classes=ten]", "[a=1,,]", "[10,a=1]"):
        with pytest.raises(InputError, match=r"resnet18\[num_classes=10\]"):
            collect(f"timm:resnet18{wrong}")


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("timm:ResNet18", "timm:resnet18"),
        ("resnet18", "timm:resnet18"),
        ("TIMM:resnet18", "timm:resnet18"),
        ("NASBench201:|x|", "nasbench201:|x|"),
    ],
)
def test_what_was_meant(spec: str, meant: str) -> None:
    zoo("timm")
    with pytest.raises(InputError, match="did you mean") as caught:
        collect(spec)
    assert f"'{meant}'" in str(caught.value)


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
