"""The README says what is so: its code runs, its commands exist, its tables are current."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import archrank
from archrank.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(x, comments=True)[1:] for x in lines if x.startswith("archrank ")]


@pytest.fixture(scope="module")
def readme_tables() -> ModuleType:
    path = ROOT / "experiments" / "readme_tables.py"
    spec = importlib.util.spec_from_file_location("readme_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "readme"}
    assert blocks("python")
    for block in blocks("python"):
        exec(block, namespace)
    assert (tmp_path / "ranking.csv").is_file()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_exist(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert words[0] in group.commands
    known = {name for p in group.commands[words[0]].params for name in p.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_tables_are_current(readme_tables: ModuleType) -> None:
    assert readme_tables.filled(README) == README, "run python experiments/readme_tables.py"


@pytest.mark.parametrize("name", [proxy.name for proxy in archrank.proxies.list()])
def test_every_proxy_has_a_row(name: str) -> None:
    assert f"\n| `{name}` |" in README
