"""Predictors from and for files and names; the commands that make and use them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import archrank
from archrank.cli.app import app
from archrank.data import space
from archrank.errors import ArchrankWarning, InputError
from archrank.predictors import GraphPredictor, Pretrained, Pretraining, Ridge
from archrank.predictors.checks import small_graphs
from archrank.predictors.fitting import fit
from archrank.predictors.label_files import read_labels, read_names
from archrank.predictors.loading import load_predictor
from archrank.predictors.neural.corpus import graphs_to_learn_from, pretrain
from archrank.predictors.predicting import predict

CELLS = space("nasbench201")
MODELS = """
from torch import nn

INPUT = (3, 8, 8)

def net(width):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width, 5))

def a(): return net(4)
def b(): return net(8)
def c(): return net(12)
def d(): return net(16)
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty cells and a label of each: log FLOPs."""
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    archs = CELLS.sample(20, seed=0)
    labels = [float(np.log(CELLS.graph(arch).flops)) for arch in archs]
    pd.DataFrame({"arch": archs, "worst": [-x for x in labels], "label": labels}).to_csv(
        path, index=False
    )
    return path


@pytest.fixture(scope="module")
def folder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the predictor that ``archrank fit`` makes of them."""
    out = tmp_path_factory.mktemp("fitted") / "model"
    words = ("--space", "nasbench201", "--labels", table, "--column", "label", "--out", out)
    said = invoke("fit", *words)
    assert said.exit_code == 0, said.stderr
    assert "fitted to 20 labels" in said.stdout
    assert "boosting on everything" in said.stdout
    return out


@pytest.fixture(scope="module")
def coded(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one that reads the code of a cell, so nothing but cells."""
    out = tmp_path_factory.mktemp("coded") / "model"
    fit(table, "nasbench201", column="label", portable=False).save(out)
    return out


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.slow
def test_predict_from_the_shell(folder: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    archs = CELLS.sample(30, seed=1)
    names.write_text("\n".join(archs) + "\n")
    command = [sys.executable, "-m", "archrank.cli.app", "predict", folder, "--file", names]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert {row["name"] for row in rows} == set(archs)
    assert [row["predicted"] for row in rows] == sorted(
        (r["predicted"] for r in rows), reverse=True
    )
    assert all(row["std"] >= 0 for row in rows)
    truth = [CELLS.graph(row["name"]).flops for row in rows]
    assert archrank.metrics.kendall([row["predicted"] for row in rows], truth) > 0.5


def test_rank_by_a_predictor(folder: Path) -> None:
    archs = [f"nasbench201:{arch}" for arch in CELLS.sample(5, seed=2)]
    ranking = archrank.rank(archs, by=str(folder), batch_size=4)
    assert ranking.failures.empty
    predictor = archrank.load_predictor(folder)
    expected = predict(predictor, [arch.partition(":")[2] for arch in archs])
    assert [name.partition(":")[2] for name in ranking.table["name"]] == expected["name"].tolist()
    both = archrank.rank(archs, by=[str(folder), "params"], batch_size=4, seeds=2)
    assert str(folder) in both.table.columns
    assert both.table["rank"].notna().all()


def test_rank_tells_what_a_predictor_cannot_read(coded: Path) -> None:
    ranking = archrank.rank([small], inputs=(3, 8, 8), by=f"{coded},params", batch_size=4)
    assert "code" in ranking.failures["reason"][0]
    assert ranking.table["rank"].tolist() == [1]


def small():
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def test_candidates_are_fitted_and_predicted_by_name(tmp_path: Path) -> None:
    models = tmp_path / "models.py"
    models.write_text(MODELS)
    labels = tmp_path / "labels.csv"
    rows = [f"{models}:{name},{i}" for i, name in enumerate("abcd")]
    labels.write_text("\n".join(["candidate,accuracy", *rows]))
    out = tmp_path / "model"
    assert invoke("fit", "--labels", labels, "--out", out).exit_code == 0
    result = invoke("predict", out, f"{models}", "--json")
    assert result.exit_code == 0, result.output
    assert [row["name"] for row in json.loads(result.stdout)] == ["d", "c", "b", "a"]


def test_the_table_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    archs = CELLS.sample(3, seed=4)
    assert invoke("predict", folder, *archs, "--out", out).exit_code == 0
    assert pd.read_csv(out)["name"].isin(archs).all()


@pytest.mark.slow
def test_processes_predict_the_same_in_the_same_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archrank.predictors.predicting._WORTH_PROCESSES", 12)
    monkeypatch.setattr("archrank.predictors.predicting._SHARE", 5)
    archs = CELLS.sample(12, seed=1)
    archs += archs[:2]  # a repeated one may begin a share and end another
    told: list[tuple[int, int, str]] = []
    predictor = load_predictor(folder)
    shared = predict(predictor, archs, jobs=2, progress=lambda *said: told.append(said))
    pd.testing.assert_frame_equal(shared, predict(predictor, archs))
    assert told[-1] == (14, 14, "predicted")


def test_other_predictors_are_loaded_too(tmp_path: Path) -> None:
    Ridge().fit(small_graphs(), np.arange(16.0)).save(tmp_path / "ridge")
    assert type(load_predictor(tmp_path / "ridge")) is Ridge
    with pytest.raises(InputError, match=r"no folder 'genape'; .* 'speed', 'gennape'"):
        load_predictor("genape")


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "cannot read"),
            ("arch\nx\n", "1 columns"),
            ("arch,label\n", "0 rows"),
            ("arch,label\nx,high\n", "row 2"),
            ("x,1\ny,high\n", "row 2 of .* 'high'"),
            ("arch,label\nx,\ny,nan\n", "no label"),
            ("arch;label\nx;0,5\ny;0,5%\n", "row 3 of .* '0,5%'"),
        ],
    )
    def test_labels(self, text: str, said: str, tmp_path: Path) -> None:
        path = tmp_path / "labels.csv"
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_labels(path)

    def test_a_column_that_is_not_there(self, table: Path) -> None:
        with pytest.raises(InputError, match="only arch, worst, label"):
            read_labels(table, "accuracy")

    def test_names(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="nowhere"):
            read_names(tmp_path / "nowhere.txt")
        (tmp_path / "names.csv").write_text('arch\n"a,b"\nc\n')
        assert read_names(tmp_path / "names.csv") == ["a,b", "c"]

    def test_the_shell_says_what_is_wrong(self, folder: Path, table: Path, tmp_path: Path) -> None:
        for words, said in (
            (("predict", folder), "CANDIDATES: got none"),
            (("predict", tmp_path / "none", "x"), "no folder"),
            (("predict", folder, "|conv~0|"), "conv"),
            (("fit", "--labels", table, "--out", tmp_path / "new"), "expected a Python file"),
            (("fit", "--labels", table, "--space", "mars", "--out", tmp_path / "new"), "mars"),
        ):
            result = invoke(*words)
            assert result.exit_code == 2
            assert said in result.stderr
        assert not (tmp_path / "new").exists()


class TestPretraining:
    def test_from_the_shell(self, table: Path, tmp_path: Path) -> None:
        (tmp_path / "models.py").write_text(MODELS)
        encoder, model = tmp_path / "encoder", tmp_path / "model"
        words = ("--spaces", "nasbench201,hiaml", "--networks", 9, "--width", 8, "--epochs", 2)
        said = invoke(
            "pretrain", tmp_path / "models.py", *words, "--quiet", "--json", "--out", encoder
        )
        assert said.exit_code == 0, said.stderr
        facts = json.loads(said.stdout)
        assert facts["networks"] == 13
        assert np.isfinite(facts["losses"]).all()
        assert len(facts["losses"]) == 2
        assert not (tmp_path / "encoder.checkpoint").exists()
        assert Pretrained.load(encoder).embed(small_graphs()[:2]).shape == (2, 8)

        labelled = ("--labels", table, "--column", "label", "--space", "nasbench201")
        said = invoke("fit", *labelled, "--pretrained", encoder, "--out", model)
        assert said.exit_code == 0, said.stderr
        assert "fitted to 20 labels" in said.stdout
        fitted = load_predictor(model)
        assert isinstance(fitted, GraphPredictor)
        assert set(predict(fitted, CELLS.sample(3, seed=5))["name"]) == set(CELLS.sample(3, seed=5))

    def test_goes_on_where_it_was_stopped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        graphs = graphs_to_learn_from(["nasbench201"], networks=6)
        way = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=2)
        told: list[str] = []

        def stopped(*arguments: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Pretrained, "save", stopped)
            with pytest.raises(KeyboardInterrupt):
                pretrain(way, graphs, tmp_path / "encoder")
        assert (tmp_path / "encoder.checkpoint").exists()
        done = pretrain(way, graphs, tmp_path / "encoder", lambda at, of, what: told.append(what))
        assert told == []  # both epochs were over
        expected = way.fit(graphs)
        assert done.history_ == expected.history_
        assert not (tmp_path / "encoder.checkpoint").exists()

    def test_parts_of_spaces(self) -> None:
        told: list[tuple[int, int]] = []
        graphs = graphs_to_learn_from(
            ["hiaml", "two_path"], networks=5, progress=lambda at, of, what: told.append((at, of))
        )
        assert told == [(n, 5) for n in range(1, 6)]
        again = graphs_to_learn_from(["hiaml", "two_path"], networks=5)
        assert [g.hash for g in graphs] == [g.hash for g in again]

    def test_wrong_arguments_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="spaces"):
            graphs_to_learn_from()
        with pytest.raises(InputError, match="networks"):
            graphs_to_learn_from(["hiaml"], networks=0)
        (tmp_path / "mine").mkdir()
        with pytest.raises(InputError, match="out"):
            pretrain(Pretraining(), small_graphs(), tmp_path / "mine")
        said = invoke("pretrain", "--spaces", "nowhere", "--out", tmp_path / "e")
        assert said.exit_code == 2
        assert "nowhere" in said.stderr


@pytest.mark.parametrize("command", ["fit", "pretrain", "predict"])
def test_no_place_for_the_result_is_said_before_any_work(
    command: str, table: Path, folder: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file, not a folder")
    out = str(taken / "model")
    given = {
        "fit": ["fit", "--space", "nasbench201", "--labels", str(table), "--out", out],
        "pretrain": ["pretrain", "--spaces", "nasbench201", "--networks", "4", "--out", out],
        "predict": ["predict", str(folder), "--file", str(table), "--out", out],
    }
    result = CliRunner().invoke(app, given[command])
    assert result.exit_code == 2
    assert "error: --out" in result.output
    assert taken.read_text() == "a file, not a folder"


@pytest.mark.parametrize(
    "text",
    [
        "name,accuracy\na,0.5\nb,0.25\n",
        "\ufeffname,accuracy\r\na,0.5\r\nb,0.25\r\n",
        "name;accuracy\na;0,5\nb;0,25\n",
        "name\taccuracy\na\t0.5\nb\t0.25\n",
        " name , accuracy \n a , 0.5 \n b , 0.25\n",
        '"name","test, accuracy"\n"a","0.5"\n"b","0.25"\n',
        "a,0.5\nb,0.25\n",
        "a;0,5\nb;0,25\n",
        "name,accuracy\na,.5%\nb,.25 %\n",
    ],
)
def test_labels_as_people_and_spreadsheets_write_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode())
    assert read_labels(tmp_path / "labels.csv") == (["a", "b"], [0.5, 0.25])


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("arch,accuracy\na,0.5\nb,\nc,nan\nd, \n")
    with pytest.warns(ArchrankWarning, match="3 of the 4 rows of .* have no label"):
        assert read_labels(tmp_path / "labels.csv") == (["a"], [0.5])


def test_the_column_is_said_where_there_are_several(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "labels.csv").write_text("name,seed,accuracy\na,0,0.5\n")
    with caplog.at_level(logging.INFO, "archrank"):
        assert read_labels(tmp_path / "labels.csv")[1] == [0.0]
        assert read_labels(tmp_path / "labels.csv", "accuracy")[1] == [0.5]
    assert caplog.messages == ["labels: those of the column 'seed'; --column names another one"]


def test_a_portable_predictor_judges_what_is_not_of_its_space(
    folder: Path, coded: Path, tmp_path: Path
) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    ranking = archrank.rank(tmp_path / "models.py", by=str(folder))
    assert ranking.failures.empty
    assert ranking.table["score"].notna().all()
    assert np.isfinite(load_predictor(folder).predict(CELLS.sample(3, seed=5))).all()

    ranking = archrank.rank(tmp_path / "models.py", by=str(coded))
    assert ranking.table["score"].isna().all()
    assert len(ranking.failures) == 4
    said = [line for line in str(ranking).splitlines() if "--portable" in line]
    assert len(said) == 1
    assert said[0].startswith("a, b, c and 1 more: ")
