"""The shell around the commands: help, completion, quiet runs, defaults of a project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import archrank
from archrank.cli.app import app, main
from archrank.cli.shared.options import Combine, EngineName, Level
from archrank.ranking.aggregation import COMBINATIONS
from archrank.ranking.criteria import LEVELS
from archrank.scoring.engine import ENGINES

MODELS = """
from torch import nn
INPUT = (3, 8, 8)
def small() -> nn.Module: return nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
def large() -> nn.Module: return nn.Sequential(nn.Flatten(), nn.Linear(192, 50))
def net(width): return nn.Sequential(nn.Flatten(), nn.Linear(192, width))
criterion = nn.CrossEntropyLoss()
"""


def commands(group: Any = None, prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = command
    return found


COMMANDS = commands()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


def invoke(*words: object):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_sentences_with_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert command.epilog.startswith(f"Example: {'eval' if name == 'completion' else 'archrank'}")
    assert f"archrank {name}" in command.epilog
    words = {word for word in command.epilog.split() if word.startswith("--")}
    assert words <= {option for p in command.params for option in p.opts}
    for text in (command.help, *(p.help for p in command.params)):
        assert re.match(r"[A-Z].*\.$", text, re.DOTALL), text
    shown = invoke(*name.split(), "-h")
    assert shown.exit_code == 0
    assert "Example:" in shown.stdout
    assert shown.stdout == invoke(*name.split(), "--help").stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_closed_sets_are_those_of_the_package() -> None:
    assert Combine.__args__ == COMBINATIONS
    assert EngineName.__args__ == ENGINES
    assert Level.__args__ == LEVELS


def test_one_wrong_option_is_one_message(models: Path) -> None:
    for words in (["--combine", "mean"], ["--seedz", "3"], ["--batch", "0"]):
        result = invoke("rank", "models.py", *words)
        assert result.exit_code == 2
        assert result.stderr.count("rror: ") == 1
        assert words[0] in result.stderr


def test_as_a_module_and_quickly() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "archrank", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Usage: archrank" in done.stdout
    for heavy in ("torch", "numpy", "pandas", "scipy"):
        assert not re.search(rf"\| +{heavy}$", done.stderr, re.MULTILINE)


def test_quiet(models: Path) -> None:
    loud = invoke("rank", "models.py", "--by", "params")
    assert "1/2" in loud.stderr
    assert "left out net (it needs width), criterion (a loss)" in loud.stderr
    quiet = invoke("rank", "models.py", "--by", "params", "--quiet")
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout == invoke("rank", "models.py", "--by=params", "-q").stdout


def test_data_and_loss(models: Path) -> None:
    (models / "mine.py").write_text(
        "import torch\n"
        "data = [(torch.ones(4, 3, 8, 8), torch.arange(4))]\n"
        "def loss(output, targets): return output.square().mean()\n"
    )
    words = ["--by", "snip", "--json"]
    options = ["--data", "mine.py:data", "--loss", "mine.py:loss"]
    ranked = json.loads(invoke("rank", "models.py:small", *words, *options).stdout)
    scored = json.loads(invoke("score", "models.py:small", *words, *options).stdout)
    other = json.loads(invoke("score", "models.py:small", *words).stdout)
    value = scored["scores"][0]["value"]
    assert ranked["table"][0]["snip"] == pytest.approx(value)
    assert other["scores"][0]["value"] != pytest.approx(value)
    digits = invoke("score", "models.py:small", "--data", "digits", *words)
    assert json.loads(digits.stdout)["scores"][0]["status"] != "ok"  # 10 classes, 5 outputs
    wrong = invoke("rank", "models.py", "--data", "digit")
    assert wrong.exit_code == 2
    assert "did you mean 'digits'" in wrong.stderr


# --- completion -----------------------------------------------------------------------------------

ASKED = {
    "bash": {"COMP_WORDS": "archrank rank --comb", "COMP_CWORD": "2"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "archrank rank --comb"},
    "fish": {
        "_TYPER_COMPLETE_ARGS": "archrank rank --comb",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}


@pytest.mark.parametrize("shell", ASKED)
def test_completion(shell: str) -> None:
    script = invoke("completion", shell)
    assert script.exit_code == 0
    assert f"complete_{shell}" in script.stdout
    command = [sys.executable, "-m", "archrank"]
    variables = {"_ARCHRANK_COMPLETE": f"complete_{shell}", **ASKED[shell]}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert "--combine" in done.stdout
    assert done.stderr == ""


def test_bash_takes_the_script() -> None:
    script = invoke("completion", "bash").stdout
    done = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p archrank"], capture_output=True, text=True
    )
    assert done.stdout.startswith("complete")


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs the shell {name}")
    return found


@pytest.fixture
def path_with_archrank(tmp_path: Path) -> dict[str, str]:
    command = tmp_path / "archrank"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m archrank "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def test_fish_completes(tmp_path: Path, path_with_archrank: dict[str, str]) -> None:
    script = tmp_path / "archrank.fish"
    script.write_text(invoke("completion", "fish").stdout)
    asked = f"source {script}; complete -C 'archrank rank --comb'; complete -C 'archrank meas'"
    done = subprocess.run(
        [shell("fish"), "-c", asked], capture_output=True, text=True, env=path_with_archrank
    )
    assert done.returncode == 0
    combine, measure = (line.split("\t")[0] for line in done.stdout.splitlines())
    assert (combine, measure) == ("--combine", "measure")


def test_zsh_takes_the_script(tmp_path: Path, path_with_archrank: dict[str, str]) -> None:
    script = invoke("completion", "zsh").stdout
    asked = (
        f"autoload -Uz compinit && compinit -u -D\n{script}\n"
        'echo $_comps[archrank]; _describe() {}; _arguments() { print -r -- "$@" }\n'
        "words=(archrank rank --comb); CURRENT=3; _archrank_completion"
    )
    done = subprocess.run(
        [shell("zsh"), "-f", "-c", asked], capture_output=True, text=True, env=path_with_archrank
    )
    registered, completed = done.stdout.split("\n", 1)
    assert registered == "_archrank_completion"
    assert "--combine" in completed
    assert done.stderr == ""


# --- defaults of a project ------------------------------------------------------------------------


def test_defaults_of_a_project(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "pyproject.toml").write_text(
        '[tool.archrank]\nbatch = 4\ndevice = "cpu"\n'
        '[tool.archrank.rank]\nby = ["params", "flops"]\nmax-params = "1k"\n'
    )
    (models / "deeper").mkdir()
    (models / "models.py").rename(models / "deeper" / "models.py")
    monkeypatch.chdir(models / "deeper")
    found = json.loads(invoke("rank", "models.py", "--json").stdout)
    assert found["by"] == ["params", "flops"]
    assert [row["name"] for row in found["table"]] == ["small"]
    given = json.loads(invoke("rank", "models.py", "--json", "--by", "flops").stdout)
    assert given["by"] == ["flops"]  # the command line has the last word


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.archrank]\nbach = 4", "did you mean 'batch'"),
        ("[tool.archrank.rnak]\nby = 'params'", "did you mean 'archrank.rank'"),
        ("[tool.archrank.rank]\nfrnot = 'flops'", "did you mean 'front'"),
        ("[tool.archrank\n", "cannot be read"),
        ("[tool]\narchrank = 3", "tool.archrank is 3, expected a table"),
        ("[tool.archrank.data]\njson = true", "expected nothing there"),
    ],
)
def test_wrong_defaults(models: Path, text: str, said: str) -> None:
    (models / "pyproject.toml").write_text(text)
    result = invoke("rank", "models.py", "--by", "params")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "pyproject.toml" in result.stderr
    assert archrank.__version__ in invoke("--version").stdout  # in spite of it


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("jobs = 'two'", "jobs in pyproject.toml: got 'two', expected a whole number"),
        ("store = 3", "store in pyproject.toml: got 3, expected a path"),
        (
            "combine = 'mean'",
            "combine in pyproject.toml: got 'mean', did you mean 'mean_rank'? "
            "expected one of mean_rank, log_rank, vote",
        ),
    ],
)
def test_a_wrong_value_of_a_project_names_its_file(
    models: Path,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (models / "pyproject.toml").write_text(f"[tool.archrank.rank]\n{value}\n")
    monkeypatch.setattr(sys, "argv", ["archrank", "rank", "models.py", "--by", "params"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[0] == f"error: {said}"


def test_other_projects_are_left_alone(models: Path) -> None:
    (models / "pyproject.toml").write_text("[project]\nname = 'other'\n[tool.ruff]\nx = 1\n")
    assert invoke("rank", "models.py", "--by", "params").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rank m.py --seeds 0", "--seeds: got '0', expected at least 1"),
        ("rank m.py --seeds many", "--seeds: got 'many', expected a whole number"),
        ("rank m.py --confidence high", "--confidence: got 'high', expected a number"),
        (
            "rank m.py --combine mean",
            "--combine: got 'mean', did you mean 'mean_rank'? "
            "expected one of mean_rank, log_rank, vote",
        ),
        ("completion tcsh", "SHELL: got 'tcsh', expected one of bash, zsh, fish"),
        ("data fetch --timeout 0 digits", "--timeout: got '0', expected at least 1"),
        (
            "fit --out x",
            "--labels is missing; for example: archrank fit --labels results.csv --out model",
        ),
        (
            "rank m.py --devicespeed i7",
            "archrank rank has no option --devicespeed; did you mean --device-speed?",
        ),
        (
            "rank m.py --speed i7",
            "archrank rank has no option --speed; did you mean --device-speed?",
        ),
        (
            "rank m.py --proxies params",
            "archrank rank has no option --proxies; did you mean --by?",
        ),
        ("rank m.py --zzz", "archrank rank has no option --zzz"),
        (
            "data fecth digits",
            "'fecth' is no command, did you mean 'fetch'? "
            "expected one of list, fetch, import, verify",
        ),
        ("m.py --by params", "'m.py' is no command; did you mean archrank rank m.py?"),
        (
            "report a.sqlite b.sqlite",
            "archrank report: 'b.sqlite' is too much; "
            "for example: archrank report run.sqlite --out run.html",
        ),
    ],
)
def test_wrong_options_are_named_in_one_line(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["archrank", *words.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"error: {said}"
    assert re.fullmatch("help: archrank(| .*) -h", second)


@pytest.mark.parametrize(
    ("words", "said"),
    [("rank m.py --by", "a value is missing"), ("rank m.py --json=yes", "it takes no value")],
)
def test_values_that_are_missing_or_too_much_are_named(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["archrank", *words.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    option = words.split()[-1].partition("=")[0]
    assert capsys.readouterr().err == f"error: {option}: {said}\n"


def test_a_command_that_ends_well_or_not_says_so_in_its_exit_code(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, code in [("--version", 0), ("graph models.py:small", 0), ("graph none.py", 2)]:
        monkeypatch.setattr(sys, "argv", ["archrank", *words.split()])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert (stopped.value.code or 0) == code


def test_summaries_of_commands_are_whole(models: Path) -> None:
    listed = invoke("-h").stdout + invoke("data", "-h").stdout
    assert "..." not in listed.replace("[ARGS]...", "")


def test_a_store_without_a_place_is_refused_before_work(models: Path) -> None:
    for words in (["rank", "models.py"], ["benchmark", "--space", "digits"]):
        result = invoke(*words, "--store", models)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: --store: ")


def test_many_candidates_beyond_a_limit_take_one_line(models: Path) -> None:
    sizes = "\n".join(
        f"def n{w}() -> nn.Module: return nn.Sequential(nn.Flatten(), nn.Linear(192, {w}))"
        for w in range(10, 16)
    )
    (models / "many.py").write_text(MODELS + sizes)
    result = invoke("rank", "many.py", "--by", "params", "--max-params", 1000)
    assert (
        "7 left out: params above 1000: large 9650, n10 1930, n11 2123 and 4 more" in result.stdout
    )
    few = invoke("rank", "models.py", "--by", "params", "--max-params", 1000)
    assert "large: left out: params 9650 is more than 1000" in few.stdout


def test_the_default_score_has_a_meaning(models: Path) -> None:
    line = "score: the predicted label in standard deviations of labels"
    assert line in invoke("rank", "models.py", "--level", "graphs").stdout
    assert line not in invoke("rank", "models.py", "--by", "params").stdout


@pytest.mark.parametrize(
    ("words", "option", "text"),
    [
        (("rank", "models.py"), "--max-memory", "lots"),
        (("rank", "models.py"), "--max-train-memory", "-1GB"),
        (("costs", "models.py"), "--memory", "GB"),
    ],
)
def test_amounts_of_memory_are_explained(
    models: Path, words: tuple[str, ...], option: str, text: str
) -> None:
    result = invoke(*words, f"{option}={text}")
    assert result.exit_code == 2
    wanted = f"error: {option}: got {text!r}, expected an amount of memory, as 24GB or 500MB\n"
    assert result.stderr == wanted


def test_memory_takes_units(models: Path) -> None:
    """A forward pass of the small network needs kilobytes, of the large one a few more."""
    words = ("rank", "models.py", "--by", "params", "--json", "--max-memory")
    same = [json.loads(invoke(*words, text).stdout)["table"] for text in ("1", "1MB", "0.001GB")]
    names = [[row["name"] for row in table] for table in same]
    assert names == [["large", "small"]] * 3


def test_scores_are_aligned_under_their_headings(models: Path) -> None:
    lines = invoke("score", "models.py:small", "--by", "params,snip", "--batch", 4).stdout
    heading, *rows = lines.splitlines()
    assert heading.split() == ["proxy", "value", "seconds", "MB", "status"]
    place = heading.index("status")
    assert [row[place:] for row in rows] == ["ok", "ok"]
    assert {row[place - 1] for row in rows} == {" "}
