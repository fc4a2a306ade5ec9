"""The house stays in order: imports point down, without circles, and nothing grows too large."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAVES = (
    "basics",
    "errors",
    "files",
    "formats",
    "lazy",
    "metrics",
    "plugins",
    "progress",
    "version",
    "vision",
)
ORDER = (
    *("graphs", "proxies", "data", "scoring", "predictors"),
    *("costs", "ranking", "search", "benchmark", "cli"),
)
"""Each room may import the leaves and the rooms before it; data does without proxies."""
MOST_FILES, MOST_LINES, LONGEST = 15, 500, 60
ONE_EACH = {"experiments"}
"""Folders that list one script for each page of results, however many there are."""


def modules() -> dict[str, Path]:
    """Name below the package -> file, of every room and leaf."""
    files = [ROOT / f"{leaf}.py" for leaf in LEAVES]
    files += [file for room in ORDER for file in sorted((ROOT / room).rglob("*.py"))]
    found = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(name: str, only_on_import: bool = False) -> Iterator[str]:
    """Return the modules of the package that a module imports, wherever it does."""
    file = MODULES[name]
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(file.read_text())
    nodes = tree.body if only_on_import else list(ast.walk(tree))
    for node in nodes:
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1]
        origin = ".".join([*base, *(node.module.split(".") if node.module else [])])
        for alias in node.names:
            inner = f"{origin}.{alias.name}".strip(".")
            if inner in MODULES:
                yield inner
            elif origin in MODULES:
                yield origin
            else:
                raise AssertionError(f"{name} imports {alias.name} from the page of public names")


def scripts() -> list[str]:
    """Return the files beside the package: tests, experiments, examples and the site's."""
    folders = ("tests", "experiments", "examples", "docs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return sorted(str(file.relative_to(ROOT)) for file in files)


def room_of(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    for other in imports(name):
        if room_of(other) in LEAVES or room_of(other) == room_of(name):
            continue
        assert room_of(name) not in LEAVES, f"the leaf {name} imports {other}"
        assert ORDER.index(room_of(other)) < ORDER.index(room_of(name)), f"{name} imports {other}"
        assert (room_of(name), room_of(other)) != ("data", "proxies")


def test_no_circles() -> None:
    """Of modules that import one another; a room's page of public names is none of its parts."""
    graph = nx.DiGraph(
        (name, other)
        for name in MODULES
        for other in imports(name)
        if MODULES[name].name != "__init__.py" and MODULES[other].name != "__init__.py"
    )
    components = {frozenset(part) for part in nx.strongly_connected_components(graph)}
    assert [sorted(part) for part in components if len(part) > 1] == []


@pytest.mark.parametrize(
    "folder",
    sorted({str(f.parent.relative_to(ROOT)) for f in MODULES.values()} - {"."}),
)
def test_no_room_is_crowded(folder: str) -> None:
    assert len(files_of(folder)) <= MOST_FILES


@pytest.mark.parametrize("folder", sorted({str(Path(f).parent) for f in scripts()} - ONE_EACH))
def test_no_folder_of_scripts_is_crowded(folder: str) -> None:
    assert len(files_of(folder)) <= MOST_FILES


def files_of(folder: str) -> list[str]:
    """Return the names of the modules in a folder."""
    return [file.name for file in (ROOT / folder).glob("*.py") if file.name != "__init__.py"]


def test_every_room_is_in_the_wheel() -> None:
    folders = {file.parent.relative_to(ROOT) for file in MODULES.values()} - {Path()}
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {"archrank", *(f"archrank.{'.'.join(f.parts)}" for f in folders)} == set(listed)


@pytest.mark.parametrize(
    "file", [*(str(f.relative_to(ROOT)) for f in MODULES.values()), *scripts()]
)
def test_nothing_is_too_long(file: str) -> None:
    text = (ROOT / file).read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST, f"{node.name}: {lines} lines"


def test_the_changelog_is_one_page() -> None:
    """It says what the release holds; a merge may bring back lines that were taken out."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.count("\n") <= 150, "take main's CHANGELOG.md, and say in its section what is new"
    assert "### Changed" not in text.split("[0.1.0] - unreleased")[1]
