"""A type checker catches wrong names in a user's code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import archrank

GOOD = """
import archrank
from archrank.predictors import Ridge

ranking = archrank.rank(["models.py"], (3, 8, 8), by="params", combine="vote", engine="ray")
frame = ranking.to_frame()
mean, std = Ridge().predict([], return_std=True)
only = Ridge().predict([])
total: float = only.sum()
"""
BAD = """
import archrank
from archrank.predictors import Ridge

archrank.rank(["models.py"], combine="mean")  # wrong
archrank.rank(["models.py"], engine="dask")  # wrong
archrank.rank(["models.py"], batch=3)  # wrong
Ridge().predict([], return_std=True).sum()  # wrong
archrank.rnak(["models.py"])  # wrong
"""
CONFIG = """
[mypy]
ignore_missing_imports = True
follow_imports = silent
[mypy-torch.*,torchgen.*,sympy.*,sklearn.*,scipy.*,networkx.*,pandas.*,transformers.*,ray.*,optuna.*]
follow_imports = skip
"""
"""Libraries that no line of these is about; reading torch alone takes half a minute."""


@pytest.mark.slow
def test_wrong_names_are_caught(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    package = tmp_path / "packages" / "archrank"
    package.parent.mkdir()
    package.symlink_to(Path(archrank.__file__).parent)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "good.py", "bad.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(package.parent), "PATH": ""},
        capture_output=True,
        text=True,
    )
    found = {int(line) for line in re.findall(r"^bad\.py:(\d+): error", done.stdout, re.MULTILINE)}
    expected = {i for i, line in enumerate(BAD.splitlines(), 1) if "# wrong" in line}
    assert found == expected, done.stdout
    assert "good.py" not in done.stdout
