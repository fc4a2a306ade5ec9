"""Stores and reports that several tests read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from stores import NAMES, plausible, settings, write

from archrank.benchmark.judging import judge
from archrank.scoring.store import Store


@pytest.fixture(scope="module")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "run.sqlite"
    return write(path, plausible(settings()), names=(*NAMES, "plain"))


@pytest.fixture(scope="module")
def plain_report(plain_store: Path):
    return judge(plain_store, resamples=200)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two") / "run.sqlite"
    first, second = settings(), settings(sample_seed=1, count=60)
    write(path, plausible(first), chosen=first)
    write(path, plausible(second), chosen=second, names=("params", "zen"), seeds=1)
    lost = asdict(first) | {"table": "nowhere", "space": "lost"}
    with Store(path) as store:
        store.begin(lost, "lost", ["x", "y"])
    return path
