"""The pages say what is so: their code runs, their commands, links and tables are right.

A page is found by itself: whatever lies in ``docs/``, the README and CONTRIBUTING.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer

import archrank
from archrank.cli.app import app
from archrank.cli.shared.completion_and_defaults import defaults
from archrank.proxies import Measure, register, unregister
from archrank.proxies.registry import total_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
}
SLOW = {"docs/ray_tune.md"}


def blocks(page: str, language: str) -> list[str]:
    """Return the code of a language on a page, block by block."""
    text = PAGES[page].read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """Return the words of every call of archrank on a page, without the first."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("archrank ")]


WITH_CODE = [
    pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
    for page in PAGES
    if blocks(page, "python")
]
COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


# --- code -----------------------------------------------------------------------------------------


def own_loop(made: dict[str, Any]) -> None:
    assert made["best"] in made["digits"]
    assert Path("state.jsonl").read_text().count('"tell"') == 8
    assert len(made["best_of_many"]) == 3


def optuna(made: dict[str, Any]) -> None:
    assert len(made["study"].trials) == 4


def pymoo(made: dict[str, Any]) -> None:
    assert made["result"].X is not None


def ray_tune(made: dict[str, Any]) -> None:
    assert len(made["results"]) == 2
    assert not made["results"].errors


def readme(made: dict[str, Any]) -> None:
    assert Path("ranking.csv").is_file()
    assert made["predictor"].score(made["asked"], made["accuracy"][made["asked"]]) > 0


CLAIMS: dict[str, Callable[[dict[str, Any]], None]] = {
    "docs/own_loop.md": own_loop,
    "docs/optuna.md": optuna,
    "docs/pymoo.md": pymoo,
    "docs/ray_tune.md": ray_tune,
    "README.md": readme,
}
"""What must hold after the code of a page has run, beside that it runs."""


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE)
def test_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each of Ray's trials starts a process, which takes seconds.
    code = [block.replace("num_samples=4", "num_samples=2") for block in blocks(page, "python")]
    for package in imported("\n".join(code)):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # As of a script: Ray sends such functions to its workers whole.
    made: dict[str, Any] = {"__name__": "__main__", "STORAGE": str(tmp_path)}
    for block in code:
        exec(compile(block, page, "exec"), made)
    CLAIMS.get(page, dict.__len__)(made)


def imported(code: str) -> set[str]:
    """Return the packages that code imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(w)}" for page, w in COMMANDS]
)
def test_commands_are_right(page: str, words: list[str]) -> None:
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, "commands"), f"{page}: {words[0]} is no command"
    context = command.make_context("archrank", list(words))  # fails on any option that is wrong
    assert context.params


def test_defaults_are_right(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    commands = typer.main.get_command(app).commands
    shown = [block for page in PAGES for block in blocks(page, "toml")]
    assert shown
    for block in shown:
        file.write_text(block)
        assert any(defaults(file, commands).values())


def test_make_targets_exist() -> None:
    asked = {
        target
        for page in PAGES
        for target in re.findall(r"`make (\w+)`|^make (\w+)", PAGES[page].read_text(), re.MULTILINE)
    }
    known = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {name for found in asked for name in found if name} <= {*known}


# --- tables and links -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    path = ROOT / "experiments" / "document_tables.py"
    spec = importlib.util.spec_from_file_location("document_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_current(page: str, tables: ModuleType) -> None:
    text = PAGES[page].read_text()
    assert tables.filled(text) == text, "run python experiments/document_tables.py"


def test_every_table_has_its_place(tables: ModuleType) -> None:
    found = [mark for path in PAGES.values() for mark in tables.marks(path.read_text())]
    assert sorted(found) == sorted(tables.TABLES)


@pytest.mark.parametrize("name", [proxy.name for proxy in archrank.proxies.list()])
def test_every_proxy_has_a_row(name: str) -> None:
    assert f"\n| `{name}` |" in PAGES["docs/proxies.md"].read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", PAGES[page].read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    missing = [link for link in links if not (PAGES[page].parent / link).exists()]
    assert not missing


def test_every_room_has_a_page_of_reference() -> None:
    pages = "\n".join(PAGES[page].read_text() for page in PAGES if "/reference/" in page)
    rooms = [name for name in archrank.__all__ if isinstance(getattr(archrank, name), ModuleType)]
    missing = [room for room in rooms if not re.search(rf"^::: archrank\.{room}\b", pages, re.M)]
    assert not missing


def test_files_named_in_contributing_exist() -> None:
    named = re.findall(r"`([a-z_]+/[a-z_\d/.]+)`", PAGES["CONTRIBUTING.md"].read_text())
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]


def test_docstrings_are_markdown() -> None:
    role = re.compile(r":(?:func|class|meth|mod|attr|data|exc):`")
    sources = [
        path
        for room in (*archrank.__all__, "cli", "ranking", "scoring")
        for path in (ROOT / room).rglob("*.py")
    ]
    assert sources
    assert not [path for path in sources if role.search(path.read_text())], "write plain ``code``"


def test_the_proxy_of_contributing_works() -> None:
    text = PAGES["CONTRIBUTING.md"].read_text()
    (code,) = re.findall(r"^ *```py\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    given = {"torch": torch, "Tensor": torch.Tensor, "Measure": Measure}
    made: dict[str, Any] = {**given, "register": register, "total_of": total_of}
    exec(textwrap.dedent(code), made)
    try:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
        found = archrank.score(model, x, y, proxies="weight_gradient_cosine")
        torch.nn.functional.cross_entropy(model(x), y).backward()
        cosine = torch.nn.functional.cosine_similarity
        expected = cosine(model.weight.detach().flatten(), model.weight.grad.flatten(), 0)
        assert found["weight_gradient_cosine"].value == pytest.approx(float(expected), rel=1e-5)
    finally:
        unregister("weight_gradient_cosine")
