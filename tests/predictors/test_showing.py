"""What predictors look like, and what names they are asked to predict."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.base import clone

import archrank
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import ArchRank, Ridge, Vote
from archrank.predictors.fitting import without_codes
from archrank.predictors.predicting import predict

NETWORK = """
from torch import nn

INPUT = (1, 8, 8)

def mine() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

def other() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(scope="module")
def digits() -> tuple[list[str], list[float]]:
    home = space("digits")
    archs = home.sample(8, seed=0)
    return archs, [float(home.graph(arch).params) for arch in archs]


def test_repr_says_the_state(digits: tuple[list[str], list[float]]) -> None:
    assert repr(Ridge(space="digits")) == "Ridge(space='digits')"
    fitted = Ridge(space="digits").fit(*digits)
    assert repr(fitted) == "Ridge(space='digits'): fitted to 8 labels"
    assert repr(clone(fitted)) == "Ridge(space='digits')"
    assert repr(archrank.load_predictor()).endswith("pretrained, without labels")


def test_a_notebook_shows_members_and_their_weights(digits: tuple[list[str], list[float]]) -> None:
    fitted = ArchRank(members={"a <b>": Vote(("statistics",))}, space="digits").fit(*digits)
    html = fitted._repr_mimebundle_()["text/html"]
    assert html == fitted._repr_html_()
    assert "fitted to 8 labels, tau" in html
    assert "<td>a &lt;b&gt;</td><td>1.00</td>" in html
    assert "not fitted" in ArchRank()._repr_html_()


def test_a_predictor_of_a_space_predicts_networks_of_files_too(
    digits: tuple[list[str], list[float]], tmp_path: Path
) -> None:
    path = tmp_path / "models.py"
    path.write_text(NETWORK)
    predictor = Ridge(("statistics",), space="digits")
    predictor.fit(without_codes(predictor, digits[0]), digits[1])
    told: list[str] = []
    table = predict(
        predictor, [digits[0][0], str(path)], progress=lambda done, total, name: told.append(name)
    )
    assert set(table["name"]) == {f"digits:{digits[0][0]}", "mine", "other"}
    assert table["predicted"].notna().all()
    assert len(told) == 3
    alone = predict(predictor, digits[0][:1])["predicted"][0]
    joint = table.set_index("name")["predicted"][f"digits:{digits[0][0]}"]
    assert joint == pytest.approx(alone)


def test_a_predictor_of_codes_says_what_it_lacks(digits: tuple[list[str], list[float]]) -> None:
    fitted = Ridge(("code",), space="digits").fit(*digits)
    with pytest.raises(InputError, match=r"got none.*fitted to.*--portable"):
        fitted.predict([space("digits").graph(digits[0][0])])
