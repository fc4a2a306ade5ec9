"""What the package says of itself is so."""

from __future__ import annotations

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
