"""Shared by the tests of data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _shared() -> Path | None:
    chosen = os.environ.get("ARCHRANK_DATA")
    folder = Path(chosen) if chosen else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None


SHARED = _shared()


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of published figures; not on every machine."""
    if SHARED is None:
        pytest.skip("no published figures: set ARCHRANK_DATA to a folder that holds them")
    return SHARED


@pytest.fixture
def published(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the same folder, in use."""
    monkeypatch.setenv("ARCHRANK_DATA", str(shared_data))
    return shared_data
