"""What the package says of itself is so."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml

import archrank
from archrank.errors import MissingExtraError

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
USED = ("data", "optuna", "plots", "pymoo", "ray", "zoo")


def test_version_is_one() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == archrank.__version__ == cited["version"]
    assert cited["license"] == PROJECT["license"]
    assert cited["authors"] == PROJECT["authors"]
    assert f"[{archrank.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_lists_every_raised_version_of_a_proxy() -> None:
    listed: dict[str, int] = {}
    for line in (ROOT / "CHANGELOG.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[1].isdigit():
            for name in re.findall(r"`([\w@-]+)`", cells[0]):
                assert int(cells[1]) == listed.get(name, 1) + 1, f"{name} misses a version"
                listed[name] = int(cells[1])
    versions = {p.name: p.version for p in archrank.proxies.list(variants=True)}
    assert listed == {name: version for name, version in versions.items() if version > 1}


def test_pythons_are_those_that_are_allowed() -> None:
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    least = PROJECT["requires-python"].removeprefix(">=")
    assert least in named
    assert min(named, key=lambda v: int(v.partition(".")[2])) == least


def test_every_lowest_version_is_stated() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lowest.py", *USED], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    stated = dict(line.split("==") for line in done.stdout.split())
    assert stated["scikit-learn"] == "1.6"  # 1.5 has no tags as the predictors state them
    assert {"torch", "numpy", "pandas", "typer"} <= set(stated)


def test_hints_about_extras_work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pip install 'archrank[zoo]'" in str(MissingExtraError("this", "timm", "zoo"))

    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", unknown)
    assert str(MissingExtraError("this", "timm", "zoo")).endswith("pip install timm")


def test_the_index_page_neither_links_nor_points_at_what_it_lacks() -> None:
    spec = importlib.util.spec_from_file_location("archrank_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (ROOT / "README.md").read_text()
    page = module.description(readme, None)
    targets = re.findall(r"\]\(([^)]*)\)", page)
    headings = [f"#{line[3:].lower()}" for line in page.splitlines() if line.startswith("## ")]
    assert all(one.startswith("http") or one in headings for one in targets)
    assert "(left)" not in page
    with_home = module.description(readme, "https://example.org/archrank/")
    assert "](https://example.org/archrank/blob/main/docs/concepts.md)" in with_home
    assert "](https://example.org/archrank/raw/main/docs/pictures/demo.png)" in with_home
