"""Tables on terminals of every width."""

from __future__ import annotations

import re
import sys

import pytest

from archrank.cli.shared.tables import print_table

COLUMNS = {
    "rank": ["1", "~2"],
    "name": ["an_architecture_with_a_long_name", "short"],
    "score": ["0.12345", "-12.5"],
    "params": ["11.69M", "640"],
    "because": ["it is large, and much else can be said of it", "luck"],
    "flops": ["1.8G", "2M"],
}


@pytest.mark.parametrize("width", [20, 34, 40, 60, 80, 200])
def test_numbers_are_never_folded(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ("name", "because"), ["below"])
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert lines[-1].strip() == "below"
    shown = lines[0].split()
    for name in ("rank", "score", "params", "flops"):
        whole = all(any(cell in line.split() for line in lines) for cell in COLUMNS[name])
        assert whole == (name in shown)
    assert shown[:3] == ["rank", "name", "score"]
    assert max(map(len, lines)) <= max(width, 38)
    assert any("too narrow for" in line for line in lines) == (width < 60)


def test_elsewhere_each_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    print_table(COLUMNS, ("name", "because"))
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == list(COLUMNS)
    assert [row.split()[0] for row in rows] == COLUMNS["rank"]
