"""The page and the Markdown as files, and the command that writes them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from stores import HOSTILE, NAMES, plausible, settings, write
from typer.testing import CliRunner

from archrank.benchmark.judging import judge
from archrank.benchmark.report import to_html, to_markdown, write_report
from archrank.cli.report import report as report_command
from archrank.errors import InputError
from archrank.scoring.store import Store


def test_rows_in_another_order_give_the_same_page(tmp_path, plain_store) -> None:
    names = (*NAMES, "plain")
    other = write(tmp_path / "other", plausible(settings()), names=names, backwards=True)
    write_report(plain_store, tmp_path / "a.html", resamples=30)
    write_report(other, tmp_path / "b.html", resamples=30)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_several_runs_have_an_overview_and_one_without_labels_says_so(two_runs: Path) -> None:
    report = judge(two_runs, resamples=30)
    assert [run.judged is not None for run in report.runs] == [True, True, False]
    assert "expected a table" in report.runs[2].problem
    page = to_html(report)
    assert "tau-b in every run" in page
    assert page.count("<section") == 3
    assert "digits (run 2)" in page
    assert "Not judged" in page
    assert {*report.table["run"]} == {1, 2}
    assert "Not judged" in to_markdown(report)


def test_one_run_alone(two_runs: Path) -> None:
    report = judge(two_runs, run=2, resamples=30)
    assert [run.number for run in report.runs] == [2]
    with pytest.raises(InputError, match="run: got 9, expected one of 1, 2, 3"):
        judge(two_runs, run=9)
    with pytest.raises(InputError, match=r"no run of .* can be judged: name: got 'nowhere'"):
        judge(two_runs, run=3)


def test_labels_that_are_not_here_say_how_to_get_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARCHRANK_DATA", str(tmp_path / "empty"))
    stored = asdict(settings()) | {"space": "nasbench201", "table": "nasbench201"}
    store = write(tmp_path / "s", lambda p, at, s: 1.0, seeds=1, stored=stored)
    with pytest.raises(InputError, match="archrank data fetch nasbench201"):
        judge(store)


def test_wrong_stores_and_arguments(tmp_path) -> None:
    with pytest.raises(InputError, match="store: there is no file"):
        judge(tmp_path / "none.sqlite")
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(InputError, match="holds no run yet"):
        judge(tmp_path / "empty.sqlite")
    with pytest.raises(InputError, match="resamples: got 0"):
        judge(tmp_path / "empty.sqlite", resamples=0)
    stored = asdict(settings()) | {"new_setting": 1}
    store = write(tmp_path / "newer", lambda p, at, s: 1.0, seeds=1, stored=stored)
    with pytest.raises(InputError, match="another release"):
        judge(store)


def test_the_page_asks_for_nothing_else(plain_report) -> None:
    page = to_html(plain_report)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(?!#)""", page)
    assert not re.search(r"url\(|@import|<link|<iframe|fetch\(|XMLHttpRequest", page)


def test_hostile_names_are_only_text(plain_report) -> None:
    page = to_html(plain_report, date=HOSTILE, machine='"><img onerror=x>')
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert(&#34;x&#34;)" in page
    assert "<img" not in page
    markdown = to_markdown(plain_report, date=HOSTILE)
    assert "<script>" not in markdown


def test_nothing_of_time_or_place_is_in_it(plain_report, tmp_path) -> None:
    page = to_html(plain_report)
    assert "Printed now" not in page
    assert "Printed now" in to_html(plain_report, date="Printed now")
    assert str(tmp_path.parent) not in page


def test_markdown_is_a_table_with_intervals(plain_report) -> None:
    text = to_markdown(plain_report, date="1 May", machine="two cores")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    tau = plain_report.runs[0].judged["snip"].figures["tau"]
    assert f"| snip | {tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}] |" in text
    assert "1 May; two cores; archrank" in text
    assert "80, drawn with seed 0; 200 resamples, seed 0" in text
    assert "archrank report run.sqlite --seed 0 --resamples 200" in text


def test_the_command_writes_page_markdown_and_json(plain_store, tmp_path) -> None:
    import typer

    app = typer.Typer()
    app.command()(report_command)
    page, markdown = tmp_path / "page.html", tmp_path / "table.md"
    words = [plain_store, "--out", page, "--markdown", markdown, "--resamples", 20, "--json"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["runs"][0]["rows"]
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "| score |" in markdown.read_text()
    for words, complaint in (
        ([tmp_path / "none"], "there is no file"),
        ([plain_store, "--out", plain_store], "is the store itself"),
        ([plain_store, "--out", tmp_path / "no" / "p.html"], "there is no folder"),
        ([plain_store, "--run", 7], "run: got 7"),
    ):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 2
        assert complaint in result.stderr
