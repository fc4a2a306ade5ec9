"""Every script says what it does, and pages are what their lines say; small ones run."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
NO_OPTIONS = {"document_tables"}
PARSING = ("parser(__doc__", "measure_and_write(__doc__", "ArgumentParser(")
PAGES = {  # of stored lines; those that read tables of figures are not among them
    "ablation_pretraining": "ablation_pretraining",
    "cost": "cost",
    "encoded_cells": "encoded_cells",
    "gennape": "gennape",
    "out_of_distribution": "out_of_distribution",
    "imagenet_models": "imagenet_models",
    "memory": "memory",
    "predictor_ablations": "ablations",
    "predictor_speed": "predictor_speed",
    "predictors": "predictors",
    "recipes": "recipes",
    "transfer": "transfer",
    "uncertainty": "uncertainty",
}


def script(name: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> ModuleType:
    """Return the module of a script, with its command line."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("archrank"):
            raise
        pytest.skip(f"{name}.py needs {error.name}")


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in NO_OPTIONS])
def test_help_says_what_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Others would begin their work, whatever they are asked.
    assert any(words in (FOLDER / f"{name}.py").read_text() for words in PARSING)
    module = script(name, monkeypatch, "--help")
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())  # it may be folded
    assert module.__doc__.strip().splitlines()[0] in told


@pytest.mark.parametrize("name", [path.stem for path in FOLDER.glob("*.py")])
def test_nothing_is_too_long(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert text.count("\n") <= 500
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize(
    "name",
    # A thousand resamples of every pair of columns stand in the slow one.
    [pytest.param(n, marks=pytest.mark.slow if n == "imagenet_models" else ()) for n in PAGES],
)
def test_pages_are_what_their_lines_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script(name, monkeypatch)
    if not module.LINES.path.exists():
        pytest.skip(f"no {module.LINES.path.name} here")

    def rows(lines: list[str]) -> list[str]:
        return [line for line in lines if line.startswith("|") and "---" not in line]

    written = (FOLDER / "results" / f"{PAGES[name]}.md").read_text().splitlines()
    assert len(rows(written)) > 2
    assert rows("\n".join(module.tables()).splitlines()) == rows(written)


def test_scores_of_a_store_become_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = script("run_benchmark", monkeypatch, "digits")
    monkeypatch.setattr(runs, "STORES", tmp_path)
    tiny = {"space": "digits", "batch_size": 4, "data": "digits", "sample": 12}
    monkeypatch.setattr(runs, "RUNS", {"digits": (tiny,)})
    monkeypatch.setattr(runs, "COSTLY", ("snip",))
    names = ("params", "flops", "synflow", "naswot", "snip")
    monkeypatch.setattr(runs.proxies, "list", lambda: [runs.proxies.get(name) for name in names])
    runs.main()
    words = ("--stores", tmp_path, "--out", tmp_path, "--resamples", 20)
    script("proxy_results", monkeypatch, *words).main()
    assert "| synflow | " in (tmp_path / "digits.md").read_text()
    assert "| `synflow` | 0." in (tmp_path / "benchmark.md").read_text()


def test_encoders_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--networks", 2, "--width", 8, "--seconds", 0)
    script("encoders", monkeypatch, *words).main()
    assert "| gin | yes | " in capsys.readouterr().out


def test_spaces_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "spaces.md"
    module = script(
        "spaces", monkeypatch, "--networks", 2, "--spaces", "digits", "enas", "--out", page
    )
    monkeypatch.setattr(module, "WARM", 2)
    module.main()
    assert page.read_text().count("\n| `") == 2
    assert "`python experiments/spaces.py --networks 2 --spaces digits enas" in page.read_text()


def test_distribution_without_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("out_of_distribution", monkeypatch)
    monkeypatch.setattr(module, "LINES", module.Lines(tmp_path / "out_of_distribution.jsonl"))
    monkeypatch.setattr(module, "PAGE", tmp_path / "out_of_distribution.md")
    monkeypatch.setattr(module, "NAMES", ["nasbench201", "enas", "flexibert"])
    monkeypatch.setattr(module, "GROUPS", {"language models": ("flexibert",)})
    for name, value in (("LEARNT", 9), ("FRESH", 2), ("EPOCHS", 1)):
        monkeypatch.setattr(module, name, value)
    module.main()
    (line,) = module.LINES.read()
    assert (line["group"], line["learnt"], line["tested"]) == ("language models", 18, 2)
    assert 0 <= line["group out"] <= 1
    module.main()  # nothing is left to do
    assert module.LINES.read() == [line]
    assert "| language models (flexibert) | " in module.PAGE.read_text()
