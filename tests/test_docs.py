"""The pages of docs/ say what is so: their code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    # As of a script: Ray sends such functions to its workers whole.
    namespace: dict[str, Any] = {"__name__": "__main__", **given}
    text = (DOCS / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
    return namespace


def test_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("own_loop.md", tmp_path, monkeypatch)
    assert made["best"] in made["digits"]
    assert (tmp_path / "state.jsonl").read_text().count('"tell"') == 8
    assert len(made["best_of_many"]) == 3


def test_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    assert len(run("optuna.md", tmp_path, monkeypatch)["study"].trials) == 4


def test_pymoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymoo")
    made = run("pymoo.md", tmp_path, monkeypatch)
    assert made["result"].X is not None


@pytest.mark.slow
def test_ray_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = run("ray_tune.md", tmp_path, monkeypatch, STORAGE=str(tmp_path))
    assert len(made["results"]) == 4
    assert not made["results"].errors


def test_every_page_is_tested() -> None:
    tested = {"own_loop.md", "optuna.md", "pymoo.md", "ray_tune.md"}
    with_code = {page.name for page in DOCS.glob("*.md") if "```python" in page.read_text()}
    assert with_code == tested
