"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from archrank.files import written_whole


def test_what_stood_there_stays_if_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("before")

    def fails() -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        fails()
    assert path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_a_missing_folder_is_named_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "none" / "table.csv"

    def fails() -> None:
        with written_whole(path):
            pytest.fail("it began to write")

    with pytest.raises(FileNotFoundError, match=r"create '.*none' first"):
        fails()
    assert not path.parent.exists()
