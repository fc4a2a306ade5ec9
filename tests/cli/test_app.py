"""The command, mostly through its real entry point."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import archrank
from archrank.cli.app import app
from archrank.cli.rank import _show

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
BROKEN = MODELS + "\ndef broken() -> nn.Module: raise RuntimeError('cannot be built')\n"
NAN = (
    MODELS
    + "\ndef spoilt():\n    m = net(5)\n    m[0].weight.data.fill_(float('nan'))\n    return m\n"
)


NOISY = MODELS.replace("def small():", "print('noise')\ndef small(): print('noise');")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "archrank.cli.app", *words]
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
    models.write_text(NOISY)
    words = ["rank", "models.py", "--by", "params,snip", "--batch", "8", "--out", "table.csv"]
    done = run(*words, "--plot", "picture.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("large") < done.stdout.index("small")
    assert "1/2" in done.stderr
    assert "2/2" in done.stderr
    assert "noise" in done.stderr
    assert "noise" not in done.stdout
    assert pd.read_csv(tmp_path / "table.csv")["name"].tolist() == ["large", "small"]
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_errors_from_the_shell_are_no_tracebacks(tmp_path: Path) -> None:
    done = run("rank", "missing.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: candidates: there is no file 'missing.py'")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet(models: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m archrank.cli.app proxies | head -1; exit ${{PIPESTATUS[0]}}"
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


@pytest.mark.slow
def test_what_models_print_in_processes_does_not_mix_with_results(
    models: Path, tmp_path: Path
) -> None:
    models.write_text(NOISY)
    words = ["rank", "models.py", "--by", "snip", "--batch", "8", "--json", "--jobs", "2"]
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2/2" in done.stderr
    assert {row["name"] for row in json.loads(done.stdout)["table"]} == {"large", "small"}
    assert "noise" in done.stderr


def test_the_piped_table_fits_80_columns(models: Path) -> None:
    name = "a_name_with_23_letters_"
    models.write_text(MODELS.replace("small", name))
    result = invoke("rank", models, "--batch", 8, "--seeds", 2)
    assert result.exit_code == 0
    assert name in result.stdout
    table = result.stdout.splitlines()[:3]  # below: what does not apply, and why
    assert max(map(len, table)) <= 80
    assert "activations" not in result.stdout
    assert "activations" in invoke("rank", models, "--by", "params, activations").stdout


def test_neighbours_that_cannot_be_told_apart_are_marked(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranking = archrank.rank(["models.py"], (3, 8, 8), by="params")
    for chance, marked in ((0.6, True), (0.9, False), (float("nan"), False)):
        ranking.table.loc[1, "above"] = chance
        _show(ranking)
        printed = capsys.readouterr().out
        assert ("~2" in printed) == ("chance below 75%" in printed) == marked


def test_long_names_and_reasons_stay_on_one_line(models: Path) -> None:
    name, reason = "n" * 120, "[bold]" + "r" * 120
    models.write_text(MODELS + f"\ndef {name}() -> nn.Module: raise RuntimeError('{reason}')\n")
    result = invoke("rank", models, "--by", "params")
    assert f"{name}: error: RuntimeError: {reason}\n" in result.stdout


@pytest.mark.parametrize(("text", "who"), [(BROKEN, "broken"), (NAN, "spoilt")])
def test_some_failing_is_one(models: Path, text: str, who: str) -> None:
    models.write_text(text)
    result = invoke("rank", models, "--by", "snip", "--batch", 8)
    assert result.exit_code == 1
    assert who in result.stdout
    assert "large" in result.stdout


def test_a_proxy_that_does_not_apply_is_told_of(models: Path) -> None:
    result = invoke("rank", models, "--by", "snip,az_progressivity", "--batch", 8)
    assert "large: az_progressivity: not applicable" in result.stdout
    assert result.exit_code == 0
    assert invoke("rank", models, "--by", "az_progressivity", "--batch", 8).exit_code == 1


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
    assert "1/2" not in result.stderr  # found before the work


def test_graph(models: Path, tmp_path: Path) -> None:
    result = invoke("graph", f"{models}:small", "--draw", "out.svg", "--save", "small.graph")
    assert result.exit_code == 0
    assert "conv2d" in result.stdout
    assert (tmp_path / "out.svg").read_text().startswith("<svg")
    again = invoke("graph", "small.graph", "--json")
    facts = json.loads(again.stdout)
    assert facts["params"] == 4 * 27 + 4 + 8 + 4 * 5 + 5
    assert facts["hash"] in result.stdout


@pytest.mark.parametrize("command", ["graph", "score"])
def test_one_model_that_cannot_be_built(models: Path, command: str) -> None:
    models.write_text(BROKEN)
    result = invoke(command, f"{models}:broken")
    assert result.exit_code == 1
    assert "error: MODEL: 'broken' cannot be built (RuntimeError: cannot be built)" in result.stderr


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
    assert [f["name"] for f in facts["proxies"]] == [p.name for p in archrank.proxies.list()]
    assert "az_nas" in [f["name"] for f in facts["populations"]]
    shown = invoke("proxies").stdout
    assert "gradsign" in shown
    assert "swap_regular[mu=30.0,sigma=40.0]" in shown


@pytest.mark.slow
def test_an_interrupt_is_130(models: Path, tmp_path: Path) -> None:
    models.write_text(MODELS + "\ndef endless():\n    print('waiting')\n    while True: pass\n")
    command = [sys.executable, "-m", "archrank.cli.app", "rank", "models.py:endless"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # a shell that runs tests in the background lets them ignore interrupts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate()[1]
    assert process.returncode == 130


def test_a_terminal_gets_a_table_and_a_bar(models: Path, tmp_path: Path) -> None:
    import pty

    main, secondary = pty.openpty()
    words = [sys.executable, "-m", "archrank.cli.app", "rank", "models.py", "--by", "snip,params"]
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


def test_labels_of_trained_candidates_and_whom_to_train_next(models: Path) -> None:
    widths = "\n".join(f"def n{width}(): return net({width})" for width in (6, 8, 16, 24))
    models.write_text(MODELS + widths)
    Path("results.csv").write_text("name,accuracy\nsmall,70\nn8,76\nmodels.py:n24,84\n")
    first = invoke("rank", models, "--by", "params", "--labels", "results.csv", "--top", 2)
    assert first.exit_code == 0
    assert "because" in first.stdout
    assert "n24" not in first.stdout  # trained already
    table = json.loads(
        invoke("rank", models, "--by", "params", "--labels", "results.csv", "--json").stdout
    )["table"]
    assert {row["name"]: row["measured"] for row in table}["n24"] == 84
    assert table[0]["name"] == "n24"
    assert all(60 < row["score"] < 95 for row in table)
    names = [row["name"] for row in table]
    lines = "".join(f"{name},{i},{80 + i}\n" for i, name in enumerate(names))
    Path("results.csv").write_text(f"name,seed,accuracy\n{lines}")
    words = ("rank", models, "--by", "params", "--labels", "results.csv", "--column", "accuracy")
    done = invoke(*words, "--top", 2)
    assert done.exit_code == 0
    assert "nothing is left to train" in done.stderr
    assert json.loads(invoke(*words, "--json").stdout)["table"][0]["measured"] == 79 + len(names)
    Path("results.csv").write_text("name,accuracy\nsmal,70\n")
    wrong = invoke("rank", models, "--by", "params", "--labels", "results.csv")
    assert wrong.exit_code == 2
    assert "did you mean 'small'" in wrong.stderr
