"""The package as a user gets it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import archrank

ROOT = Path(archrank.__file__).resolve().parent
EXTRAS = ("data", "onnx", "optuna", "plots", "pymoo", "ray", "zoo")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_is_free() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'scipy', 'networkx', 'torch_geometric', 'matplotlib'}"
    code = f"import sys, archrank; print(sorted({heavy} & set(sys.modules)))"
    assert python(code) == "[]"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['archrank', '--help']\n"
        "from archrank.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    assert python(code).endswith("False")


@pytest.mark.slow
def test_scoring_does_not_import_optional_packages() -> None:
    code = (
        "import sys, torch, archrank\n"
        "archrank.score(torch.nn.Linear(4, 2), (4,), proxies='snip,gradsign')\n"
        "print(sorted({'matplotlib', 'igraph', 'timm', 'torchvision', 'torch_geometric'}"
        " & set(sys.modules)))"
    )
    assert python(code) == "[]"


def test_public_names_exist() -> None:
    for name in archrank.__all__:
        assert getattr(archrank, name) is not None
        assert name in dir(archrank)
    with pytest.raises(AttributeError, match="no attribute 'rnak'"):
        archrank.rnak  # noqa: B018


def test_every_room_is_packaged() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    rooms = {
        "archrank." + str(p.parent.relative_to(ROOT)).replace("/", ".")
        for p in ROOT.glob("*/**/__init__.py")
        if not p.relative_to(ROOT).parts[0].startswith((".", "build", "examples"))
    }
    assert set(packages) == {"archrank", *rooms}


@pytest.mark.slow
def test_every_package_that_is_imported_is_asked_for() -> None:
    # One that comes with another extra alone would be missing on a user's machine.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][name] for name in EXTRAS]
    asked = {_spelled(wish) for wish in sum(extras, project["dependencies"])}
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    owners = packages_distributions()
    unknown = {
        module
        for room in rooms
        for path in (ROOT / room.removeprefix("archrank").strip(".").replace(".", "/")).glob("*.py")
        if path.name != "setup.py"  # it lies in the package's folder, and is no part of it
        for module in _imported(path) - sys.stdlib_module_names - {"archrank"}
        if not asked & {_spelled(name) for name in owners.get(module, ())}
    }
    assert unknown == set()


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _spelled(requirement: str) -> str:
    return re.split(r"[\s;<>=!~\[]", requirement)[0].lower().replace("_", "-")


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(tmp_path) -> None:
    # From a copy, so that nothing of an earlier build comes along.
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "demo", "__pycache__")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=left_out)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, source]
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "__init__.py",
        "cli/app.py",
        "py.typed",
        "graphs/graph.py",
        "proxies/registry.py",
    ):
        assert f"archrank/{wanted}" in names
    outside = [n for n in names if not n.startswith(("archrank/", "archrank-"))]
    assert outside == []
    assert not [n for n in names if "test" in n or "experiments" in n or "examples" in n]


@pytest.mark.slow
def test_importing_a_name_on_first_use_draws_no_random_number() -> None:
    """In a process of its own, since what is imported once draws nothing the second time."""
    code = (
        "import random, archrank\n"
        "before = random.getstate()\n"
        "archrank.rank, archrank.load_predictor, archrank.search, archrank.costs.measure\n"
        "print(random.getstate() == before)"
    )
    assert python(code) == "True"
