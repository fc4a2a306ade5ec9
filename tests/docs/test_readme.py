"""The README is a front door: it is short, and what it tells to type works."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from test_docs import ROOT, blocks
from typer.testing import CliRunner

from archrank.cli.app import app

LONGEST = 220
LINES = [
    line
    for block in blocks("README.md", "sh")
    for line in block.splitlines()
    if line.startswith("archrank ")
]


def test_it_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST


@pytest.mark.slow
def test_shell_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for line in LINES:
        done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
        assert "Traceback" not in done.output
    for made in ("ranking.csv", "lenet.svg", "run.sqlite", "run.html"):
        assert (tmp_path / made).is_file()


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"`\[(\w+)\]`", (ROOT / "README.md").read_text())
    assert {*named} == {*project["optional-dependencies"]} - {"test"}


def described(repository: str | None) -> str:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text: str = module.description((ROOT / "README.md").read_text(), repository)
    return text


def test_a_package_index_shows_no_broken_link() -> None:
    relative = re.compile(r"\]\((?!https?:|#)")
    assert relative.search((ROOT / "README.md").read_text())
    assert not relative.search(described(None))
    there = described("https://host.example/archrank")
    assert not relative.search(there)
    assert "](https://host.example/archrank/blob/main/docs/ranking.md)" in there
    assert "](https://host.example/archrank/raw/main/docs/pictures/demo.png)" in there
