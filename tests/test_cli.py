"""The command, mostly through its real entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import archrank
from archrank.cli import app

MODELS = """
import torch
from torch import nn

INPUT = (3, 8, 8)

def net(width):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))

def small(): return net(4)
def large(): return net(12)
"""
BROKEN = MODELS + "\ndef broken(): raise RuntimeError('cannot be built')\n"
NAN = (
    MODELS
    + "\ndef spoilt():\n    m = net(5)\n    m[0].weight.data.fill_(float('nan'))\n    return m\n"
)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "archrank.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def invoke(*words: str):
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_help_and_version() -> None:
    script = Path(sys.executable).with_name("archrank")
    for words in (["--help"], ["rank", "--help"], ["--version"]):
        done = subprocess.run([script, *words], capture_output=True, text=True)
        assert done.returncode == 0
        assert "archrank" in done.stdout
    assert archrank.__version__ in done.stdout


def test_rank_from_the_shell(models: Path, tmp_path: Path) -> None:
    words = ["rank", "models.py", "--by", "params,snip", "--batch", "8", "--out", "table.csv"]
    done = run(*words, "--plot", "picture.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("large") < done.stdout.index("small")
    assert "1/2" in done.stderr
    assert "2/2" in done.stderr
    assert pd.read_csv(tmp_path / "table.csv")["name"].tolist() == ["large", "small"]
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_errors_from_the_shell_are_no_tracebacks(tmp_path: Path) -> None:
    done = run("rank", "missing.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: candidates: there is no file 'missing.py'")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet(models: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m archrank.cli proxies | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "params" in done.stdout


def test_json_is_all_that_is_printed(models: Path) -> None:
    result = invoke("rank", models, "--by", "snip|params", "--seeds", 2, "--batch", 8, "--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["by"] == ["snip|params"]
    assert {row["name"] for row in record["table"]} == {"large", "small"}
    assert "snip|params std" in record["table"][0]


@pytest.mark.parametrize(("text", "who"), [(BROKEN, "broken"), (NAN, "spoilt")])
def test_some_failing_is_one(models: Path, text: str, who: str) -> None:
    models.write_text(text)
    result = invoke("rank", models, "--by", "snip", "--batch", 8)
    assert result.exit_code == 1
    assert who in result.stdout
    assert "large" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "snipp"], "snip"),
        (["--input", "3,a"], "--input"),
        (["--input", "3,0,8"], "--input"),
        (["--combine", "best"], "combine"),
        (["--device", "warp"], "device"),
        (["--out", "nowhere/table.csv"], "--out"),
        (["--plot", "nowhere/picture.png"], "--plot"),
        (["--out", "."], "--out"),
    ],
)
def test_wrong_usage_is_two(models: Path, words: list[str], said: str) -> None:
    result = invoke("rank", models, *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--seeds", "x"], ["--nonsense"]])
def test_wrong_options_are_two(models: Path, words: list[str]) -> None:
    assert invoke("rank", models, *words).exit_code == 2


def test_an_unwritable_place_is_found_before_the_work(models: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    result = invoke("rank", models, "--out", folder / "table.csv")
    assert result.exit_code == 2
    assert "1/2" not in result.stderr


def test_a_picture_of_an_unknown_kind(models: Path) -> None:
    result = invoke("rank", models, "--by", "params", "--plot", "picture.xyz")
    assert result.exit_code == 2
    assert "--plot" in result.stderr


def test_graph(models: Path, tmp_path: Path) -> None:
    result = invoke("graph", f"{models}:small", "--draw", "out.svg", "--save", "small.graph")
    assert result.exit_code == 0
    assert "conv2d" in result.stdout
    assert (tmp_path / "out.svg").read_text().startswith("<svg")
    again = invoke("graph", "small.graph", "--json")
    facts = json.loads(again.stdout)
    assert facts["params"] == 4 * 27 + 4 + 8 + 4 * 5 + 5
    assert facts["hash"] in result.stdout


def test_graph_wants_one_model(models: Path) -> None:
    result = invoke("graph", models)
    assert result.exit_code == 2
    assert "models.py:name" in result.stderr


def test_score(models: Path) -> None:
    result = invoke("score", f"{models}:small", "--by", "params,snip", "--batch", 8, "--json")
    assert result.exit_code == 0
    found = {entry["name"]: entry for entry in json.loads(result.stdout)["scores"]}
    assert found["params"]["value"] == 4 * 27 + 4 + 8 + 4 * 5 + 5
    assert found["snip"]["status"] == "ok"
    same = invoke("score", f"{models}:small", "--by", "snip", "--batch", 8)
    assert f"{found['snip']['value']:.6g}" in same.stdout


def test_score_says_what_fails(models: Path) -> None:
    models.write_text(NAN)
    result = invoke("score", f"{models}:spoilt", "--by", "snip", "--batch", 8)
    assert result.exit_code == 1
    assert "0.weight" in result.stdout


def test_proxies() -> None:
    facts = json.loads(invoke("proxies", "--json").stdout)
    assert [f["name"] for f in facts] == [p.name for p in archrank.proxies.list()]
    assert "gradsign" in invoke("proxies").stdout


@pytest.mark.slow
def test_processes(models: Path, tmp_path: Path) -> None:
    done = run("rank", "models.py", "--by", "snip", "--jobs", "2", "--batch", "8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr


def test_a_terminal_gets_a_table_and_a_bar(models: Path, tmp_path: Path) -> None:
    import pty

    main, secondary = pty.openpty()
    words = [sys.executable, "-m", "archrank.cli", "rank", "models.py", "--by", "snip,params"]
    process = subprocess.Popen(
        [*words, "--batch", "8"], cwd=tmp_path, stdout=secondary, stderr=secondary, stdin=secondary
    )
    os.close(secondary)
    seen = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:  # the process has closed its end
            break
        if not chunk:
            break
        seen += chunk
    assert process.wait() == 0
    assert b"large" in seen
    assert b"\x1b[" in seen
    assert b"Traceback" not in seen
