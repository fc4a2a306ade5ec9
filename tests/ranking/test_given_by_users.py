"""What people pass to ``rank`` and ``score``, and what is said where it cannot be taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_networks as nets
import torch
from torch import nn
from torch.utils.data import Dataset

import archrank
from archrank.costs.measuring import measure
from archrank.errors import InputError
from archrank.scoring.candidates import collect
from archrank.scoring.named_data import DataSource

IMAGES = torch.rand(8, 3, 8, 8)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 5))


def test_containers_of_modules_are_several_candidates() -> None:
    pair = [nn.Linear(2, 3), nn.Linear(2, 4)]
    assert [c.name for c in collect(nn.ModuleList(pair))] == ["Linear", "Linear-2"]
    named = nn.ModuleDict({"a": pair[0], "b": pair[1]})
    assert [(c.name, c.build()) for c in collect(named)] == list(named.items())


@pytest.mark.parametrize(
    ("item", "said"),
    [({"weight": torch.zeros(2)}, "'b' is a state dict"), (3, "'b' is an item of type int")],
)
def test_the_item_that_is_no_candidate_is_named(item: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        collect({"a": nn.ReLU(), "b": item})


def test_shapes_and_counts_may_be_numbers_of_numpy() -> None:
    shape = tuple(np.array([3, 8, 8]))
    assert archrank.trace(small(), shape).hash == archrank.trace(small(), (3, 8, 8)).hash
    ranking = archrank.rank(
        [small], shape, by="params", seeds=np.int64(1), batch_size=np.int32(4), costs="memory"
    )
    assert ranking.table["memory_mb"].notna().all()


@pytest.mark.parametrize("inputs", [(3, 8.0, 8), (3, 0, 8), (3, -1, 8), 4, torch.zeros(0, 3, 8, 8)])
def test_what_is_no_input_of_any_network_is_refused_before_work(inputs: Any) -> None:
    with pytest.raises(InputError, match=r"^inputs: "):
        archrank.rank([nets.raises], inputs, by="params")


def test_an_input_in_a_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("from torch import nn\nINPUT = 4\ndef net() -> nn.Module: return nn.ReLU()\n")
    with pytest.raises(InputError, match="inputs: got 4, expected a shape"):
        archrank.rank(str(path), by="params")


def test_one_image_without_a_batch_gets_a_hint() -> None:
    reason = archrank.rank([nets.wide], IMAGES[0], by="params").failures["reason"][0]
    assert reason.endswith("did you mean inputs[None], one image?")


@pytest.mark.parametrize("by", [None, [], [None], [""], lambda model: 1.0])
def test_what_is_nothing_to_rank_by(by: Any) -> None:
    with pytest.raises(InputError, match=r"^by: got "):
        archrank.rank([small], IMAGES, by=by)


@pytest.mark.parametrize(
    ("targets", "came"),
    [(torch.rand(8), "(8,)"), (torch.arange(8)[:, None], "(8, 1)"), (torch.rand(8, 2), "(8, 2)")],
)
def test_targets_that_cross_entropy_cannot_take(targets: torch.Tensor, came: str) -> None:
    result = archrank.score(small(), IMAGES, targets, proxies="snip")["snip"]
    assert result.status == "unsupported"
    assert came in result.reason
    assert "pass loss=" in result.reason
    shares = torch.eye(5)[torch.arange(8) % 5]
    numbers = archrank.score(small(), IMAGES, torch.arange(8) % 5, proxies="snip")["snip"].value
    assert archrank.score(small(), IMAGES, shares, proxies="snip")["snip"].value == (
        pytest.approx(numbers)
    )


class Named(Dataset):
    """Samples whose classes have names, in the form of a tuple or of a dictionary."""

    def __init__(self, length: int, by_name: bool):
        self.length, self.by_name = length, by_name

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        image, label, path = IMAGES[index], ("cat", "dog")[index % 2], f"{index}.png"
        return {"image": image, "label": label, "path": path} if self.by_name else (image, label)


@pytest.mark.parametrize("by_name", [True, False])
def test_names_of_classes_in_a_data_set_are_refused(by_name: bool) -> None:
    with pytest.raises(InputError, match=r"got names of classes, such as '(cat|dog)'"):
        archrank.rank([small], Named(8, by_name), by="params", batch_size=4)


def test_an_empty_data_set_is_called_so() -> None:
    with pytest.raises(InputError, match="a data set may be empty"):
        archrank.rank([small], Named(0, True), by="params")


def test_tables_of_pandas_are_arrays() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).random((6, 4)))
    net = nn.Linear(4, 3)
    one, other = (
        archrank.score(net, given, torch.arange(6) % 3, proxies="snip")["snip"].value
        for given in (frame, frame.to_numpy())
    )
    assert one == other


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_here_is_named(device: str) -> None:
    for call in (
        lambda: archrank.score(small(), IMAGES, device=device),
        lambda: archrank.rank([small], IMAGES, by="params", device=device),
    ):
        with pytest.raises(InputError, match=f"device: '{device}' cannot be used here"):
            call()


def test_a_path_in_a_file_is_no_data(tmp_path: Path) -> None:
    path = tmp_path / "data.py"
    path.write_text("folder = '/images'\n")
    with pytest.raises(InputError, match="is the text '/images'"):
        DataSource(f"{path}:folder").batches([(3, 8, 8)], 4, 1, 0)


def test_shapes_of_files_may_be_lists() -> None:
    (batch,) = DataSource("random").batches([[3, 8, 8], (3, 8, 8)], 4, 1, 0)
    assert batch[0].shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 1.5}, "seed: got 1.5, expected a whole number of at least 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"limits": ["params"]}, "limits: got ['params'], expected a dict"),
        ({"progress": "yes"}, "progress: got 'yes', expected a function"),
        ({"callback": "log"}, "callback: got 'log', expected a function"),
        ({"loss": 3}, "loss: got 3, expected a function"),
    ],
)
def test_wrong_arguments_are_named_before_the_work(given: dict[str, Any], said: str) -> None:
    def never() -> nn.Module:
        raise AssertionError("built")

    with pytest.raises(InputError, match=re.escape(said)):
        archrank.rank([never], (3, 8, 8), by="snip", **given)


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    ranking = archrank.rank([nets.narrow], (3, 8, 8), by="params")
    with pytest.raises(InputError, match=r"path: .*jpeg2.* cannot be written"):
        ranking.plot(tmp_path / "x.jpeg2")


@pytest.mark.parametrize(
    "given", [{"seconds": "1"}, {"threads": "1"}, {"batch_sizes": 4}, {"batch_sizes": ("4",)}]
)
def test_wrong_arguments_of_measurements_are_named(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(given))}: got "):
        measure([nets.narrow], (3, 8, 8), device="cpu", **given)


def test_names_of_any_kind_have_room_in_pictures_and_notebooks(tmp_path: Path) -> None:
    names = ["x" * 300, "$math_{x$", "two\nlines\tand a tab", "<script>alert(1)</script>", ""]
    ranking = archrank.rank(dict.fromkeys(names, nets.narrow), (3, 8, 8), by="params")
    figure = ranking.plot(tmp_path / "ranking.png")
    left, _ = figure.axes
    written = [label.get_text().partition("  ")[2] for label in left.get_yticklabels()]
    assert max(map(len, written)) == 40
    assert r"\$math_{x\$" in written
    assert "two lines and a tab" in written
    page = ranking._repr_html_()
    assert "<script>" not in page
    assert "overflow-wrap: anywhere" in page
