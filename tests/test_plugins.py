"""Proxies and spaces of other packages are found, and broken ones do no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import archrank
from archrank.data import register_space, space, spaces
from archrank.data.spaces.mobile.nasbench_macro import NASBenchMacro
from archrank.errors import InputError

EXAMPLE = Path(archrank.__file__).parent / "examples" / "plugin"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Make a folder that holds the example as pip would install it."""
    if not EXAMPLE.is_dir():
        pytest.skip("the examples are not beside the package")
    (tmp_path / "archrank_example").symlink_to(EXAMPLE / "archrank_example")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    facts = tmp_path / "archrank_example-0.1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: archrank-example\nVersion: 0.1\n")
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (facts / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "archrank", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places},
    )


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_example_works(installed: Path, jobs: str) -> None:
    words = ["widths:8-8-8", "widths:32-32-32", "--by", "weight_spread,params", "--json"]
    done = run(installed, "rank", *words, "--jobs", jobs)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)["table"]
    assert [row["name"] for row in table] == ["widths:32-32-32", "widths:8-8-8"]
    assert table[1]["params"] == 64 * 8 + 8 + 2 * (8 * 8 + 8) + 8 * 10 + 10
    assert table[0]["weight_spread"] > table[1]["weight_spread"] > 0


@pytest.mark.slow
def test_the_example_is_listed_and_says_what_is_wrong(installed: Path) -> None:
    listed = run(installed, "proxies").stdout
    assert "weight_spread: Sum over layers" in listed
    wrong = run(installed, "rank", "widths:8-8-9")
    assert wrong.returncode == 2
    assert "expected three of (8, 16, 32)" in wrong.stderr


@pytest.mark.slow
def test_a_broken_package_is_told_of_and_left_out(installed: Path) -> None:
    (facts,) = installed.glob("*.dist-info")
    (facts / "entry_points.txt").write_text(
        "[archrank.proxies]\nlost = no_such_module\n"
        "[archrank.spaces]\nlost = no_such_module:Space\n"
    )
    done = run(installed, "rank", "hiaml:z-z-a22-l20", "--by", "params")
    assert done.returncode == 0
    assert "archrank-example names 'no_such_module' as 'lost'" in done.stderr
    assert run(installed, "rank", "lost:z-z", "--by", "params").returncode == 2


def test_a_space_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is registered here stays for no other test.
    monkeypatch.setattr(sys.modules["archrank.data.spaces"], "_REGISTERED", {})

    class Mine(NASBenchMacro):
        name = "mine"

    assert register_space(Mine) is Mine
    assert "mine" in spaces()
    assert isinstance(space("mine"), Mine)
    ranking = archrank.rank(["mine:00000000", "mine:22222222"], by="params")
    assert ranking.best == "mine:22222222"
    with pytest.raises(InputError, match="exists already"):
        register_space(type("Other", (NASBenchMacro,), {"name": "mine"}))
    with pytest.raises(InputError, match="exists already"):
        register_space(NASBenchMacro)
    with pytest.raises(InputError, match="did you mean 'mine'"):
        space("Mine")
